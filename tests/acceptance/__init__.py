"""The whole of it: real HTTP, a real Redis, real workers in processes of their own."""
