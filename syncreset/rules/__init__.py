"""The rules of merging, pure: which value stands, and which changes a snapshot holds. Only the server uses them."""
