"""The triggers on SQLite (3.38 and later): no functions of ours, so that any program may write.

Each does one thing, and none fires itself, so ``recursive_triggers`` makes no difference:

- a row without clocks that was inserted, or a field that was changed, is stamped by an update of the row;
- an update that changes the clocks, as stamping and merging do, enters the row into the feed;
- a row that goes, leaves its scope or its primary key leaves a tombstone or a departure.

One thing SQLite hides from triggers as long as ``recursive_triggers`` is off: the rows that ``INSERT OR REPLACE``
throws out because of another unique column. A replaced row of the same primary key is seen.
"""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, Field

from syncreset.tracking.triggers.base import (
    DELETED,
    DEPARTED,
    ENTRY_TABLE,
    PREFIX,
    ROW,
    Installed,
    TrackedTable,
    Trigger,
    column_name,
    is_collated,
    is_json,
    is_uuid,
    literal,
    name_for,
    stored_field,
)

__all__ = [
    "NOW",
    "NULL_ROW",
    "backfill",
    "column",
    "columns",
    "copy_sql",
    "differs",
    "differs_from_copy",
    "drop_sql",
    "enter_sql",
    "installed",
    "leave_other_scopes",
    "lock_sql",
    "patched",
    "remove_orphans",
    "rename_clock_sql",
    "row_json",
    "scope_text",
    "stamp_from_copy_sql",
    "statements",
    "trigger",
    "vanished_json",
    "wire_text",
]

# SQLite knows the time to the millisecond. The rounding takes away what the day number's fraction cannot hold.
NOW = "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"

#: An entry's ``row`` that keeps nothing.
NULL_ROW = "NULL"

# Functions take at most 100 arguments, two for each field.
_FIELDS_OF_ONE_CALL = 45


def statements(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers of a table."""
    quote = connection.ops.quote_name
    on = quote(table.name)
    rowid = _rowid(connection, table)
    changed = " OR ".join(differs(connection, field, "OLD", "NEW") for field in table.stamped) or "0"
    merged = f"({_clocks_differ()} AND NOT {_empty('NEW.field_timestamps')})"
    pk = quote(column_name(table.pk))
    after_insert = f"{leave_other_scopes(connection, table)}" if table.moves else ""
    definitions = {
        "insert_stamp": (
            f"AFTER INSERT ON {on} FOR EACH ROW WHEN {_empty('NEW.field_timestamps')}",
            _stamp_insert(connection, table, rowid),
        ),
        "insert_enter": (
            f"AFTER INSERT ON {on} FOR EACH ROW WHEN NOT {_empty('NEW.field_timestamps')}",
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


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """Our triggers by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, %s) = %s",
            [len(PREFIX), PREFIX],
        )
        return {name: Installed(table=table, text=sql) for name, table, sql in cursor.fetchall()}


def columns(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, dict[str, str]]:
    """The columns that the tables have, with their types; a table that does not exist is left out."""
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute("SELECT name, lower(type) FROM pragma_table_xinfo(%s)", [table])
            described = {name: kind.partition("(")[0] for name, kind in cursor.fetchall()}
            if described:
                found[table] = described
    return found


def drop_sql(connection: BaseDatabaseWrapper, name: str, table: str) -> str:
    """The statement that drops a trigger."""
    return f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"


def remove_orphans(connection: BaseDatabaseWrapper) -> None:
    """Nothing: on SQLite a trigger goes with its table."""


def backfill(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The statement that stamps the rows which no trigger has seen."""
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET (last_updated, field_timestamps) = (SELECT s.ts, json_object('*', s.ts) FROM (SELECT {NOW} AS ts) AS s)
WHERE {_empty("field_timestamps")}"""


def lock_sql(connection: BaseDatabaseWrapper, table: str) -> str | None:
    """None: whoever writes on SQLite writes alone."""
    return None


def copy_sql(connection: BaseDatabaseWrapper, table: str, copy: str) -> str:
    """The statement that copies a table with its rows."""
    quote = connection.ops.quote_name
    return f"CREATE TABLE {quote(copy)} AS SELECT * FROM {quote(table)}"


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


def vanished_json(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, entry: str) -> str:
    """A row that is gone, as its tombstone keeps it."""
    return row_json(connection, table, row)


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
SELECT * FROM ({source}) WHERE true{_ON_CONFLICT}{taken}"""


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
  AND NOT {_empty("t.field_timestamps")} AND ({" OR ".join(changed.values())})"""


def rename_clock_sql(connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str) -> str:
    """The update that gives a renamed field's clocks to its new name, where that has none yet."""
    path = literal(f'$."{old}"')
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET field_timestamps = json_patch(
  json_object({literal(new)}, json_extract(field_timestamps, {path})), json_remove(field_timestamps, {path}))
WHERE json_extract(field_timestamps, {path}) IS NOT NULL"""


_ON_CONFLICT = """
  ON CONFLICT ("model", "pk", "scope") DO UPDATE
  SET "checkpoint" = NULL, "kind" = excluded."kind", "at" = excluded."at", "row" = excluded."row\""""


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
    known = f"CASE WHEN {_empty('OLD.field_timestamps')} THEN json_object('*', {ts}) ELSE OLD.field_timestamps END"
    return f"""  UPDATE {connection.ops.quote_name(table.name)}
  SET last_updated = {ts}, field_timestamps = {patched(known, changed, ts)}
  WHERE {rowid} = NEW.{rowid};
"""


def patched(clocks: str, changed: Mapping[str, str], ts: str) -> str:
    """Clocks with those of the changed fields replaced. The null member is no clock: merging a patch drops it."""
    members = "".join(
        f" || CASE WHEN {condition} THEN ',\"{name}\":' || {ts} ELSE '' END"
        for name, condition in changed.items()
    )
    return f"json_patch({clocks}, '{{\"\":null'{members} || '}}')"


def _enter(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, kind: int) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, row))
    at = NOW if kind == ROW else f"max({NOW}, OLD.last_updated + 1)"
    kept = row_json(connection, table, row) if kind == DELETED else "NULL"
    return f"""  INSERT INTO {connection.ops.quote_name(ENTRY_TABLE)} ("model", "pk", "scope", "kind", "at", "row")
  VALUES ({literal(table.label)}, {pk}, {scope_text(connection, table, row)}, {kind}, {at}, {kept}){_ON_CONFLICT};
"""


def leave_other_scopes(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """Departs from the scope of a row that ``INSERT OR REPLACE`` has thrown out without firing a trigger."""
    return f"""  UPDATE {connection.ops.quote_name(ENTRY_TABLE)}
  SET "checkpoint" = NULL, "kind" = {DEPARTED}, "at" = {NOW}
  WHERE "model" = {literal(table.label)} AND "pk" = {wire_text(table.pk, column(connection, table.pk, "NEW"))}
    AND "kind" = {ROW} AND "scope" <> {scope_text(connection, table, "NEW")};
"""


def _raw_value(field: "Field[Any, Any]", value: str) -> str:
    """A column's value as a tombstone keeps it: as it is stored, but in JSON. Reals become text, to keep all digits."""
    if is_json(field):
        return f"json({value})"
    if isinstance(stored_field(field), BinaryField):
        return f"hex({value})" if not field.null else f"CASE WHEN {value} IS NOT NULL THEN hex({value}) END"
    real, blob = f"printf('%!.20g', {value})", f"hex({value})"
    return f"CASE typeof({value}) WHEN 'real' THEN {real} WHEN 'blob' THEN {blob} ELSE {value} END"


def _rowid(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """A name of the row's number that no column of the table has taken; its primary key where none is left."""
    taken = {column_name(field).lower() for field in (table.pk, *table.fields)}
    key = connection.ops.quote_name(column_name(table.pk))
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), key)


def column(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", row: str) -> str:
    return f"{row}.{connection.ops.quote_name(column_name(field))}"


def _clocks_differ() -> str:
    return (
        "NEW.field_timestamps IS NOT OLD.field_timestamps"
        " AND json(NEW.field_timestamps) IS NOT json(OLD.field_timestamps)"
    )


def _empty(clocks: str) -> str:
    return f"({clocks} IS NULL OR {clocks} IN ('{{}}', 'null'))"
