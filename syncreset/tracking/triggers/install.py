"""Installs, finds and drops the triggers of tracked tables. All vendor SQL is in this package."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db import NotSupportedError, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from . import postgresql, sqlite
from .table import (
    DELETED,
    DEPARTED,
    ENTRY_TABLE,
    ROW,
    Installed,
    TrackedTable,
    Trigger,
    column_name,
    literal,
    set_tables,
)
from .vendor import ClockKeeper, Vendor

_VENDORS: dict[str, Vendor] = {"postgresql": postgresql, "sqlite": sqlite}
SUPPORTED_VENDORS = tuple(_VENDORS)


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """Entries that a table's rows ask for and the feed lacks.

    ``kind`` is theirs: ROW for rows that are not entered in their scope, DEPARTED for entries in a scope that the row
    is not in, DELETED for entries whose row is gone. ``count`` of them, of which ``examples`` names some: (pk, scope).
    """

    kind: int
    count: int
    examples: tuple[tuple[str, str], ...]


def vendor_of(connection: BaseDatabaseWrapper) -> Vendor:
    """What writes SQL for a database. Raises NotSupportedError where there is none."""
    try:
        return _VENDORS[connection.vendor]
    except KeyError:
        raise NotSupportedError(f"syncreset cannot track writes on {connection.display_name}") from None


def clocks_of(connection: BaseDatabaseWrapper, table: TrackedTable) -> ClockKeeper:
    """What writes a table's clocks: into its own columns, or into its rows' entries."""
    vendor = vendor_of(connection)
    return vendor if table.own_clocks else vendor.entries


def tables_of(connection: BaseDatabaseWrapper, models: Iterable[type[Model]]) -> list[TrackedTable]:
    """The tables of those models that can be tracked on this database now: they and the feed's table exist there."""
    here = [model for model in models if router.allow_migrate_model(connection.alias, model)]
    throughs = [table.name for model in here for table in set_tables(model)]
    columns = vendor_of(connection).columns(
        connection, [ENTRY_TABLE, *(model._meta.db_table for model in here), *throughs]
    )
    if ENTRY_TABLE not in columns:
        return []
    tables = (TrackedTable.of(model, columns.get(model._meta.db_table, {}), columns) for model in here)
    return [table for table in tables if table is not None]


def expected(connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
    """The triggers that a table should have."""
    own = clocks_of(connection, table).statements(connection, table)
    sets = vendor_of(connection).sets
    return own + [
        trigger for through in table.sets for trigger in sets.statements(connection, table, through)
    ]


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """The triggers of ours that the database has, by name."""
    return vendor_of(connection).installed(connection)


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
            wanted = expected(connection, table)
            drop_triggers_of(connection, table.names, but=[trigger.name for trigger in wanted])
            present = installed(connection)
            new = [
                trigger
                for trigger in wanted
                if present.get(trigger.name) != Installed(table=trigger.table, text=trigger.text)
            ]
            for trigger in new:
                cursor.execute(trigger.drop_sql)
                cursor.execute(trigger.create_sql)
            reconcile(connection, table)
            if any(trigger.table != table.name for trigger in new):
                # Nobody knows what was added to a set or removed meanwhile: clients are to read the rows again.
                cursor.execute(
                    f'UPDATE {connection.ops.quote_name(ENTRY_TABLE)} SET "checkpoint" = NULL, "touched_by" = NULL'
                    f' WHERE "model" = %s AND "kind" = {ROW}',
                    [table.label],
                )
    return changed


def reconcile(connection: BaseDatabaseWrapper, table: TrackedTable) -> None:
    """Stamp a table's rows that have no clocks, and make the feed true to the table.

    Nobody else may write the table meanwhile: call it in a transaction, whose end lets the others go on.
    """
    vendor = vendor_of(connection)
    lock = vendor.lock_sql(connection, table.name)
    with connection.cursor() as cursor:
        if lock is not None:
            cursor.execute(lock)
        cursor.execute(vendor.enter_sql(connection, _unentered_sql(connection, table)))
        cursor.execute(clocks_of(connection, table).backfill(connection, table))


def discrepancies(
    connection: BaseDatabaseWrapper, table: TrackedTable, *, examples: int = 5
) -> list[Discrepancy]:
    """Where the feed is not true to a table: what `reconcile` would enter."""
    counted = f"""
SELECT "kind", "pk", "scope", "total" FROM (
  SELECT "kind", "pk", "scope", count(*) OVER (PARTITION BY "kind") AS "total",
    row_number() OVER (PARTITION BY "kind" ORDER BY "pk", "scope") AS "place"
  FROM ({_unentered_sql(connection, table)}) AS s
) AS numbered WHERE "place" <= {int(examples)} ORDER BY kind, place"""
    found: dict[int, tuple[int, list[tuple[str, str]]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(counted)
        for kind, pk, scope, total in cursor.fetchall():
            found.setdefault(kind, (total, []))[1].append((pk, scope))
    return [
        Discrepancy(kind=kind, count=total, examples=tuple(named)) for kind, (total, named) in found.items()
    ]


def drop_triggers_of(
    connection: BaseDatabaseWrapper, tables: Collection[str], but: Collection[str] = ()
) -> None:
    """Drop our triggers of the tables, apart from those named."""
    vendor = vendor_of(connection)
    with connection.cursor() as cursor:
        for name, trigger in installed(connection).items():
            if trigger.table in tables and name not in but:
                cursor.execute(vendor.drop_sql(connection, name, trigger.table))


def _unentered_sql(connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
    """The query of the entries that make the feed true to a table: each row in its scope and no other, no entry
    without its row. Their columns are those that ``enter_sql`` wants.

    What it finds are writes made while there were no triggers, or a model whose scope has been declared anew.
    """
    vendor = vendor_of(connection)
    quote = connection.ops.quote_name
    label, entry = literal(table.label), quote(ENTRY_TABLE)
    pk = vendor.wire_text(table.pk, f"t.{quote(column_name(table.pk))}")
    scope, nothing = vendor.scope_text(connection, table, "t"), vendor.NULL_ROW
    return f"""
WITH here (pk, scope) AS MATERIALIZED (SELECT {pk}, {scope} FROM {quote(table.name)} AS t)
SELECT {label} AS "model", here.pk AS "pk", here.scope AS "scope", {ROW} AS "kind", {vendor.NOW} AS "at",
  {nothing} AS "row"
FROM here
LEFT JOIN {entry} AS e ON e."model" = {label} AND e."pk" = here.pk AND e."scope" = here.scope AND e."kind" = {ROW}
WHERE e."id" IS NULL
UNION ALL
SELECT e."model", e."pk", e."scope", CASE WHEN here.pk IS NULL THEN {DELETED} ELSE {DEPARTED} END,
  {vendor.NOW}, {nothing}
FROM {entry} AS e LEFT JOIN here ON here.pk = e."pk"
WHERE e."model" = {label} AND e."kind" = {ROW} AND (here.pk IS NULL OR here.scope <> e."scope")"""


def _differs(connection: BaseDatabaseWrapper, table: TrackedTable, present: dict[str, Installed]) -> bool:
    wanted = {
        trigger.name: Installed(table=trigger.table, text=trigger.text)
        for trigger in expected(connection, table)
    }
    return wanted != {name: trigger for name, trigger in present.items() if trigger.table in table.names}
