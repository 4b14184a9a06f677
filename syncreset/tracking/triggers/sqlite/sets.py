"""The triggers on SQLite of many-to-many tables: who adds or removes an element has written the owner's field."""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import ENTRY_TABLE, ROW, SetTable, TrackedTable, Trigger, column_name, literal, name_for
from .catalog import drop_sql
from .sql import NOW, column, enter_sql, patched, scope_text, wire_text

_WRITTEN = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


def statements(connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable) -> list[Trigger]:
    """The triggers of one many-to-many table of ``table``."""
    quote = connection.ops.quote_name
    touch = _touch_own if table.own_clocks else _touch_entry
    triggers = []
    for purpose, rows in _WRITTEN.items():
        name = name_for(f"set_{purpose}", through.name)
        body = "".join(touch(connection, table, through, f"{row}.{quote(through.owner)}") for row in rows)
        create = (
            f"CREATE TRIGGER {quote(name)} AFTER {purpose.upper()} ON {quote(through.name)} FOR EACH ROW\n"
            f"BEGIN\n{body}END"
        )
        triggers.append(
            Trigger(
                name=name,
                table=through.name,
                create_sql=create,
                drop_sql=drop_sql(connection, name, through.name),
                text=create,
            )
        )
    return triggers


def _touch_own(connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable, owner: str) -> str:
    quote = connection.ops.quote_name
    ts = f"max({NOW}, last_updated + 1)"
    return f"""  UPDATE {quote(table.name)}
  SET last_updated = {ts}, field_timestamps = json_patch(field_timestamps, json_object({literal(through.field)}, {ts}))
  WHERE {quote(column_name(table.pk))} = {owner} AND field_timestamps NOT IN ('{{}}', 'null');
"""


def _touch_entry(connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable, owner: str) -> str:
    quote = connection.ops.quote_name
    pk = column(connection, table.pk, "t")
    text = wire_text(table.pk, pk)

    def known(name: str) -> str:
        return (
            f'(SELECT "{name}" FROM {quote(ENTRY_TABLE)} WHERE "model" = {literal(table.label)}'
            f' AND "pk" = {text} AND "kind" = {ROW} ORDER BY "updated" DESC LIMIT 1)'
        )

    ts = f"max({NOW}, coalesce({known('updated')} + 1, 0))"
    clocks = patched(f"coalesce({known('clocks')}, json_object('*', {ts}))", {through.field: "1"}, ts)
    source = f"""
    SELECT {literal(table.label)}, {text}, {scope_text(connection, table, "t")}, {ROW}, {NOW}, NULL, {ts}, {clocks}
    FROM {quote(table.name)} AS t WHERE {pk} = {owner}"""
    return f"{enter_sql(connection, source, clocks=True)};\n"
