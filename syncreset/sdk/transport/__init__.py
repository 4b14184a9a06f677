"""Requests, responses, and what sends them."""
