"""The client reset."""
