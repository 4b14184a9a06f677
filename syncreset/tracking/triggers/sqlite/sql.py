"""Expressions and statements that all triggers are made of."""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, Field

from ..table import (
    ENTRY_TABLE,
    TrackedTable,
    column_name,
    is_collated,
    is_json,
    is_uuid,
    literal,
    stored_field,
)

# SQLite knows the time to the millisecond. The rounding takes away what the day number's fraction cannot hold.
NOW = "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"

#: An entry's ``row`` that keeps nothing.
NULL_ROW = "NULL"

# Functions take at most 100 arguments, two for each field.
_FIELDS_OF_ONE_CALL = 45

#: The columns of a copy have no types: how a value is stored tells.
COPIES_KEEP_TYPES = False


def wire_text(field: "Field[Any, Any]", expression: str) -> str:
    """A key as the text that it is on the wire. Django stores a UUID as 32 digits without hyphens."""
    if not is_uuid(field):
        return f"CAST({expression} AS TEXT)"
    parts = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    return (
        "lower(" + " || '-' || ".join(f"substr({expression}, {start}, {size})" for start, size in parts) + ")"
    )


def scope_text(connection: BaseDatabaseWrapper, table: TrackedTable, row: str) -> str:
    """The scope key of a row."""
    if table.scope is None:
        return literal(table.scope_prefix)
    value = column(connection, table.scope, row)
    return f"({literal(table.scope_prefix)} || coalesce({wire_text(table.scope, value)}, ''))"


def row_json(
    connection: BaseDatabaseWrapper, table: TrackedTable, row: str, updated: str = "", clocks: str = ""
) -> str:
    """A row as a tombstone keeps it: ``{"updated", "clocks", "fields"}`` (read back by `tracking.tombstones`).

    ``updated`` and ``clocks`` are its clocks, where the row does not hold them itself.
    """
    updated, clocks = updated or f"{row}.last_updated", clocks or f"{row}.field_timestamps"
    calls = []
    for start in range(0, len(table.kept), _FIELDS_OF_ONE_CALL):
        pairs = (
            f"{literal(field.name)}, {_raw_value(field, column(connection, field, row))}"
            for field in table.kept[start : start + _FIELDS_OF_ONE_CALL]
        )
        calls.append(f"json_object({', '.join(pairs)})")
    if len(calls) > 1:
        # Objects are joined as text: json_patch() would take a null for a removal.
        inner = " || ',' || ".join(f"substr({call}, 2, length({call}) - 2)" for call in calls)
        calls = [f"json('{{' || {inner} || '}}')"]
    fields = calls[0] if calls else "json('{}')"
    return f"json_object('updated', {updated}, 'clocks', json({clocks}), 'fields', {fields})"


def differs(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", old: str, new: str) -> str:
    """Whether a column's value is another one in ``new`` than in ``old``, nulls and collations considered."""
    left, right = column(connection, field, new), column(connection, field, old)
    if is_json(field):
        return f"({left} IS NOT {right} AND json({left}) IS NOT json({right}))"
    if is_collated(field):
        return f"{left} COLLATE BINARY IS NOT {right} COLLATE BINARY"
    return f"{left} IS NOT {right}"


def differs_from_copy(
    connection: BaseDatabaseWrapper, field: "Field[Any, Any]", old_kind: str, kind: str
) -> str:
    """Whether a column has another value in the table ``t`` than it had in the copy ``c``.

    A copy's columns have lost their types, so it is the values' storage that tells whether the type was changed.
    """
    new, old = column(connection, field, "t"), column(connection, field, "c")
    same_type = f"(typeof({new}) = typeof({old}) OR CAST({new} AS TEXT) IS NOT CAST({old} AS TEXT))"
    return f"({differs(connection, field, 'c', 't')} AND {same_type})"


def enter_sql(
    connection: BaseDatabaseWrapper, source: str, entry: str | None = None, *, clocks: bool = False
) -> str:
    """The upsert of the entries that a query yields: ``(model, pk, scope, kind, at, row)``.

    With ``clocks`` the query yields ``updated`` and ``clocks`` as well; without, entries keep those that they have.
    """
    more, taken = "", ""
    if clocks:
        more, taken = (
            ', "updated", "clocks"',
            ', "updated" = excluded."updated", "clocks" = excluded."clocks"',
        )
    return f"""
INSERT INTO {entry or connection.ops.quote_name(ENTRY_TABLE)} ("model", "pk", "scope", "kind", "at", "row"{more})
SELECT * FROM ({source}) WHERE true{ON_CONFLICT}{taken}"""


ON_CONFLICT = """
  ON CONFLICT ("model", "pk", "scope") DO UPDATE
  SET "checkpoint" = NULL, "touched_by" = NULL,
  "kind" = excluded."kind", "at" = excluded."at", "row" = excluded."row\""""


def patched(clocks: str, changed: Mapping[str, str], ts: str) -> str:
    """Clocks with those of the changed fields replaced. The null member is no clock: merging a patch drops it."""
    members = "".join(
        f" || CASE WHEN {condition} THEN ',\"{name}\":' || {ts} ELSE '' END"
        for name, condition in changed.items()
    )
    return f"json_patch({clocks}, '{{\"\":null'{members} || '}}')"


def _raw_value(field: "Field[Any, Any]", value: str) -> str:
    """A column's value as a tombstone keeps it: as it is stored, but in JSON. Reals become text, to keep all digits."""
    if is_json(field):
        return f"json({value})"
    if isinstance(stored_field(field), BinaryField):
        return f"hex({value})" if not field.null else f"CASE WHEN {value} IS NOT NULL THEN hex({value}) END"
    real, blob = f"printf('%!.20g', {value})", f"hex({value})"
    return f"CASE typeof({value}) WHEN 'real' THEN {real} WHEN 'blob' THEN {blob} ELSE {value} END"


def column(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", row: str) -> str:
    return f"{row}.{connection.ops.quote_name(column_name(field))}"


def is_empty(clocks: str) -> str:
    return f"({clocks} IS NULL OR {clocks} IN ('{{}}', 'null'))"
