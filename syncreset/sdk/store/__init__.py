"""The store of a replica: one SQLite file."""
