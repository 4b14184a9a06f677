"""The triggers on SQLite of tables without clock columns: their rows' clocks are kept in the entries.

What a merge has decided is written into the entry afterwards, in the same transaction: whoever writes on SQLite
writes alone.
"""

from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import DELETED, DEPARTED, ENTRY_TABLE, ROW, TrackedTable, Trigger, column_name, literal
from .rows import leave_other_scopes, trigger
from .sql import NOW, column, differs, enter_sql, patched, row_json, scope_text, wire_text


def statements(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers of a table."""
    pk = connection.ops.quote_name(column_name(table.pk))
    on = connection.ops.quote_name(table.name)
    changed = {field.name: differs(connection, field, "OLD", "NEW") for field in table.stamped}
    moved = ""
    if table.scope is not None and table.moves:
        scope = connection.ops.quote_name(column_name(table.scope))
        moved = f"NEW.{scope} IS NOT OLD.{scope}"
    touched = " OR ".join([*changed.values(), *([moved] if moved else [])]) or "0"
    made = (leave_other_scopes(connection, table) if table.moves else "") + _enter_new(connection, table)
    definitions = {
        "insert": (f"AFTER INSERT ON {on} FOR EACH ROW", made),
        "update": (
            f"AFTER UPDATE ON {on} FOR EACH ROW WHEN NEW.{pk} IS OLD.{pk} AND ({touched})",
            _enter_changed(connection, table, changed),
        ),
        "update_rename": (
            f"AFTER UPDATE OF {pk} ON {on} FOR EACH ROW WHEN NEW.{pk} IS NOT OLD.{pk}",
            _leave(connection, table, DELETED) + _enter_new(connection, table),
        ),
        "delete": (f"AFTER DELETE ON {on} FOR EACH ROW", _leave(connection, table, DELETED)),
    }
    if moved:
        event, body = definitions["update"]
        gone = _leave(connection, table, DEPARTED, f"{moved}")
        definitions["update"] = (event, body + gone)
    return [trigger(connection, table, purpose, *definition) for purpose, definition in definitions.items()]


def backfill(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The statement that gives clocks to the entries which have none: those of a scope that the row has left, or new.

    Of several such entries the one updated last counts.
    """
    entry = connection.ops.quote_name(ENTRY_TABLE)

    def left(name: str) -> str:
        return f"""(SELECT o."{name}" FROM {entry} AS o
  WHERE o."model" = e."model" AND o."pk" = e."pk" AND o."kind" = {DEPARTED} AND o."clocks" IS NOT NULL
  ORDER BY o."updated" DESC LIMIT 1)"""

    return f"""
UPDATE {entry} AS e
SET "updated" = coalesce({left("updated")}, {NOW}), "clocks" = coalesce({left("clocks")}, json_object('*', {NOW})),
  "checkpoint" = NULL, "touched_by" = NULL
WHERE "model" = {literal(table.label)} AND "kind" = {ROW} AND "clocks" IS NULL"""


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
    pk = column(connection, table.pk, "t")
    text = wire_text(table.pk, pk)
    ts = f"coalesce({_known(connection, table, 'updated', text)} + 1, {NOW})"
    clocks = f"coalesce({_known(connection, table, 'clocks', text)}, json_object('*', {ts}))"
    source = f"""
SELECT {literal(table.label)}, {text}, {scope_text(connection, table, "t")}, {ROW}, {NOW}, NULL, {ts},
  {patched(clocks, changed, ts)}
FROM {quote(table.name)} AS t JOIN {copy} AS c ON c.{quote(column_name(table.pk))} = {pk}
WHERE {" OR ".join(changed.values())}"""
    return enter_sql(connection, source, clocks=True)


def rename_clock_sql(connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str) -> str:
    """The update that gives a renamed field's clocks to its new name, where that has none yet."""
    path = literal(f'$."{old}"')
    return f"""
UPDATE {connection.ops.quote_name(ENTRY_TABLE)}
SET "clocks" = json_patch(
  json_object({literal(new)}, json_extract("clocks", {path})), json_remove("clocks", {path}))
WHERE "model" = {literal(table.label)} AND json_extract("clocks", {path}) IS NOT NULL"""


def _enter_new(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "NEW"))
    # A row may be made again within the millisecond of its deletion: its clocks must still be later ones.
    source = f"""
    SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, "NEW")}, {ROW}, {NOW}, NULL, s.ts,
      json_object('*', s.ts)
    FROM (
      SELECT max({NOW}, coalesce(max("at") + 1, 0), coalesce(max("updated") + 1, 0)) AS ts
      FROM {connection.ops.quote_name(ENTRY_TABLE)} WHERE "model" = {literal(table.label)} AND "pk" = {pk}
    ) AS s"""
    return f"{enter_sql(connection, source, clocks=True)};\n"


def _enter_changed(connection: BaseDatabaseWrapper, table: TrackedTable, changed: Mapping[str, str]) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "NEW"))
    clocks = patched("coalesce(s.clocks, json_object('*', s.ts))", changed, "s.ts")
    source = f"""
    SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, "NEW")}, {ROW}, {NOW}, NULL, s.ts, {clocks}
    FROM (
      SELECT max({NOW}, coalesce({_known(connection, table, "updated", pk)} + 1, 0)) AS ts,
        {_known(connection, table, "clocks", pk)} AS clocks
    ) AS s"""
    return f"{enter_sql(connection, source, clocks=True)};\n"


def _leave(connection: BaseDatabaseWrapper, table: TrackedTable, kind: int, condition: str = "1") -> str:
    """The entry of the old row becomes a tombstone or a departure."""
    pk = wire_text(table.pk, column(connection, table.pk, "OLD"))
    kept = vanished_json(connection, table, "OLD", "s") if kind == DELETED else "NULL"
    source = f"""
    SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, "OLD")}, {kind},
      max({NOW}, coalesce(s.updated + 1, 0)), {kept}, NULL, NULL
    FROM (
      SELECT {_known(connection, table, "updated", pk)} AS updated, {_known(connection, table, "clocks", pk)} AS clocks
    ) AS s
    WHERE {condition}"""
    return f"{enter_sql(connection, source, clocks=True)};\n"


def _known(connection: BaseDatabaseWrapper, table: TrackedTable, name: str, pk: str) -> str:
    """What a row's entry has of its clocks."""
    return (
        f'(SELECT "{name}" FROM {connection.ops.quote_name(ENTRY_TABLE)} WHERE "model" = {literal(table.label)}'
        f' AND "pk" = {pk} AND "kind" = {ROW} ORDER BY "updated" DESC LIMIT 1)'
    )
