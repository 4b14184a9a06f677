"""Values of a change as the fields of a model can hold them: in their one spelling, or with what is wrong."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import models

from ..protocol.changes import Value
from ..protocol.errors import Malformed, Problem
from ..protocol.steps import is_delta, is_set_change, is_steps, parse_steps, steps_value
from .fields.base import ValueFault
from .fields.codec import decode, decode_delta, decode_set_change, encode
from .model import WireModel


@dataclass(frozen=True, kw_only=True)
class CanonicalValues:
    """The ``values`` up to the first that its field cannot hold, of which ``problem`` tells, or all of them.

    ``steps`` are the names of those that are steps. ``notes`` tell where a value was not kept to its last digit.
    """

    values: Mapping[str, Value]
    steps: Collection[str] = ()
    problem: Problem | None = None
    notes: tuple[Problem, ...] = ()


def canonical_values(
    model: WireModel,
    values: Mapping[str, Value],
    *,
    new: bool = False,
) -> CanonicalValues:
    """Values of fields that the model has, read strictly. Steps of counters and sets stay steps.

    Sets of a ``new`` row may be null, which is empty.
    """
    fields, counters = model.fields, model.counters
    read: dict[str, Value] = {}
    steps: set[str] = set()
    notes: list[Problem] = []
    for name, value in values.items():
        try:
            if is_steps(value) and (name in counters or name in model.sets):
                read[name] = _canonical_steps(fields[name], value, counter=name in counters)
                steps.add(name)
            elif (name in counters and is_delta(value)) or (name in model.sets and is_set_change(value)):
                raise ValueFault("invalid", "a step needs an id, under which it counts once")
            elif value is None and new and name in model.sets:
                read[name] = []
            else:
                read[name] = encode(fields[name], decode(fields[name], value))
        except ValueFault as fault:
            return CanonicalValues(values=read, problem=fault.problem(name), notes=tuple(notes))
        notes += _notes(fields[name], value)
    return CanonicalValues(values=read, steps=steps, notes=tuple(notes))


def _canonical_steps(field: "models.Field[Any, Any]", value: Value, *, counter: bool) -> Value:
    """Steps with their amounts as the field's values are spelled. Raises ValueFault."""
    try:
        steps = parse_steps(value)
    except Malformed as error:
        raise ValueFault("invalid", error.detail) from error
    if any(is_delta(step.amount) != counter for step in steps):
        raise ValueFault("invalid", "a counter is changed by deltas, a set by elements")
    if not steps:
        raise ValueFault("invalid", "there is no step among the steps")
    spelled = [replace(step, amount=_canonical_amount(field, step.amount)) for step in steps]
    given = {"value": encode(field, decode(field, value["value"]))} if "value" in value else {}
    return steps_value(spelled, **given)


def _canonical_amount(field: "models.Field[Any, Any]", amount: Value) -> Value:
    if is_delta(amount):
        return {"delta": decode_delta(field, amount["delta"])}
    return decode_set_change(field, amount)


def _notes(field: "models.Field[Any, Any]", value: Value) -> list[Problem]:
    if isinstance(field, models.DateTimeField | models.TimeField) and isinstance(value, str):
        _, _, fraction = value.partition(".")
        digits = fraction.rstrip("Z").partition("+")[0].partition("-")[0]
        if len(digits) > 6 and digits[6:].strip("0"):
            return [Problem(code="truncated", detail="the time was cut to microseconds", field=field.name)]
    return []
