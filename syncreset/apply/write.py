"""Writing what the slots have become, in few statements."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection, models

from ..protocol.changes import same
from ..wire.clocks import RowClocks, clock_columns, keep_in_entries, set_own_clocks
from ..wire.fields.codec import json_null
from ..wire.model import WireModel, wire_models
from ..wire.rows import instance_of, scope_of_row
from ..wire.sets import write_elements
from .cascades import Cascaded, delete_rows
from .context import Context
from .slots import Key, Slot


def write_slots(slots: Mapping[Key, Slot], context: Context) -> dict[Key, tuple[Cascaded, ...]]:
    """Write what the slots have become. Returns what each deleted row has taken along."""
    created: dict[WireModel, list[models.Model]] = {}
    updated: dict[WireModel, list[models.Model]] = {}
    touched: dict[WireModel, set[str]] = {}
    deleted: dict[WireModel, list[models.Model]] = {}
    merged: dict[WireModel, dict[tuple[str, str], RowClocks]] = {}
    for (model, pk), slot in slots.items():
        if slot.row is slot.stored:
            continue
        if slot.row is None:
            if slot.instance is not None:
                deleted.setdefault(model, []).append(slot.instance)
            continue
        fresh = instance_of(model, pk, slot.row)
        instance: Any = fresh if slot.instance is None else slot.instance
        if slot.instance is None:
            created.setdefault(model, []).append(instance)
        else:
            written = slot.touched - model.sets.keys()
            for name in written:
                attname = model.field(name).attname
                setattr(instance, attname, getattr(fresh, attname))
            updated.setdefault(model, []).append(instance)
            touched.setdefault(model, set()).update(written)
        clocks = RowClocks(updated=slot.row.updated, clocks=slot.row.clocks)
        set_own_clocks(instance, clocks)
        merged.setdefault(model, {})[pk, scope_of_row(model, pk, slot.row)] = clocks
    for model in wire_models():
        times = _own_times(model, created.get(model, ())) if context.undoing else {}
        if model in created:
            model.model._base_manager.bulk_create(created[model])
        if model in updated:
            _update(model, updated[model], touched[model])
        for key, values in times.items():
            model.model._base_manager.filter(pk=key).update(**values)
        if model in merged:
            keep_in_entries(model, merged[model])
    _write_sets(slots, [*created.items(), *updated.items()], merged)
    cascaded: dict[Key, tuple[Cascaded, ...]] = {}
    for model in reversed(wire_models()):
        if model in deleted:
            taken = delete_rows(model, deleted[model], deleted, context)
            cascaded |= {(model, pk): tuple(rows) for pk, rows in taken.items()}
    if connection.features.supports_foreign_keys and connection.vendor == "postgresql":
        connection.check_constraints()
    return cascaded


def _write_sets(
    slots: Mapping[Key, Slot],
    written: Iterable[tuple[WireModel, list[models.Model]]],
    merged: Mapping[WireModel, Mapping[tuple[str, str], RowClocks]],
) -> None:
    """Write the elements of rows that are in their tables now, and give the rows their merged clocks once more.

    Once more, because whoever writes an element has the triggers stamp its owner.
    """
    for model, instances in written:
        rows = {model.key_of(instance): instance for instance in instances}
        changed: set[str] = set()
        for name, many in model.sets.items():
            before: dict[str, list[str]] = {}
            after: dict[str, list[str]] = {}
            for pk in rows:
                slot = slots[model, pk]
                had = [] if slot.stored is None else slot.stored.fields.get(name) or []
                has = had if slot.row is None else slot.row.fields.get(name) or []
                if not same(had, has):
                    before[pk], after[pk] = had, has
            write_elements(many, before, after)
            changed |= after.keys()
        if changed and model.keeps_own_clocks:
            _update(model, [rows[pk] for pk in sorted(changed)], set())
        elif changed:
            keep_in_entries(
                model, {key: clocks for key, clocks in merged[model].items() if key[0] in changed}
            )


def _update(model: WireModel, instances: list[models.Model], touched: set[str]) -> None:
    """One upsert: the rows are locked, so every untouched column is written back as it is."""
    _spell_json_nulls(model, instances)
    own_time = {
        column.name for column in model.model._meta.concrete_fields if getattr(column, "auto_now", False)
    }
    columns = sorted(touched | own_time | {*clock_columns(model)})
    if columns:
        model.model._base_manager.bulk_create(
            instances,
            update_conflicts=True,
            unique_fields=[model.key.name],
            update_fields=columns,
        )


def _own_times(model: WireModel, instances: Iterable[models.Model]) -> dict[Any, dict[str, Any]]:
    """The times that Django sets anew when it makes a row, as the rows are to have them, by primary key."""
    names = [
        column.attname
        for column in model.model._meta.concrete_fields
        if getattr(column, "auto_now", False) or getattr(column, "auto_now_add", False)
    ]
    if not names:
        return {}
    return {instance.pk: {name: getattr(instance, name) for name in names} for instance in instances}


def _spell_json_nulls(model: WireModel, instances: Iterable[models.Model]) -> None:
    """A document that is JSON's null was read as None, which would be written as SQL's."""
    for column in model.model._meta.concrete_fields:
        if isinstance(column, models.JSONField) and not column.null:
            for instance in instances:
                if getattr(instance, column.attname) is None:
                    setattr(instance, column.attname, json_null(column))
