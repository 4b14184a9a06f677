"""One codec for each type of field."""
