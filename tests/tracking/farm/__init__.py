"""An app whose migrations alter tracked tables in every way. Installed only by the tests that migrate it."""
