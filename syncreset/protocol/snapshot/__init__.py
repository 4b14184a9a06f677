"""The snapshot format ``syncreset-snapshot/1``: gzip of NDJSON."""
