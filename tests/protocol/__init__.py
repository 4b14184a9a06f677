"""The pure core of the protocol, by properties."""
