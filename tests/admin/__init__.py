"""The admin through HTTP, as an operator uses it."""
