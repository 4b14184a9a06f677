"""The one way in which rows of syncreset's own tables are held against others."""

from typing import Any

from django.db.models import F, QuerySet


def lock_row(record: "QuerySet[Any]") -> bool:
    """Hold the one row of a query until the transaction ends. Returns whether it is there.

    The row is written as it is, for that holds it on every database: SQLite has no locks of rows, but its first writer
    makes the others wait. Call it before anything else is read in the transaction. Rows of a project's own tables are
    locked by reading them (``wire.rows.lock_instances``), for a write would stamp them.
    """
    column = next(field.name for field in record.model._meta.concrete_fields if not field.primary_key)
    return record.update(**{column: F(column)}) > 0
