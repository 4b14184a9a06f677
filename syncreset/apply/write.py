"""Writing what the slots have become, in few statements."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models

from ..feed.entries import EntryKind, sign_entries
from ..protocol.changes import RowKey
from ..wire.clocks import RowClocks, clock_columns, keep_in_entries, set_own_clocks
from ..wire.fields.codec import json_null
from ..wire.model import WireModel, wire_models
from ..wire.rows import instance_of, scope_of_row
from ..wire.sets import write_elements
from .cascades import Cascaded, delete_rows
from .context import Context
from .seen import Moment
from .slots import Slot


@dataclass
class _Written:
    """What is to be written of one model: rows by what happens to them, and the merged clocks by key and scope."""

    created: list[models.Model] = field(default_factory=list)
    updated: list[models.Model] = field(default_factory=list)
    deleted: list[models.Model] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    clocks: dict[tuple[str, str], RowClocks] = field(default_factory=dict)


def write_slots(
    slots: Mapping[RowKey, Slot], context: Context, *, deleted_at: Moment
) -> dict[RowKey, tuple[Cascaded, ...]]:
    """Write what the slots have become. Returns what the deletion of each deleted row has cascaded to.

    ``deleted_at`` is when the client deleted the rows.
    """
    written: dict[WireModel, _Written] = defaultdict(_Written)
    for (_, pk), slot in slots.items():
        if slot.row is not slot.stored:
            _sort_in(written[slot.model], pk, slot)
    order = [model for model in wire_models() if model in written]
    for model in order:
        _write_rows(model, written[model], context)
    for model in order:
        _write_sets(model, written[model], slots)
    cascaded: dict[RowKey, tuple[Cascaded, ...]] = {}
    deleted = {model: written[model].deleted for model in order}
    if any(deleted.values()):
        _sign(slots, context)
    for model in reversed(order):
        if deleted[model]:
            found = delete_rows(model, deleted[model], deleted, context, deleted_at)
            cascaded |= {(model.label, pk): tuple(rows) for pk, rows in found.items()}
    if connection.features.supports_foreign_keys and connection.vendor == "postgresql":
        connection.check_constraints()
    _sign(slots, context)
    return cascaded


def _sign(slots: Mapping[RowKey, Slot], context: Context) -> None:
    """Have the feed remember who has touched rows which nobody else has touched since they were known.

    Before rows are deleted, so that they may take what the client has just touched with them, and once all is written.
    """
    touched: dict[tuple[str, EntryKind], list[str]] = defaultdict(list)
    for (label, pk), slot in slots.items():
        if slot.known and slot.row is not slot.stored:
            touched[label, EntryKind.DELETED if slot.row is None else EntryKind.ROW].append(pk)
    for (label, kind), pks in touched.items():
        sign_entries(context.signer, label, pks, context.scopes, kind)


def _sort_in(written: _Written, pk: str, slot: Slot) -> None:
    model = slot.model
    if slot.row is None:
        written.deleted += [] if slot.instance is None else [slot.instance]
        return
    fresh = instance_of(model, pk, slot.row)
    instance: Any = fresh if slot.instance is None else slot.instance
    if slot.instance is None:
        written.created.append(instance)
    else:
        touched = slot.touched - model.sets.keys()
        for name in touched:
            attname = model.field(name).attname
            setattr(instance, attname, getattr(fresh, attname))
        written.updated.append(instance)
        written.touched |= touched
    clocks = RowClocks(updated=slot.row.updated, clocks=slot.row.clocks)
    set_own_clocks(instance, clocks)
    written.clocks[pk, scope_of_row(model, pk, slot.row)] = clocks


def _write_rows(model: WireModel, written: _Written, context: Context) -> None:
    times = _own_times(model, written.created) if context.undoing else {}
    if written.created:
        model.model._base_manager.bulk_create(written.created)
    if written.updated:
        _update(model, written.updated, written.touched)
    for key, values in times.items():
        model.rows.filter(pk=key).update(**values)
    keep_in_entries(model, written.clocks)


def _write_sets(model: WireModel, written: _Written, slots: Mapping[RowKey, Slot]) -> None:
    """Write the elements of rows that are in their tables now, and give the rows their merged clocks once more.

    Once more, because whoever writes an element has the triggers stamp its owner.
    """
    rows = {model.key_of(instance): instance for instance in (*written.created, *written.updated)}
    changed: set[str] = set()
    for name, many in model.sets.items():
        before: dict[str, list[str]] = {}
        after: dict[str, list[str]] = {}
        for pk in rows:
            slot = slots[model.label, pk]
            had = [] if slot.stored is None else slot.stored.fields.get(name) or []
            has = had if slot.row is None else slot.row.fields.get(name) or []
            if had != has:
                before[pk], after[pk] = had, has
        write_elements(many, before, after)
        changed |= after.keys()
    if changed and model.keeps_own_clocks:
        _update(model, [rows[pk] for pk in sorted(changed)], set())
    elif changed:
        keep_in_entries(model, {key: clocks for key, clocks in written.clocks.items() if key[0] in changed})


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
