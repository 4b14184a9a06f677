"""The feed: what was touched, in the order in which it can be read."""
