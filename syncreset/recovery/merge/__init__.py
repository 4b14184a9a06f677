"""A snapshot, line by line, to changes and into the tables."""
