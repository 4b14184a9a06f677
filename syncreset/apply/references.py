"""Whether what a row refers to is there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from ..feed.entries import tombstones
from ..protocol.changes import Row, RowKey
from ..rules.merge import Outcome
from ..tracking.registry import is_tracked
from ..wire.fields.base import ValueFault
from ..wire.fields.codec import decode_key, encode_key
from ..wire.model import wire_model
from ..wire.rows import visible
from .context import Context
from .prepare import Prepared
from .slots import Slot

#: A field of the model that has it.
Target = Any


def missing_targets(
    batch: Sequence[Prepared], outcomes: Sequence[Outcome], slots: Mapping[RowKey, Slot], context: Context
) -> Iterator[tuple[int, str, bool]]:
    """Which references lead nowhere that the user can see: (place in the batch, field, whether it was deleted).

    A row that is absent, one that is invisible and one of a model that is not tracked look the same from outside. Of
    several changes of one row it is the first that made the reference, and no later one; a row that is made in the
    batch is waited for by all of them.
    """
    wanted: dict[Target, dict[str, list[tuple[int, str]]]] = {}
    changed: dict[RowKey, Row] = {}
    for index, (prepared, outcome) in enumerate(zip(batch, outcomes, strict=True)):
        if outcome.row is not None:
            row_key = prepared.change.row_key
            slot = slots[row_key]
            for target, key, name in _new_references(prepared, outcome.row, slot, changed.get(row_key)):
                wanted.setdefault(target, {}).setdefault(key, []).append((index, name))
            if slot.stored is not None:
                changed[row_key] = outcome.row
    shown = {key: slot for key, slot in slots.items() if not slot.hidden}
    for target, references in wanted.items():
        model = target.model
        there, gone = _in_batch(target, references, shown)
        there |= _visible_keys(target, references.keys() - there - gone, context)
        missing = references.keys() - there
        deleted = (
            tombstones(wire_model(model).label, missing, context.scopes)
            if missing and is_tracked(model) and target.primary_key
            else {}
        )
        for key in missing:
            for index, name in references[key]:
                yield index, name, key in deleted or key in gone


def _new_references(
    prepared: Prepared, row: Row, slot: Slot, changed: Row | None
) -> Iterator[tuple[Target, str, str]]:
    """What a row will refer to and does not yet: the field that is meant, the key, and the field that names it.

    ``changed`` is the row as earlier changes of the batch have left it.
    """
    model = prepared.model
    present, held = changed or slot.stored, changed or slot.held
    for relation in (model.key, *model.columns.values()):
        # A primary key that is a relation refers to a row as any other does, and never changes.
        key = prepared.change.pk if relation.primary_key else row.fields.get(relation.name)
        if not isinstance(relation, models.ForeignKey) or key is None:
            continue
        if present is None or not (relation.primary_key or present.fields.get(relation.name) == key):
            yield _target_of(relation), key, relation.name
    for name, field in model.sets.items():
        had = () if held is None else held.fields.get(name) or ()
        for key in {*(row.fields.get(name) or ())}.difference(had):
            yield _target_of(field), key, name


def _target_of(relation: Any) -> Target:
    """The field that a relation's values are values of. A proxy's rows are those of its concrete model."""
    model = relation.related_model._meta.concrete_model
    if isinstance(relation, models.ForeignKey):
        return model._meta.get_field(relation.target_field.name)
    return wire_model(model).key


def _in_batch(
    target: Target, keys: Collection[str], slots: Mapping[RowKey, Slot]
) -> tuple[set[str], set[str]]:
    """The keys among ``keys`` that rows of the batch will have, and those whose rows the batch deletes.

    A row that the batch was to make and could not is not deleted: it may come yet. Which row had a key that is not
    primary is not known once the row is gone: such a key is merely not there.
    """
    model = wire_model(target.model)
    if target.primary_key:
        known = {key: slots[model.label, key] for key in keys if (model.label, key) in slots}
        there = {key for key, slot in known.items() if slot.row is not None}
        return there, {key for key, slot in known.items() if slot.row is None and slot.stored is not None}
    rows = [slot.row for slot in slots.values() if slot.model is model and slot.row is not None]
    return {row.fields[target.name] for row in rows if row.fields.get(target.name) in keys}, set()


def _visible_keys(target: Target, keys: set[str], context: Context) -> set[str]:
    model = target.model
    typed = []
    for key in keys:
        try:
            typed.append(decode_key(target, key))
        except ValueFault:
            continue
    if not typed:
        return set()
    if context.operator:
        rows = model._base_manager.all()
    elif is_tracked(model):
        rows = visible(wire_model(model), context.scopes)
    elif issubclass(model, get_user_model()):
        rows = model._base_manager.filter(pk=context.user.pk)
    else:
        return set()
    found = rows.filter(**{f"{target.attname}__in": typed}).values_list(target.attname, flat=True)
    return {encode_key(target, value) for value in found}
