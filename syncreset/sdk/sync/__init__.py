"""Pushing and pulling."""
