"""Unique values that rows hand on to each other: who waits for whose value, and how a row gives one up before.

A database checks a unique index row by row. Two rows that swap their values, or a ring of them, can only be written if
each lets go of its value first, and takes the other's afterwards.
"""

import datetime
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import uuid4

from django.db import connection, models

from ..protocol.changes import Value
from ..protocol.strict_json import dumps
from ..wire.model import WireModel
from ..wire.rows import stored_rows
from .prepare import Prepared

#: Unicode's private use area: hardly any text is made of these code points alone.
_PRIVATE_USE = (0xE000, 0xF8FF)
_TOKEN_LENGTH = 16


def rings(changes: Mapping[int, Prepared], scopes: Collection[str]) -> list[list[int]]:
    """The changes, by place, that wait for each other's unique values, each ring in the order of the places.

    Two changes stand in one ring where one wants a value that the other's row holds. What waits for no row of the
    others is left out.
    """
    by_model: dict[WireModel, list[int]] = {}
    for place, prepared in changes.items():
        by_model.setdefault(prepared.model, []).append(place)
    found: list[list[int]] = []
    for model, places in by_model.items():
        rows = stored_rows(model, scopes, {changes[place].change.pk for place in places})
        holders: dict[str, int] = {}
        wanted: dict[int, set[str]] = {}
        for place in places:
            change = changes[place].change
            stored = rows.get(change.pk)
            if stored is not None:
                holders |= dict.fromkeys(_unique_values(model.model, stored.row.fields), place)
                wanted[place] = set(_unique_values(model.model, {**stored.row.fields, **change.fields}))
        found += _linked(
            {place: {holders[value] for value in values & holders.keys()} for place, values in wanted.items()}
        )
    return found


def vacate(instance: models.Model, touched: Collection[str]) -> None:
    """Give a row passing values in the unique columns among those that are about to be written.

    To be followed, in the same transaction, by the values that shall stay. A type of which no value is sure to be free
    is left as it is, so that the clash is found as ever.
    """
    passing: dict[str, Any] = {}
    for names in _unique_together(type(instance)):
        for name in names:
            field: Any = instance._meta.get_field(name)
            if name in touched and (field.null or _passing_value(field) is not None):
                passing[field.attname] = None if field.null else _passing_value(field)
                break
    if passing:
        type(instance)._base_manager.filter(pk=instance.pk).update(**passing)


@cache
def _unique_together(model: type[models.Model]) -> tuple[tuple[str, ...], ...]:
    """The fields, by name, that no two rows may have the same values of. Indexes on expressions are not among them."""
    alone = [(field.name,) for field in model._meta.concrete_fields if field.unique and not field.primary_key]
    constraints = [
        tuple(constraint.fields)
        for constraint in model._meta.constraints
        if isinstance(constraint, models.UniqueConstraint) and constraint.fields
    ]
    together = [tuple(names) for names in model._meta.unique_together]
    return (*alone, *constraints, *together)


def _unique_values(model: type[models.Model], fields: Mapping[str, Value]) -> Iterator[str]:
    """What the row occupies, as texts that can be compared. Null occupies nothing."""
    for names in _unique_together(model):
        values = [fields.get(name) for name in names]
        if None not in values:
            yield dumps([names, values])


def _linked(others: Mapping[int, Collection[int]]) -> list[list[int]]:
    """The sets of places that are linked, in any direction and over any number of steps; none of one place alone."""
    linked = {place: {place} for place in others}
    for place, reached in others.items():
        for other in reached:
            both = linked[place] | linked[other]
            linked |= dict.fromkeys(both, both)
    rings = {min(ring): sorted(ring) for ring in linked.values() if len(ring) > 1}
    return list(rings.values())


def _passing_value(field: Any) -> Any:
    """A value that hardly any row can have, or None where the type has none to offer."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    for kind, make in _PASSING:
        if isinstance(field, kind):
            return make(field)
    return None


def _text(field: Any) -> str:
    length = min(field.max_length or _TOKEN_LENGTH, _TOKEN_LENGTH)
    low, high = _PRIVATE_USE
    return "".join(chr(low + secrets.randbelow(high - low + 1)) for _ in range(length))


def _integer(field: Any) -> int:
    low, high = connection.ops.integer_field_range(field.get_internal_type())
    return low + secrets.randbelow(high - low + 1)


def _decimal(field: Any) -> Decimal:
    return Decimal(secrets.randbelow(10**field.max_digits)).scaleb(-field.decimal_places)


def _date(field: Any) -> datetime.date:
    return datetime.date.fromordinal(1 + secrets.randbelow(datetime.date.max.toordinal()))


def _instant(field: Any) -> datetime.datetime:
    return datetime.datetime(1, 1, 2, tzinfo=datetime.UTC) + datetime.timedelta(
        microseconds=secrets.randbelow(9990 * 365 * 86_400_000_000)
    )


#: The first that fits: a DateTimeField is a DateField as well.
_PASSING: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (models.DateTimeField, _instant),
    (models.DateField, _date),
    (models.UUIDField, lambda field: uuid4()),
    (models.CharField, _text),
    (models.TextField, _text),
    (models.DecimalField, _decimal),
    (models.IntegerField, _integer),
)
