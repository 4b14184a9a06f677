"""The triggers on PostgreSQL of tables without clock columns: their rows' clocks are kept in the entries.

Statement triggers do all of it. What a merge has decided is written into the entry afterwards, in the transaction that
holds the row's lock, so that no other write comes between.
"""

from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import DELETED, DEPARTED, ENTRY_TABLE, ROW, TrackedTable, Trigger, column_name, literal
from .catalog import schemas_of
from .rows import trigger
from .sql import NOW, column, differs, enter_sql, entering, row_json, scope_text, truncate_body, wire_text


def statements(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers of a table."""
    schemas = schemas_of(connection, [table.name, ENTRY_TABLE])
    quote = connection.ops.quote_name
    qualified = f"{quote(schemas[table.name])}.{quote(table.name)}"
    entry = f"{quote(schemas[ENTRY_TABLE])}.{quote(ENTRY_TABLE)}"
    bodies = {
        "insert": _insert_body(connection, table, entry),
        "update": _update_body(connection, table, entry),
        "delete": _delete_body(connection, table, entry),
        "truncate": truncate_body(table, entry),
    }
    return [
        trigger(connection, table, qualified, schemas[table.name], purpose, body)
        for purpose, body in bodies.items()
    ]


def backfill(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The statement that gives clocks to the entries which have none: those of a scope that the row has left, or new.

    Of several such entries the one updated last counts.
    """
    entry = connection.ops.quote_name(ENTRY_TABLE)
    return f"""
UPDATE {entry} AS e
SET "updated" = coalesce(k."updated", s.ts), "clocks" = coalesce(k."clocks", jsonb_build_object('*', s.ts)),
  "checkpoint" = NULL, "touched_by" = NULL
FROM {entry} AS own CROSS JOIN (SELECT {NOW} AS ts) AS s
LEFT JOIN LATERAL (
  SELECT o."updated", o."clocks" FROM {entry} AS o
  WHERE o."model" = own."model" AND o."pk" = own."pk" AND o."kind" = {DEPARTED} AND o."clocks" IS NOT NULL
  ORDER BY o."updated" DESC LIMIT 1
) AS k ON true
WHERE own."id" = e."id" AND e."model" = {literal(table.label)} AND e."kind" = {ROW} AND e."clocks" IS NULL"""


def vanished_json(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, entry: str) -> str:
    """A row that is gone, as its tombstone keeps it, its clocks being those of its entry."""
    return row_json(
        connection, table, row, f'coalesce({entry}."updated", 0)', f"coalesce({entry}.\"clocks\", '{{}}')"
    )


def stamp_from_copy_sql(
    connection: BaseDatabaseWrapper, table: TrackedTable, copy: str, changed: Mapping[str, str]
) -> str:
    """The upsert that stamps, for the rows ``t`` of a table, the fields whose condition against ``c`` holds."""
    quote = connection.ops.quote_name
    entry = quote(ENTRY_TABLE)
    pk = column(connection, table.pk, "t")
    text = wire_text(table.pk, pk)
    source = f"""
SELECT {literal(table.label)}, {text}, {scope_text(connection, table, "t")}, {ROW}::smallint, {NOW}, NULL::jsonb, s.ts,
  {_patched(changed)}
FROM {quote(table.name)} AS t JOIN {copy} AS c ON c.{quote(column_name(table.pk))} = {pk}
{_known(table, entry, text, f'CASE WHEN k."updated" IS NULL THEN {NOW} ELSE 0 END')}
WHERE {" OR ".join(changed.values())}"""
    return enter_sql(connection, source, clocks=True)


def rename_clock_sql(connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str) -> str:
    """The update that gives a renamed field's clocks to its new name, where that has none yet."""
    return f"""
UPDATE {connection.ops.quote_name(ENTRY_TABLE)}
SET "clocks" = jsonb_build_object({literal(new)}, "clocks" -> {literal(old)}) || ("clocks" - {literal(old)})
WHERE "model" = {literal(table.label)} AND "clocks" ? {literal(old)}"""


def _insert_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "n"))
    source = f"""
SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, "n")}, {ROW}::smallint, entering.began, NULL::jsonb,
  s.ts, jsonb_build_object('*', s.ts)
FROM new_rows n CROSS JOIN LATERAL (
  SELECT greatest(entering.began, coalesce(max(e."at") + 1, 0), coalesce(max(e."updated") + 1, 0)) AS ts
  FROM {entry} AS e WHERE e."model" = {literal(table.label)} AND e."pk" = {pk}
) AS s"""
    return entering(enter_sql(connection, source, entry, clocks=True))


def _update_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    old, new = column(connection, table.pk, "o"), column(connection, table.pk, "n")
    old_scope, new_scope = scope_text(connection, table, "o"), scope_text(connection, table, "n")
    changed = {field.name: differs(connection, field, "o", "n") for field in table.stamped}
    left = f"{new} IS NULL"
    if table.moves:
        left += f" OR {old_scope} <> {new_scope}"
    touched = " OR ".join([f"{old} IS NULL", left, *changed.values()])
    fresh = "jsonb_build_object('*', s.ts)"
    source = f"""
SELECT {literal(table.label)}, r.* FROM old_rows o FULL JOIN new_rows n ON {new} = {old}
{_known(table, entry, f"coalesce({wire_text(table.pk, old)}, {wire_text(table.pk, new)})", "entering.began")}
CROSS JOIN LATERAL (
  SELECT {wire_text(table.pk, new)}, {new_scope}, {ROW}::smallint, entering.began, NULL::jsonb, s.ts,
    CASE WHEN {old} IS NULL THEN {fresh} ELSE {_patched(changed)} END
  WHERE {new} IS NOT NULL AND ({touched})
  UNION ALL
  SELECT {wire_text(table.pk, old)}, {old_scope}, CASE WHEN {new} IS NULL THEN {DELETED} ELSE {DEPARTED} END::smallint,
    s.ts, CASE WHEN {new} IS NULL THEN {vanished_json(connection, table, "o", "k")} END, NULL::bigint, NULL::jsonb
  WHERE {old} IS NOT NULL AND ({left})
) AS r"""
    return entering(enter_sql(connection, source, entry, clocks=True))


def _delete_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "o"))
    source = f"""
SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, "o")}, {DELETED}::smallint, s.ts,
  {vanished_json(connection, table, "o", "k")}, NULL::bigint, NULL::jsonb
FROM old_rows o
{_known(table, entry, pk, "entering.began")}"""
    return entering(enter_sql(connection, source, entry, clocks=True))


def _known(table: TrackedTable, entry: str, pk: str, now: str) -> str:
    """Joins the clocks ``k`` that a row's entry has, and ``s.ts``, a time after all of them."""
    return f"""LEFT JOIN LATERAL (
  SELECT e."updated", e."clocks" FROM {entry} AS e
  WHERE e."model" = {literal(table.label)} AND e."pk" = {pk} AND e."kind" = {ROW}
  ORDER BY e."updated" DESC NULLS LAST LIMIT 1
) AS k ON true
CROSS JOIN LATERAL (SELECT greatest({now}, coalesce(k."updated" + 1, 0)) AS ts) AS s"""


def _patched(changed: Mapping[str, str]) -> str:
    """The clocks ``k`` with those of the changed fields replaced."""
    patches = "".join(
        f" || CASE WHEN {condition} THEN jsonb_build_object({literal(name)}, s.ts) ELSE '{{}}' END"
        for name, condition in changed.items()
    )
    return f"(coalesce(k.\"clocks\", jsonb_build_object('*', s.ts)){patches})"
