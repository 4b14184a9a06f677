"""The tests of syncreset."""
