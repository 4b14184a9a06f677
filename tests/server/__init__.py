"""The server as its clients see it: every test speaks the protocol."""
