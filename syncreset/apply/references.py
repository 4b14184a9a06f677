"""Who may write what, and whether what a row refers to is there: the tests between merging and writing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from ..feed.entries import tombstones
from ..protocol.changes import Row, same
from ..rules.merge import Outcome
from ..tracking.registry import is_tracked
from ..wire.fields.base import ValueFault
from ..wire.fields.codec import decode_key, encode_key
from ..wire.model import wire_model
from ..wire.rows import visible
from .context import Context
from .prepare import Prepared
from .slots import Key

#: A field of the model that has it.
Target = Any


def missing_targets(
    batch: Sequence[Prepared],
    outcomes: Sequence[Outcome],
    stored: Mapping[Key, Row | None],
    deleted_rows: Mapping[Key, Row],
    states: Mapping[Key, Row | None],
    context: Context,
) -> Iterator[tuple[int, str, bool]]:
    """Which references lead nowhere that the user can see: (place in the batch, field, whether it was deleted).

    ``stored`` are the batch's rows as the database has them, ``deleted_rows`` those that tombstones keep, ``states`` what
    the rows will be. A row that is absent, one that is invisible and one of a model that is not tracked look the same
    from outside.
    """
    wanted: dict[Target, dict[str, list[tuple[int, str]]]] = {}
    for index, (prepared, outcome) in enumerate(zip(batch, outcomes, strict=True)):
        if outcome.row is None:
            continue
        present = stored.get((prepared.model, prepared.change.pk))
        for relation in (prepared.model.key, *prepared.model.columns.values()):
            # A primary key that is a relation refers to a row as any other does, and never changes.
            key = prepared.change.pk if relation.primary_key else outcome.row.fields.get(relation.name)
            if not isinstance(relation, models.ForeignKey) or key is None:
                continue
            if present is None or not (relation.primary_key or same(present.fields.get(relation.name), key)):
                wanted.setdefault(_target_of(relation), {}).setdefault(key, []).append((index, relation.name))
        for name, field in prepared.model.sets.items():
            held = present or deleted_rows.get((prepared.model, prepared.change.pk))
            had = () if held is None else held.fields.get(name) or ()
            for key in {*(outcome.row.fields.get(name) or ())}.difference(had):
                wanted.setdefault(_target_of(field), {}).setdefault(key, []).append((index, name))
    for target, references in wanted.items():
        model = target.model
        there, gone = _in_batch(target, references, states)
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


def _target_of(relation: Any) -> Target:
    """The field that a relation's values are values of. A proxy's rows are those of its concrete model."""
    model = relation.related_model._meta.concrete_model
    if isinstance(relation, models.ForeignKey):
        return model._meta.get_field(relation.target_field.name)
    return wire_model(model).key


def _in_batch(
    target: Target, keys: Collection[str], states: Mapping[Key, Row | None]
) -> tuple[set[str], set[str]]:
    """The keys among ``keys`` that rows of the batch will have, and those whose rows will be gone.

    Which row had a key that is not primary is not known once the row is gone: such a key is merely not there.
    """
    if target.primary_key:
        model = wire_model(target.model)
        known = {key: states[model, key] for key in keys if (model, key) in states}
        gone = {key for key, row in known.items() if row is None}
        return known.keys() - gone, gone
    rows = (row for (owner, _), row in states.items() if owner.model is target.model and row is not None)
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
