"""Requests that nobody would send on purpose: drawn from the OpenAPI document, and bent out of valid ones."""
