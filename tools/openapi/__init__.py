"""The OpenAPI document of the API: ``python -m tools.openapi`` writes it to docs/reference/openapi.json."""
