"""The triggers on PostgreSQL: a row trigger stamps, statement triggers with transition tables enter.

The functions that enter belong to whoever migrates and run with those rights, so that a role which may write a table
need not be able to write the feed. Every name in them is qualified: they do the same under any ``search_path``.
"""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field

from syncreset.tracking.registry import EVERYONE
from syncreset.tracking.triggers.base import (
    DELETED,
    DEPARTED,
    ENTRY_TABLE,
    PREFIX,
    ROW,
    TRUNCATED,
    Installed,
    TrackedTable,
    Trigger,
    column_name,
    is_collated,
    literal,
    name_for,
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
    "entering",
    "installed",
    "lock_sql",
    "remove_orphans",
    "rename_clock_sql",
    "row_json",
    "schemas_of",
    "scope_text",
    "stamp_from_copy_sql",
    "statements",
    "trigger",
    "truncate_body",
    "vanished_json",
    "wire_text",
]

NOW = "(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint"

#: An entry's ``row`` that keeps nothing.
NULL_ROW = "NULL::jsonb"

# Functions take at most 100 arguments, two for each field.
_FIELDS_OF_ONE_CALL = 45

_STAMPING = "stamp"
_ENTERING = ("insert", "update", "delete", "truncate")

_INSTALLED = """
SELECT p.proname, c.relname, p.prosrc, t.tgenabled IN ('O', 'A')
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND p.proname LIKE %s AND pg_table_is_visible(c.oid)
"""

_COLUMNS = """
SELECT c.relname, n.nspname, a.attname, format_type(a.atttypid, NULL)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND c.relname = ANY(%s)
"""

_ORPHANS = """
SELECT p.oid::regprocedure::text
FROM pg_proc p
WHERE p.proname LIKE %s AND p.prorettype = 'trigger'::regtype AND pg_function_is_visible(p.oid)
  AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)
"""

_LIKE_OURS = PREFIX.replace("_", r"\_") + "%"


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


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """Our triggers by name. One that has been disabled shows no text."""
    with connection.cursor() as cursor:
        cursor.execute(_INSTALLED, [_LIKE_OURS])
        return {
            name: Installed(table=table, text=source if enabled else "")
            for name, table, source, enabled in cursor.fetchall()
        }


def columns(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, dict[str, str]]:
    """The columns that the tables have, with their types; a table that does not exist is left out."""
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [tables])
        for table, _, column, kind in cursor.fetchall():
            found.setdefault(table, {})[column] = kind
    return found


def drop_sql(connection: BaseDatabaseWrapper, name: str, table: str) -> str:
    """The statement that drops a trigger with its function."""
    return f"DROP FUNCTION IF EXISTS {connection.ops.quote_name(name)}() CASCADE"


def remove_orphans(connection: BaseDatabaseWrapper) -> None:
    """Drop our functions that no trigger calls any more, as those of a table that has been dropped."""
    with connection.cursor() as cursor:
        cursor.execute(_ORPHANS, [_LIKE_OURS])
        for (signature,) in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION {signature}")


def backfill(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The statement that stamps the rows which no trigger has seen."""
    return f"""
UPDATE {connection.ops.quote_name(table.name)}
SET (last_updated, field_timestamps) = (SELECT s.ts, jsonb_build_object('*', s.ts) FROM (SELECT {NOW} AS ts) AS s)
WHERE {_empty("field_timestamps")}"""


def lock_sql(connection: BaseDatabaseWrapper, table: str) -> str | None:
    """The statement that lets nobody else write a table until the transaction ends, where one is needed."""
    return f"LOCK TABLE {connection.ops.quote_name(table)} IN SHARE ROW EXCLUSIVE MODE"


def copy_sql(connection: BaseDatabaseWrapper, table: str, copy: str) -> str:
    """The statement that copies a table with its rows."""
    quote = connection.ops.quote_name
    return f"CREATE TABLE {quote(copy)} AS TABLE {quote(table)}"


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


def vanished_json(connection: BaseDatabaseWrapper, table: TrackedTable, row: str, entry: str) -> str:
    """A row that is gone, as its tombstone keeps it."""
    return row_json(connection, table, row)


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
ON CONFLICT ("model", "pk", "scope") DO UPDATE SET "checkpoint" = NULL, {taken}"""


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
  AND NOT {_empty("t.field_timestamps")} AND ({" OR ".join(changed.values())})"""


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
    IF {_empty("NEW.field_timestamps")} THEN
      NEW.last_updated := ts;
      NEW.field_timestamps := jsonb_build_object('*', ts);
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.field_timestamps IS DISTINCT FROM OLD.field_timestamps AND NOT {_empty("NEW.field_timestamps")} THEN
    RETURN NEW;  -- a merge has decided the clocks
  END IF;
  NEW.last_updated := OLD.last_updated;
  NEW.field_timestamps := OLD.field_timestamps;
  IF NOT ({" OR ".join(differences.values()) or "false"}) THEN
    RETURN NEW;
  END IF;
  ts := greatest(ts, OLD.last_updated + 1);
  clocks := CASE WHEN {_empty("OLD.field_timestamps")} THEN jsonb_build_object('*', ts) ELSE OLD.field_timestamps END;
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


def truncate_body(table: TrackedTable, entry: str) -> str:
    return f"""
BEGIN
  INSERT INTO {entry} AS e ("model", "pk", "scope", "checkpoint", "kind", "at", "row")
  VALUES ({literal(table.label)}, '', {literal(EVERYONE)}, NULL, {TRUNCATED}, {NOW}, NULL)
  ON CONFLICT ("model", "pk", "scope") DO UPDATE SET "checkpoint" = NULL, "at" = EXCLUDED."at";
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


def _empty(clocks: str) -> str:
    return f"({clocks} IS NULL OR {clocks} = '{{}}'::jsonb OR {clocks} = 'null'::jsonb)"


def schemas_of(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [tables])
        return {table: schema for table, schema, _, _ in cursor.fetchall()}
