"""The first release: fuel in words, and a note of where the key is."""
