"""Push and pull."""
