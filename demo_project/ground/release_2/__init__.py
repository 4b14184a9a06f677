"""The second release: fuel by the gauge, a better name for the place, and no more keys, for there are keypads."""
