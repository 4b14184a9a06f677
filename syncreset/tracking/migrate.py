"""Keeps tracking whole across ``migrate``: nothing fails for a trigger that names a dropped column, no write is lost.

Before a migration alters tracked tables their triggers are dropped, and each table is copied. After it the triggers
are installed anew, and what the table no longer has in common with its copy was written by the migration, or by
somebody else meanwhile: it is stamped and entered. The copies outlive a failed ``migrate``, and are compared when the
next succeeds.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.apps.registry import Apps
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.models import ForeignKey, Model

from .fields import CLOCK_FIELDS
from .registry import tracked_models
from .triggers import install as triggers
from .triggers.table import DELETED, ENTRY_TABLE, ROW, TrackedTable, column_name, literal, name_for

#: The table that remembers which copies were made, until they have been compared.
MANIFEST = "syncreset_before"

Plan = Sequence[tuple[Migration, bool]]

# Neither the rows nor the triggers of a table notice these.
_HARMLESS = (
    ops.AddIndex,
    ops.RemoveIndex,
    ops.RenameIndex,
    ops.AlterModelOptions,
    ops.AlterModelManagers,
    ops.AlterModelTableComment,
    ops.CreateModel,
)
# Nor these, except on SQLite, where Django makes the table anew for them.
_HARMLESS_IN_PLACE = (
    ops.AddConstraint,
    ops.RemoveConstraint,
    ops.AlterUniqueTogether,
    ops.AlterIndexTogether,
)
# These alter the columns that point to a model together with the model.
_REACHING = (ops.AlterField, ops.RenameField, ops.RenameModel, ops.AlterModelTable)


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """A copied table: its name, the table it is to be compared with, and how that was named before.

    ``source``: the table's name when it was copied. ``columns``: the name that a field will have to the column it had.
    ``renamed``: a field's old name to its new one.
    """

    name: str
    source: str
    table: str
    label: str
    columns: dict[str, str]
    renamed: dict[str, str]


@dataclass
class _Alterations:
    """What a plan does to tables, found by walking through its operations.

    ``tables``: (app, model) as named at that point of the plan, to its table. ``altered``: tables whose columns or
    triggers may change. ``models``: a table's model as named at the end. ``renamed``: by table, a field's first name to
    its last.
    """

    tables: dict[tuple[str, str], str]
    altered: set[str] = field(default_factory=set)
    models: dict[str, tuple[str, str]] = field(default_factory=dict)
    renamed: dict[str, dict[str, str]] = field(default_factory=dict)
    writes_data: bool = False


def before_migrate(*, using: str, plan: Plan, apps: Apps, **kwargs: Any) -> None:
    """Receiver of ``pre_migrate``."""
    connection = connections[using]
    if not plan or connection.vendor not in triggers.SUPPORTED_VENDORS:
        return
    alterations = _alterations(plan, apps, rebuilds=connection.vendor == "sqlite")
    guarded = {trigger.table for trigger in triggers.installed(connection).values()}
    affected = guarded if ENTRY_TABLE in alterations.altered else guarded & alterations.altered
    before = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    pointing = _pointing_tables(list(before.values()))
    for table in list(affected):
        # The triggers of many-to-many tables write into the tables of the models that they belong to.
        affected |= guarded & {name for name in pointing.get(table, ()) if before[name]._meta.auto_created}
    for table in sorted(affected):
        with transaction.atomic(using=using):
            _lock(connection, table)
            if table in before and (table in alterations.altered or alterations.writes_data):
                _keep_copy(connection, _copy_of(before[table], alterations))
            triggers.drop_triggers_of(connection, [table])


def after_migrate(*, using: str, **kwargs: Any) -> None:
    """Receiver of ``post_migrate``."""
    connection = connections[using]
    if connection.vendor not in triggers.SUPPORTED_VENDORS:
        return
    models = {model._meta.db_table: model for model in tracked_models()}
    for copy in _copies(connection):
        model = models.get(copy.table)
        with transaction.atomic(using=using):
            if model is not None:
                tables = triggers.tables_of(connection, [model])
                if not tables:
                    continue  # Migrated half way: compared when the columns are there.
                [table] = tables
                _lock(connection, table.name)
                _rename_entries(connection, copy.label, table.label)
                triggers.install(connection, [model])
                _compare(connection, table, copy)
            _forget_copy(connection, copy)
    triggers.install(connection, list(models.values()))
    triggers.vendor_of(connection).remove_orphans(connection)


def _alterations(plan: Plan, apps: Apps, *, rebuilds: bool) -> _Alterations:
    state = apps.get_models(include_auto_created=True)
    found = _Alterations(
        tables={
            (model._meta.app_label, model._meta.model_name or ""): model._meta.db_table for model in state
        }
    )
    pointing = _pointing_tables(state)
    for migration, backwards in plan:
        for operation in _flat(migration.operations, backwards=backwards):
            for table in list(
                _touched(operation, migration.app_label, found, backwards=backwards, rebuilds=rebuilds)
            ):
                found.altered.add(table)
                if isinstance(operation, _REACHING):
                    found.altered |= _reached(table, pointing)
            _follow_names(operation, migration.app_label, found, backwards=backwards)
    return found


def _flat(operations: Sequence[Operation], *, backwards: bool) -> Iterator[Operation]:
    for operation in reversed(operations) if backwards else operations:
        if isinstance(operation, ops.SeparateDatabaseAndState):
            yield from _flat(operation.database_operations, backwards=backwards)
            yield from _flat(operation.state_operations, backwards=backwards)
        else:
            yield operation


def _touched(
    operation: Operation, app: str, found: _Alterations, *, backwards: bool, rebuilds: bool
) -> Iterator[str]:
    """The tables that an operation may alter. One we do not know may alter every table of its app."""
    if isinstance(operation, ops.RunPython):
        found.writes_data = True
        return
    if isinstance(operation, _HARMLESS) or (isinstance(operation, _HARMLESS_IN_PLACE) and not rebuilds):
        return
    if isinstance(operation, ops.AddField) and not backwards and not rebuilds:
        return
    name = getattr(operation, "model_name", None) or getattr(operation, "name", None)
    if isinstance(operation, ops.RenameModel):
        name = operation.new_name if backwards else operation.old_name
    if isinstance(operation, ops.RunSQL) or not type(operation).__module__.startswith(
        "django.db.migrations."
    ):
        found.writes_data = True
        yield from [table for (label, _), table in found.tables.items() if label == app]
    elif (app, str(name).lower()) in found.tables:
        yield found.tables[app, str(name).lower()]


def _follow_names(operation: Operation, app: str, found: _Alterations, *, backwards: bool) -> None:
    if isinstance(operation, ops.RenameModel):
        names = [operation.old_name.lower(), operation.new_name.lower()]
        old, new = reversed(names) if backwards else names
        table = found.tables.pop((app, old), None)
        if table is not None:
            found.tables[app, new] = table
            found.models[table] = (app, new)
    elif isinstance(operation, ops.RenameField):
        names = [operation.old_name, operation.new_name]
        old, new = reversed(names) if backwards else names
        table = found.tables.get((app, operation.model_name_lower))
        if table is not None:
            renamed = found.renamed.setdefault(table, {})
            first = next((first for first, last in renamed.items() if last == old), old)
            renamed[first] = new


def _pointing_tables(state: Sequence[type[Model]]) -> dict[str, set[str]]:
    """By table, the tables with a foreign key to it."""
    pointing: dict[str, set[str]] = {}
    for model in state:
        for column in model._meta.concrete_fields:
            if isinstance(column, ForeignKey):
                pointing.setdefault(column.related_model._meta.db_table, set()).add(model._meta.db_table)
    return pointing


def _reached(table: str, pointing: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [table]
    while waiting:
        for child in pointing.get(waiting.pop(), set()) - reached:
            reached.add(child)
            waiting.append(child)
    return reached


def _copy_of(model: type[Model], alterations: _Alterations) -> _Copy:
    """What will be copied of a table whose model, before the plan, is ``model``."""
    meta = model._meta
    renamed = alterations.renamed.get(meta.db_table, {})
    app, name = alterations.models.get(meta.db_table, (meta.app_label, meta.model_name or ""))
    now_named = {candidate._meta.label_lower: candidate._meta.db_table for candidate in tracked_models()}
    return _Copy(
        name=name_for("before", meta.db_table),
        source=meta.db_table,
        table=now_named.get(f"{app}.{name}", meta.db_table),
        label=meta.label_lower,
        columns={
            renamed.get(column.name, column.name): column_name(column) for column in meta.concrete_fields
        },
        renamed=renamed,
    )


def _keep_copy(connection: BaseDatabaseWrapper, copy: _Copy) -> None:
    """Copy the table, unless a migration that failed has left a copy: then that one says how things were."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {MANIFEST} (name varchar(63) PRIMARY KEY, copy text NOT NULL)"
        )
        cursor.execute(f"SELECT 1 FROM {MANIFEST} WHERE name = %s", [copy.name])
        if cursor.fetchone() is None:
            cursor.execute(triggers.vendor_of(connection).copy_sql(connection, copy.source, copy.name))
            described = json.dumps({name: value for name, value in asdict(copy).items() if name != "name"})
            cursor.execute(f"INSERT INTO {MANIFEST} (name, copy) VALUES (%s, %s)", [copy.name, described])


def _copies(connection: BaseDatabaseWrapper) -> list[_Copy]:
    with connection.cursor() as cursor:
        if MANIFEST not in triggers.vendor_of(connection).columns(connection, [MANIFEST]):
            return []
        cursor.execute(f"SELECT name, copy FROM {MANIFEST} ORDER BY name")
        return [_Copy(name=name, **json.loads(text)) for name, text in cursor.fetchall()]


def _forget_copy(connection: BaseDatabaseWrapper, copy: _Copy) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {connection.ops.quote_name(copy.name)}")
        cursor.execute(f"DELETE FROM {MANIFEST} WHERE name = %s", [copy.name])
        cursor.execute(f"SELECT count(*) FROM {MANIFEST}")
        if cursor.fetchone() == (0,):
            cursor.execute(f"DROP TABLE {MANIFEST}")


def _rename_entries(connection: BaseDatabaseWrapper, old: str, new: str) -> None:
    """Take the entries of a renamed model along. Unstamped, so that clients hear of the rows under their new name."""
    if old != new:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {ENTRY_TABLE} SET model = %s, checkpoint = NULL, touched_by = NULL WHERE model = %s",
                [new, old],
            )


def _compare(connection: BaseDatabaseWrapper, table: TrackedTable, copy: _Copy) -> None:
    """Stamp what differs from the copy, and keep what the copy knows of rows that have gone."""
    vendor, keeper = triggers.vendor_of(connection), triggers.clocks_of(connection, table)
    quote = connection.ops.quote_name
    found = vendor.columns(connection, [copy.name, table.name])
    old_kinds, kinds = found[copy.name], found[table.name]
    had = {
        field: old_kinds[copy.columns[field.name]]
        for field in table.fields
        if copy.columns.get(field.name) in old_kinds
    }
    pk = copy.columns.get(table.pk.name)
    clocks = CLOCK_FIELDS if table.own_clocks else ()
    if pk is None or any(name not in old_kinds for name in (pk, *clocks)):
        return  # The table was not tracked before, or its rows have other keys now: they are all new.
    selected = [f"{quote(copy.columns[field.name])} AS {quote(column_name(field))}" for field in had]
    selected = [f"{quote(pk)} AS {quote(column_name(table.pk))}", *clocks, *selected]
    aligned = f"(SELECT {', '.join(selected)} FROM {quote(copy.name)})"
    changed = {
        field.name: vendor.differs_from_copy(connection, field, had[field], kinds[column_name(field)])
        for field in table.stamped
        if field in had
    }
    comparable = tuple(
        field for field in had if not vendor.COPIES_KEEP_TYPES or had[field] == kinds[column_name(field)]
    )
    with connection.cursor() as cursor:
        if changed:
            cursor.execute(keeper.stamp_from_copy_sql(connection, table, aligned, changed))
        cursor.execute(_vanished_sql(connection, replace(table, fields=comparable), aligned))
        for old, new in copy.renamed.items():
            cursor.execute(keeper.rename_clock_sql(connection, table, old, new))


def _vanished_sql(connection: BaseDatabaseWrapper, table: TrackedTable, copy: str) -> str:
    """The upsert that turns the entries of rows which are only in the copy into tombstones that keep the row."""
    vendor = triggers.vendor_of(connection)
    quote = connection.ops.quote_name
    pk = quote(column_name(table.pk))
    key = vendor.wire_text(table.pk, f"c.{pk}")
    source = f"""
SELECT e."model", e."pk", e."scope", {DELETED}, e."at",
  {triggers.clocks_of(connection, table).vanished_json(connection, table, "c", "e")}
FROM {copy} AS c
JOIN {quote(ENTRY_TABLE)} AS e ON e."model" = {literal(table.label)} AND e."pk" = {key}
LEFT JOIN {quote(table.name)} AS t ON t.{pk} = c.{pk}
WHERE t.{pk} IS NULL AND e."kind" IN ({ROW}, {DELETED}) AND e."row" IS NULL"""
    return vendor.enter_sql(connection, source)


def _lock(connection: BaseDatabaseWrapper, table: str) -> None:
    statement = triggers.vendor_of(connection).lock_sql(connection, table)
    if statement is not None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
