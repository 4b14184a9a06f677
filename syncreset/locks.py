"""How rows of syncreset's own tables are held against others: one that is wanted, or those that are free."""

from typing import Any

from django.db import connection
from django.db.models import F, QuerySet


def lock_row(record: "QuerySet[Any]") -> bool:
    """Hold the one row of a query until the transaction ends. Returns whether it is there.

    The row is written as it is, for that holds it on every database: SQLite has no locks of rows, but its first writer
    makes the others wait. Call it before anything else is read in the transaction. Rows of a project's own tables are
    locked by reading them (``wire.rows.lock_instances``), for a write would stamp them.
    """
    column = next(field.name for field in record.model._meta.concrete_fields if not field.primary_key)
    return record.update(**{column: F(column)}) > 0


def free_rows(records: "QuerySet[Any]") -> "QuerySet[Any]":
    """The rows of a query that nobody else holds, held as they are read. Where rows have no locks, these are all."""
    if connection.features.has_select_for_update_skip_locked:
        return records.select_for_update(skip_locked=True, of=("self",))
    return records
