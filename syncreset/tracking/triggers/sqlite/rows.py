"""The triggers on SQLite (3.38 and later): no functions of ours, so that any program may write.

Each does one thing, and none fires itself, so ``recursive_triggers`` makes no difference:

- a row without clocks that was inserted, or a field that was changed, is stamped by an update of the row;
- an update that changes the clocks, as stamping and merging do, enters the row into the feed;
- a row that goes, leaves its scope or its primary key leaves a tombstone or a departure.

One thing SQLite hides from triggers as long as ``recursive_triggers`` is off: the rows that ``INSERT OR REPLACE``
throws out because of another unique column. A replaced row of the same primary key is seen.
"""

from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import DELETED, DEPARTED, ENTRY_TABLE, ROW, TrackedTable, Trigger, column_name, literal, name_for
from .catalog import drop_sql
from .sql import NOW, ON_CONFLICT, column, differs, is_empty, patched, row_json, scope_text, wire_text


def statements(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers of a table."""
    quote = connection.ops.quote_name
    on = quote(table.name)
    rowid = _rowid(connection, table)
    changed = " OR ".join(differs(connection, field, "OLD", "NEW") for field in table.stamped) or "0"
    merged = f"({_clocks_differ()} AND NOT {is_empty('NEW.field_timestamps')})"
    pk = quote(column_name(table.pk))
    after_insert = f"{leave_other_scopes(connection, table)}" if table.moves else ""
    definitions = {
        "insert_stamp": (
            f"AFTER INSERT ON {on} FOR EACH ROW WHEN {is_empty('NEW.field_timestamps')}",
            _stamp_insert(connection, table, rowid),
        ),
        "insert_enter": (
            f"AFTER INSERT ON {on} FOR EACH ROW WHEN NOT {is_empty('NEW.field_timestamps')}",
            after_insert + _enter(connection, table, "NEW", ROW),
        ),
        "update_ignore": (
            (
                f"BEFORE UPDATE OF last_updated, field_timestamps ON {on} FOR EACH ROW WHEN"
                " (NEW.last_updated IS NOT OLD.last_updated OR NEW.field_timestamps IS NOT OLD.field_timestamps)"
                f" AND NOT {merged} AND NEW.{pk} IS OLD.{pk} AND NOT ({changed})"
            ),
            "  SELECT RAISE(IGNORE);\n",
        ),
        "update_stamp": (
            f"AFTER UPDATE ON {on} FOR EACH ROW WHEN ({changed}) AND NOT {merged}",
            _stamp_update(connection, table, rowid),
        ),
        "update_enter": (
            f"AFTER UPDATE ON {on} FOR EACH ROW WHEN {merged}",
            _enter(connection, table, "NEW", ROW),
        ),
        "update_rename": (
            f"AFTER UPDATE OF {pk} ON {on} FOR EACH ROW WHEN NEW.{pk} IS NOT OLD.{pk}",
            _enter(connection, table, "OLD", DELETED) + _enter(connection, table, "NEW", ROW),
        ),
        "delete": (f"AFTER DELETE ON {on} FOR EACH ROW", _enter(connection, table, "OLD", DELETED)),
    }
    if table.scope is not None and table.moves:
        scope = quote(column_name(table.scope))
        event = (
            f"AFTER UPDATE OF {scope} ON {on} FOR EACH ROW"
            f" WHEN NEW.{scope} IS NOT OLD.{scope} AND NEW.{pk} IS OLD.{pk}"
        )
        definitions["update_depart"] = (event, _enter(connection, table, "OLD", DEPARTED))
    return [trigger(connection, table, purpose, *definition) for purpose, definition in definitions.items()]


def backfill(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The statement that stamps the rows which no trigger has seen."""
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET (last_updated, field_timestamps) = (SELECT s.ts, json_object('*', s.ts) FROM (SELECT {NOW} AS ts) AS s)
WHERE {is_empty("field_timestamps")}"""


def vanished_json(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, entry: str) -> str:
    """A row that is gone, as its tombstone keeps it."""
    return row_json(connection, table, row)


def stamp_from_copy_sql(
    connection: BaseDatabaseWrapper, table: TrackedTable, copy: str, changed: Mapping[str, str]
) -> str:
    """The update that stamps, in the rows ``t`` of a table, the fields whose condition against the copy ``c`` holds.

    ``copy`` is a table or a query in parentheses. The stamp is the least that is later than the row's last, not the
    time of now: what people had edited since and not sent yet is newer than what a migration made of older values.
    """
    pk = connection.ops.quote_name(column_name(table.pk))
    ts = "(c.last_updated + 1)"
    return f"""
UPDATE {connection.ops.quote_name(table.name)} AS t
SET last_updated = {ts}, field_timestamps = {patched("t.field_timestamps", changed, ts)}
FROM {copy} AS c
WHERE c.{pk} = t.{pk} AND t.field_timestamps IS c.field_timestamps
  AND NOT {is_empty("t.field_timestamps")} AND ({" OR ".join(changed.values())})"""


def rename_clock_sql(connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str) -> str:
    """The update that gives a renamed field's clocks to its new name, where that has none yet."""
    path = literal(f'$."{old}"')
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET field_timestamps = json_patch(
  json_object({literal(new)}, json_extract(field_timestamps, {path})), json_remove(field_timestamps, {path}))
WHERE json_extract(field_timestamps, {path}) IS NOT NULL"""


def trigger(
    connection: BaseDatabaseWrapper, table: TrackedTable, purpose: str, event: str, body: str
) -> Trigger:
    quote = connection.ops.quote_name
    name = name_for(purpose, table.name)
    create = f"CREATE TRIGGER {quote(name)} {event}\nBEGIN\n{body}END"
    return Trigger(
        name=name,
        table=table.name,
        create_sql=create,
        drop_sql=drop_sql(connection, name, table.name),
        text=create,
    )


def _stamp_insert(connection: BaseDatabaseWrapper, table: TrackedTable, rowid: str) -> str:
    # A row may be made again within the millisecond of its deletion: its clocks must still be later ones.
    deleted = (
        f'(SELECT max("at") + 1 FROM {connection.ops.quote_name(ENTRY_TABLE)} WHERE "model" = {literal(table.label)}'
        f' AND "pk" = {wire_text(table.pk, column(connection, table.pk, "NEW"))})'
    )
    left = leave_other_scopes(connection, table) if table.moves else ""
    return f"""{left}  UPDATE {connection.ops.quote_name(table.name)}
  SET (last_updated, field_timestamps) = (
    SELECT s.ts, json_object('*', s.ts) FROM (SELECT max({NOW}, coalesce({deleted}, 0)) AS ts) AS s)
  WHERE {rowid} = NEW.{rowid};
"""


def _stamp_update(connection: BaseDatabaseWrapper, table: TrackedTable, rowid: str) -> str:
    changed = {field.name: differs(connection, field, "OLD", "NEW") for field in table.stamped}
    ts = f"max({NOW}, OLD.last_updated + 1)"
    known = f"CASE WHEN {is_empty('OLD.field_timestamps')} THEN json_object('*', {ts}) ELSE OLD.field_timestamps END"
    return f"""  UPDATE {connection.ops.quote_name(table.name)}
  SET last_updated = {ts}, field_timestamps = {patched(known, changed, ts)}
  WHERE {rowid} = NEW.{rowid};
"""


def _enter(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, kind: int) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, row))
    at = NOW if kind == ROW else f"max({NOW}, OLD.last_updated + 1)"
    kept = row_json(connection, table, row) if kind == DELETED else "NULL"
    return f"""  INSERT INTO {connection.ops.quote_name(ENTRY_TABLE)} ("model", "pk", "scope", "kind", "at", "row")
  VALUES ({literal(table.label)}, {pk}, {scope_text(connection, table, row)}, {kind}, {at}, {kept}){ON_CONFLICT};
"""


def leave_other_scopes(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """Departs from the scope of a row that ``INSERT OR REPLACE`` has thrown out without firing a trigger."""
    return f"""  UPDATE {connection.ops.quote_name(ENTRY_TABLE)}
  SET "checkpoint" = NULL, "touched_by" = NULL, "kind" = {DEPARTED}, "at" = {NOW}
  WHERE "model" = {literal(table.label)} AND "pk" = {wire_text(table.pk, column(connection, table.pk, "NEW"))}
    AND "kind" = {ROW} AND "scope" <> {scope_text(connection, table, "NEW")};
"""


def _rowid(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """A name of the row's number that no column of the table has taken; its primary key where none is left."""
    taken = {column_name(field).lower() for field in (table.pk, *table.fields)}
    key = connection.ops.quote_name(column_name(table.pk))
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), key)


def _clocks_differ() -> str:
    return (
        "NEW.field_timestamps IS NOT OLD.field_timestamps"
        " AND json(NEW.field_timestamps) IS NOT json(OLD.field_timestamps)"
    )
