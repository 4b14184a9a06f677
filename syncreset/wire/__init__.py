"""Tracked models as the protocol has them: values, keys, rows, and the schema that describes them."""
