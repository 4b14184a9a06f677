"""Tests of changing the schema while devices are offline: old clients, upcasting, and the plan of a deploy."""
