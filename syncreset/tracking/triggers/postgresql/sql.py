"""Expressions and statements that all triggers are made of."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field

from ...registry import EVERYONE
from ..table import ENTRY_TABLE, TRUNCATED, TrackedTable, column_name, is_collated, literal

NOW = "(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint"

#: An entry's ``row`` that keeps nothing.
NULL_ROW = "NULL::jsonb"

# Functions take at most 100 arguments, two for each field.
_FIELDS_OF_ONE_CALL = 45

#: A copy of a table has its columns' types.
COPIES_KEEP_TYPES = True


def wire_text(field: "Field[Any, Any]", expression: str) -> str:
    """A key as the text that it is on the wire."""
    return f"{expression}::text"


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
            f"{literal(field.name)}, {_raw_value(connection, field, column(connection, field, row))}"
            for field in table.kept[start : start + _FIELDS_OF_ONE_CALL]
        )
        calls.append(f"jsonb_build_object({', '.join(pairs)})")
    fields = " || ".join(calls) or "'{}'::jsonb"
    return f"jsonb_build_object('updated', {updated}, 'clocks', {clocks}, 'fields', {fields})"


def differs(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", old: str, new: str) -> str:
    """Whether a column's value is another one in ``new`` than in ``old``, nulls and collations considered."""
    left, right = column(connection, field, new), column(connection, field, old)
    kind = _type(connection, field)
    if kind in ("json", "xml", "citext") or is_collated(field):
        left, right = f'{left}::text COLLATE "C"', f'{right}::text COLLATE "C"'
    return f"{left} IS DISTINCT FROM {right}"


def differs_from_copy(
    connection: BaseDatabaseWrapper, field: "Field[Any, Any]", old_kind: str, kind: str
) -> str:
    """Whether a column has another value in the table ``t`` than in the copy ``c``, where its type was ``old_kind``."""
    if old_kind == kind:
        return differs(connection, field, "c", "t")
    return f"{column(connection, field, 't')}::text IS DISTINCT FROM {column(connection, field, 'c')}::text"


def enter_sql(
    connection: BaseDatabaseWrapper, source: str, entry: str | None = None, *, clocks: bool = False
) -> str:
    """The upsert of the entries that a query yields: ``(model, pk, scope, kind, at, row)``.

    With ``clocks`` the query yields ``updated`` and ``clocks`` as well; without, entries keep those that they have.
    Sorted, so that two transactions which enter the same rows wait for each other and never deadlock.
    """
    table = entry or connection.ops.quote_name(ENTRY_TABLE)
    written = ["model", "pk", "scope", "kind", "at", "row", *(["updated", "clocks"] if clocks else [])]
    named = ", ".join(f'"{name}"' for name in written)
    taken = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in written[3:])
    return f"""
INSERT INTO {table} AS e ("checkpoint", {named})
SELECT NULL, {named} FROM ({source}) AS s ({named})
ORDER BY s."pk" COLLATE "C", s."scope" COLLATE "C"
ON CONFLICT ("model", "pk", "scope") DO UPDATE SET "checkpoint" = NULL, "touched_by" = NULL, {taken}"""


def truncate_body(table: TrackedTable, entry: str) -> str:
    return f"""
BEGIN
  INSERT INTO {entry} AS e ("model", "pk", "scope", "checkpoint", "kind", "at", "row")
  VALUES ({literal(table.label)}, '', {literal(EVERYONE)}, NULL, {TRUNCATED}, {NOW}, NULL)
  ON CONFLICT ("model", "pk", "scope") DO UPDATE SET "checkpoint" = NULL, "touched_by" = NULL, "at" = EXCLUDED."at";
  RETURN NULL;
END
"""


def entering(upsert: str) -> str:
    # The label tells the variable from a column of the same name.
    return f"""
<<entering>>
DECLARE
  began bigint := {NOW};
BEGIN{upsert};
  RETURN NULL;
END
"""


def _raw_value(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", value: str) -> str:
    """A column's value as a tombstone keeps it: JSON that no digit, no byte and no time zone is lost in."""
    kind = _type(connection, field)
    if kind in ("numeric", "uuid"):
        return f"{value}::text"
    if kind == "bytea":
        return f"encode({value}, 'hex')"
    if kind == "interval":
        return f"(extract(epoch FROM {value}) * 1000000)::bigint"
    if kind == "timestamp with time zone":
        return f"""to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    if kind.endswith("[]"):
        return f"{value}::text[]"
    if kind.endswith("range"):
        opening = f"CASE WHEN lower_inc({value}) THEN '[' ELSE '(' END"
        bounds = f"{opening} || CASE WHEN upper_inc({value}) THEN ']' ELSE ')' END"
        return (
            f"CASE WHEN isempty({value}) THEN '{{\"empty\": true}}'::jsonb WHEN {value} IS NOT NULL THEN"
            f" jsonb_build_object('lower', lower({value})::text, 'upper', upper({value})::text, 'bounds', {bounds}) END"
        )
    return value


def _type(connection: BaseDatabaseWrapper, field: "Field[Any, Any]") -> str:
    kind = (field.db_type(connection) or "").lower()
    base, parenthesis, rest = kind.partition("(")
    return base + (rest.partition(")")[2] if parenthesis else "")


def column(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", row: str) -> str:
    return f"{row}.{connection.ops.quote_name(column_name(field))}"


def is_empty(clocks: str) -> str:
    return f"({clocks} IS NULL OR {clocks} = '{{}}'::jsonb OR {clocks} = 'null'::jsonb)"
