"""Installs, finds and drops the triggers of tracked tables. All vendor SQL is in this package.

A vendor is a module with the functions of ``Vendor``: what it says about a table, and the SQL it says it in.
"""

from collections.abc import Collection, Iterable
from types import ModuleType

from django.db import NotSupportedError, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from syncreset.tracking.triggers import postgresql, sqlite
from syncreset.tracking.triggers.base import (
    DELETED,
    DEPARTED,
    ENTRY_TABLE,
    ROW,
    Installed,
    TrackedTable,
    Trigger,
    column_name,
    literal,
)

__all__ = [
    "ENTRY_TABLE",
    "SUPPORTED_VENDORS",
    "Installed",
    "TrackedTable",
    "Trigger",
    "drop",
    "drop_triggers_of",
    "expected",
    "install",
    "installed",
    "missing_or_stale",
    "tables_of",
    "vendor_of",
]

_VENDORS: dict[str, ModuleType] = {"postgresql": postgresql, "sqlite": sqlite}
SUPPORTED_VENDORS = tuple(_VENDORS)


def vendor_of(connection: BaseDatabaseWrapper) -> ModuleType:
    """The module that writes SQL for a database. Raises NotSupportedError where there is none."""
    try:
        return _VENDORS[connection.vendor]
    except KeyError:
        raise NotSupportedError(f"syncreset cannot track writes on {connection.display_name}") from None


def tables_of(connection: BaseDatabaseWrapper, models: Iterable[type[Model]]) -> list[TrackedTable]:
    """The tables of those models that can be tracked on this database now: they and the feed's table exist there."""
    here = [model for model in models if router.allow_migrate_model(connection.alias, model)]
    columns = vendor_of(connection).columns(
        connection, [ENTRY_TABLE, *(model._meta.db_table for model in here)]
    )
    if ENTRY_TABLE not in columns:
        return []
    tables = (TrackedTable.of(model, columns.get(model._meta.db_table, {})) for model in here)
    return [table for table in tables if table is not None]


def expected(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers that a table should have."""
    triggers: list[Trigger] = vendor_of(connection).statements(connection, table)
    return triggers


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """The triggers of ours that the database has, by name."""
    found: dict[str, Installed] = vendor_of(connection).installed(connection)
    return found


def missing_or_stale(connection: BaseDatabaseWrapper, models: Iterable[type[Model]]) -> list[TrackedTable]:
    """The tables whose triggers are not those that the models ask for."""
    present = installed(connection)
    return [table for table in tables_of(connection, models) if _differs(connection, table, present)]


def install(connection: BaseDatabaseWrapper, models: Iterable[type[Model]]) -> list[TrackedTable]:
    """Give each table the triggers its model asks for, and make up for the writes that no trigger has seen.

    Returns the tables whose triggers changed; the others are not touched, nor locked.
    """
    changed = missing_or_stale(connection, models)
    for table in changed:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            drop_triggers_of(
                connection, [table.name], but=[trigger.name for trigger in expected(connection, table)]
            )
            present = installed(connection)
            for trigger in expected(connection, table):
                if present.get(trigger.name) != Installed(table=trigger.table, text=trigger.text):
                    cursor.execute(trigger.drop_sql)
                    cursor.execute(trigger.create_sql)
            cursor.execute(vendor_of(connection).backfill(connection, table))
            cursor.execute(_reconcile_sql(connection, table))
    return changed


def drop(connection: BaseDatabaseWrapper, model: type[Model]) -> None:
    """Drop a model's triggers: writes to its table are no longer tracked."""
    drop_triggers_of(connection, [model._meta.db_table])


def drop_triggers_of(
    connection: BaseDatabaseWrapper, tables: Collection[str], but: Collection[str] = ()
) -> None:
    """Drop our triggers of the tables, apart from those named."""
    vendor = vendor_of(connection)
    with connection.cursor() as cursor:
        for name, trigger in installed(connection).items():
            if trigger.table in tables and name not in but:
                cursor.execute(vendor.drop_sql(connection, name, trigger.table))


def _reconcile_sql(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The upsert that makes the feed true to a table: each row in its scope and no other, no entry without its row.

    What it finds are writes made while there were no triggers, or a model whose scope has been declared anew.
    """
    vendor = vendor_of(connection)
    quote = connection.ops.quote_name
    label, entry = literal(table.label), quote(ENTRY_TABLE)
    pk = vendor.wire_text(table.pk, f"t.{quote(column_name(table.pk))}")
    scope, nothing = vendor.scope_text(connection, table, "t"), vendor.NULL_ROW
    source = f"""
WITH here (pk, scope) AS MATERIALIZED (SELECT {pk}, {scope} FROM {quote(table.name)} AS t)
SELECT {label}, here.pk, here.scope, {ROW}, {vendor.NOW}, {nothing} FROM here
LEFT JOIN {entry} AS e ON e."model" = {label} AND e."pk" = here.pk AND e."scope" = here.scope AND e."kind" = {ROW}
WHERE e."id" IS NULL
UNION ALL
SELECT e."model", e."pk", e."scope", CASE WHEN here.pk IS NULL THEN {DELETED} ELSE {DEPARTED} END,
  {vendor.NOW}, {nothing}
FROM {entry} AS e LEFT JOIN here ON here.pk = e."pk"
WHERE e."model" = {label} AND e."kind" = {ROW} AND (here.pk IS NULL OR here.scope <> e."scope")"""
    sql: str = vendor.enter_sql(connection, source)
    return sql


def _differs(connection: BaseDatabaseWrapper, table: TrackedTable, present: dict[str, Installed]) -> bool:
    wanted = {
        trigger.name: Installed(table=table.name, text=trigger.text)
        for trigger in expected(connection, table)
    }
    return wanted != {name: trigger for name, trigger in present.items() if trigger.table == table.name}
