"""Captures every write to tracked models: stamped on the row, entered into the feed, by the database itself."""
