"""Values of a change as the fields of a model can hold them: in their one spelling, or with what is wrong."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models

from ..protocol.changes import Value
from ..protocol.errors import Problem
from ..protocol.steps import is_delta, is_set_change
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
    of_whole_row: Collection[str] = (),
    new: bool = False,
    acknowledged: bool = False,
) -> CanonicalValues:
    """Values of fields that the model has, read strictly. Steps of counters and sets stay steps.

    The fields ``of_whole_row`` have values and no steps. Sets of a ``new`` row may be null, which is empty. For what
    was ``acknowledged`` see ``fields.codec.decode``.
    """
    fields, counters = model.fields, model.counters
    read: dict[str, Value] = {}
    steps: set[str] = set()
    notes: list[Problem] = []
    for name, value in values.items():
        try:
            if (is_delta(value) and name in counters) or (is_set_change(value) and name in model.sets):
                if name in of_whole_row:
                    raise ValueFault(
                        "invalid", "a row that is sent as a whole has values, and no steps to them"
                    )
                read[name] = _canonical_step(fields[name], value)
                steps.add(name)
            elif value is None and new and name in model.sets:
                read[name] = []
            else:
                read[name] = encode(fields[name], decode(fields[name], value, acknowledged=acknowledged))
        except ValueFault as fault:
            return CanonicalValues(values=read, problem=fault.problem(name), notes=tuple(notes))
        notes += _notes(fields[name], value)
    return CanonicalValues(values=read, steps=steps, notes=tuple(notes))


def _canonical_step(field: "models.Field[Any, Any]", step: Value) -> Value:
    if is_delta(step):
        return {"delta": decode_delta(field, step["delta"])}
    return decode_set_change(field, step)


def _notes(field: "models.Field[Any, Any]", value: Value) -> list[Problem]:
    if isinstance(field, models.DateTimeField | models.TimeField) and isinstance(value, str):
        _, _, fraction = value.partition(".")
        digits = fraction.rstrip("Z").partition("+")[0].partition("-")[0]
        if len(digits) > 6 and digits[6:].strip("0"):
            return [Problem(code="truncated", detail="the time was cut to microseconds", field=field.name)]
    return []
