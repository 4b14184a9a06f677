"""Tests that hold the documentation to the code: what it says is there, and what it tells people to run works."""
