"""The triggers on PostgreSQL: a row trigger stamps, statement triggers with transition tables enter.

The functions that enter belong to whoever migrates and run with those rights, so that a role which may write a table
need not be able to write the feed. Every name in them is qualified: they do the same under any ``search_path``.
"""

from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import DELETED, DEPARTED, ENTRY_TABLE, ROW, TrackedTable, Trigger, column_name, literal, name_for
from .catalog import drop_sql, schemas_of
from .sql import (
    NOW,
    column,
    differs,
    enter_sql,
    entering,
    is_empty,
    row_json,
    scope_text,
    truncate_body,
    wire_text,
)

_STAMPING = "stamp"
_ENTERING = ("insert", "update", "delete", "truncate")


def statements(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers of a table."""
    schemas = schemas_of(connection, [table.name, ENTRY_TABLE])
    quote = connection.ops.quote_name
    qualified = f"{quote(schemas[table.name])}.{quote(table.name)}"
    entry = f"{quote(schemas[ENTRY_TABLE])}.{quote(ENTRY_TABLE)}"
    bodies = {
        _STAMPING: _stamp_body(connection, table),
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
    """The statement that stamps the rows which no trigger has seen."""
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET (last_updated, field_timestamps) = (SELECT s.ts, jsonb_build_object('*', s.ts) FROM (SELECT {NOW} AS ts) AS s)
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
    clocks = " || ".join(
        f"CASE WHEN {condition} THEN jsonb_build_object({literal(name)}, s.ts) ELSE '{{}}' END"
        for name, condition in changed.items()
    )
    pk = connection.ops.quote_name(column_name(table.pk))
    return f"""
UPDATE {connection.ops.quote_name(table.name)} AS t
SET last_updated = s.ts, field_timestamps = t.field_timestamps || {clocks}
FROM {copy} AS c, LATERAL (SELECT c.last_updated + 1 AS ts) AS s
WHERE c.{pk} = t.{pk} AND t.field_timestamps IS NOT DISTINCT FROM c.field_timestamps
  AND NOT {is_empty("t.field_timestamps")} AND ({" OR ".join(changed.values())})"""


def rename_clock_sql(connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str) -> str:
    """The update that gives a renamed field's clocks to its new name, where that has none yet."""
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET field_timestamps = jsonb_build_object({literal(new)}, field_timestamps -> {literal(old)})
  || (field_timestamps - {literal(old)})
WHERE field_timestamps ? {literal(old)}"""


def trigger(
    connection: BaseDatabaseWrapper, table: TrackedTable, qualified: str, schema: str, purpose: str, body: str
) -> Trigger:
    quote = connection.ops.quote_name
    name = name_for(purpose, table.name)
    function = f"{quote(schema)}.{quote(name)}"
    rights = "" if purpose == _STAMPING else "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
    if purpose == _STAMPING:
        # Row triggers fire in the order of their names: what others make of the row must be there to be stamped.
        own, event = "zz_syncreset_stamp", "BEFORE INSERT OR UPDATE"
        tables, each = "", "ROW"
    else:
        own, event = f"syncreset_{purpose}", f"AFTER {purpose.upper()}"
        tables, each = _TRANSITION_TABLES[purpose], "STATEMENT"
    create = f"""
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {rights} AS $syncreset${body}$syncreset$;
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
CREATE OR REPLACE TRIGGER {own} {event} ON {qualified} {tables}
FOR EACH {each} EXECUTE FUNCTION {function}();"""
    return Trigger(
        name=name,
        table=table.name,
        create_sql=create,
        drop_sql=drop_sql(connection, name, table.name),
        text=body,
    )


_TRANSITION_TABLES = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
    "truncate": "",
}


def _stamp_body(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    differences = {field.name: differs(connection, field, "OLD", "NEW") for field in table.stamped}
    stamps = "".join(
        f"\n  IF {difference} THEN clocks := clocks || jsonb_build_object({literal(name)}, ts); END IF;"
        for name, difference in differences.items()
    )
    return f"""
DECLARE
  ts bigint := {NOW};
  clocks jsonb;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF {is_empty("NEW.field_timestamps")} THEN
      NEW.last_updated := ts;
      NEW.field_timestamps := jsonb_build_object('*', ts);
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.field_timestamps IS DISTINCT FROM OLD.field_timestamps AND NOT {is_empty("NEW.field_timestamps")} THEN
    RETURN NEW;  -- a merge has decided the clocks
  END IF;
  NEW.last_updated := OLD.last_updated;
  NEW.field_timestamps := OLD.field_timestamps;
  IF NOT ({" OR ".join(differences.values()) or "false"}) THEN
    RETURN NEW;
  END IF;
  ts := greatest(ts, OLD.last_updated + 1);
  clocks := CASE WHEN {is_empty("OLD.field_timestamps")} THEN jsonb_build_object('*', ts) ELSE OLD.field_timestamps END;
{stamps}
  NEW.last_updated := ts;
  NEW.field_timestamps := clocks;
  RETURN NEW;
END
"""


def _insert_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "n"))
    source = (
        f"SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, 'n')}, {ROW}::smallint, entering.began,"
        " NULL::jsonb FROM new_rows n"
    )
    return entering(enter_sql(connection, source, entry))


def _update_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    old, new = column(connection, table.pk, "o"), column(connection, table.pk, "n")
    old_scope, new_scope = scope_text(connection, table, "o"), scope_text(connection, table, "n")
    left = f"{new} IS NULL"
    if table.moves:
        left += f" OR {old_scope} <> {new_scope}"
    source = f"""
SELECT {literal(table.label)}, r.* FROM old_rows o FULL JOIN new_rows n ON {new} = {old}
CROSS JOIN LATERAL (
  SELECT {wire_text(table.pk, new)}, {new_scope}, {ROW}::smallint, entering.began, NULL::jsonb
  WHERE {new} IS NOT NULL AND ({old} IS NULL OR n.last_updated IS DISTINCT FROM o.last_updated
    OR n.field_timestamps IS DISTINCT FROM o.field_timestamps)
  UNION ALL
  SELECT {wire_text(table.pk, old)}, {old_scope},
    CASE WHEN {new} IS NULL THEN {DELETED} ELSE {DEPARTED} END::smallint, greatest(entering.began, o.last_updated + 1),
    CASE WHEN {new} IS NULL THEN {row_json(connection, table, "o")} END
  WHERE {old} IS NOT NULL AND ({left})
) AS r"""
    return entering(enter_sql(connection, source, entry))


def _delete_body(connection: BaseDatabaseWrapper, table: TrackedTable, entry: str) -> str:
    pk = wire_text(table.pk, column(connection, table.pk, "o"))
    source = (
        f"SELECT {literal(table.label)}, {pk}, {scope_text(connection, table, 'o')}, {DELETED}::smallint,"
        f" greatest(entering.began, o.last_updated + 1), {row_json(connection, table, 'o')} FROM old_rows o"
    )
    return entering(enter_sql(connection, source, entry))
