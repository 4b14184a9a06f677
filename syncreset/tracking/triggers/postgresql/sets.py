"""The triggers on PostgreSQL of many-to-many tables: who adds or removes an element has written the owner's field.

An owner's row is locked before its elements are written, as merging does, so that both orders never meet.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import ENTRY_TABLE, ROW, SetTable, TrackedTable, Trigger, column_name, literal, name_for
from .catalog import drop_sql, schemas_of
from .sql import column, enter_sql, entering, scope_text, truncate_body, wire_text

_WRITTEN = {
    "insert": ("REFERENCING NEW TABLE AS new_rows", ("new_rows",)),
    "update": ("REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", ("old_rows", "new_rows")),
    "delete": ("REFERENCING OLD TABLE AS old_rows", ("old_rows",)),
}


def statements(connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable) -> list[Trigger]:
    """The triggers of one many-to-many table of ``table``."""
    schemas = schemas_of(connection, [table.name, through.name, ENTRY_TABLE])
    quote = connection.ops.quote_name
    qualified = {name: f"{quote(schema)}.{quote(name)}" for name, schema in schemas.items()}
    owners, entry = qualified[table.name], qualified[ENTRY_TABLE]

    def trigger(purpose: str, event: str, body: str) -> Trigger:
        name = name_for(f"set_{purpose}", through.name)
        function = f"{quote(schemas[through.name])}.{quote(name)}"
        create = f"""
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $syncreset${body}$syncreset$;
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
CREATE OR REPLACE TRIGGER {quote(f"syncreset_set_{purpose}")} {event.format(qualified[through.name])}
EXECUTE FUNCTION {function}();"""
        return Trigger(
            name=name,
            table=through.name,
            create_sql=create,
            drop_sql=drop_sql(connection, name, through.name),
            text=body,
        )

    return [
        trigger("lock", "BEFORE INSERT ON {} FOR EACH ROW", _lock_body(connection, table, through, owners)),
        *(
            trigger(
                purpose,
                f"AFTER {purpose.upper()} ON {{}} {transition} FOR EACH STATEMENT",
                _touch_body(connection, table, through, owners, entry, rows),
            )
            for purpose, (transition, rows) in _WRITTEN.items()
        ),
        trigger("truncate", "AFTER TRUNCATE ON {} FOR EACH STATEMENT", truncate_body(table, entry)),
    ]


def _lock_body(connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable, owners: str) -> str:
    owner = connection.ops.quote_name(through.owner)
    return f"""
BEGIN
  PERFORM 1 FROM {owners} AS t WHERE {column(connection, table.pk, "t")} = NEW.{owner} FOR NO KEY UPDATE;
  RETURN NEW;
END
"""


def _touch_body(
    connection: BaseDatabaseWrapper,
    table: TrackedTable,
    through: SetTable,
    owners: str,
    entry: str,
    rows: tuple[str, ...],
) -> str:
    owner = connection.ops.quote_name(through.owner)
    pk = column(connection, table.pk, "t")
    named = " UNION ".join(f"SELECT {owner} FROM {name}" for name in rows)
    if not table.own_clocks:
        return entering(
            enter_sql(
                connection,
                _entry_source(connection, table, through, owners, entry, named),
                entry,
                clocks=True,
            )
        )
    ts = "greatest(entering.began, t.last_updated + 1)"
    update = f"""
  UPDATE {owners} AS t
  SET last_updated = {ts}, field_timestamps = t.field_timestamps || jsonb_build_object({literal(through.field)}, {ts})
  WHERE {pk} IN ({named}) AND t.field_timestamps <> '{{}}'::jsonb"""
    return entering(update)


def _entry_source(
    connection: BaseDatabaseWrapper,
    table: TrackedTable,
    through: SetTable,
    owners: str,
    entry: str,
    named: str,
) -> str:
    pk = column(connection, table.pk, "t")
    text = wire_text(table.pk, pk)
    return f"""
SELECT {literal(table.label)}, {text}, {scope_text(connection, table, "t")}, {ROW}::smallint, entering.began,
  NULL::jsonb, s.ts,
  coalesce(k."clocks", jsonb_build_object('*', s.ts)) || jsonb_build_object({literal(through.field)}, s.ts)
FROM (SELECT * FROM {owners} AS o WHERE o.{connection.ops.quote_name(column_name(table.pk))} IN ({named})
  ORDER BY 1 FOR NO KEY UPDATE) AS t
LEFT JOIN LATERAL (
  SELECT e."updated", e."clocks" FROM {entry} AS e
  WHERE e."model" = {literal(table.label)} AND e."pk" = {text} AND e."kind" = {ROW}
  ORDER BY e."updated" DESC NULLS LAST LIMIT 1
) AS k ON true
CROSS JOIN LATERAL (SELECT greatest(entering.began, coalesce(k."updated" + 1, 0)) AS ts) AS s"""
