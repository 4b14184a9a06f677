"""What a replica has added to its counters and sets: the step of a field, what of it was sent, what of it remains.

A field's origin is the value that all its steps not yet answered have led away from. The server's new value takes
its place by ``moved_to``: then the field is that value with the steps that remain, and its origin is there, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...protocol.changes import Change, same
from ...protocol.steps import add_step, is_delta, is_set_change, take_step_back
from .marks import Marks
from .schema import FieldSchema, ModelSchema
from .values import step_between


def is_step(field: FieldSchema, value: Any) -> bool:
    """Whether a field's value in a change is a step."""
    if field.stepping == "counter":
        return is_delta(value)
    return field.stepping == "set" and is_set_change(value)


def step_of(field: FieldSchema, marks: Marks, value: Any) -> Any | None:
    """The whole step of a changed field that the server has not answered, None where the value itself is sent."""
    if marks.base is None or field.name not in marks.base or field.name not in marks.origin:
        return None
    return step_between(field.stepping, marks.origin[field.name][0], value)


def steps_of(model: ModelSchema, row: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """What was done to a row's counters and sets that the server has not answered, by field."""
    found = {
        name: step_of(field, marks, row.get(name)) for name, field in model.fields.items() if field.stepping
    }
    return {name: step for name, step in found.items() if step is not None}


def outgoing(
    model: ModelSchema, row: Mapping[str, Any], marks: Marks, names: Iterable[str]
) -> dict[str, Any]:
    """Changed fields as they are sent: the steps of counters and sets, the values of all others."""
    sent = {}
    for name in names:
        step = step_of(model.fields[name], marks, row.get(name))
        sent[name] = row.get(name) if step is None else step
    return sent


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What a counter or a set has been changed by since something of it was sent.

    ``origin`` is where the field stood when all that was sent is taken, ``step`` what led from there to its value;
    None where it was not a step that did. ``settled``: nothing has.
    """

    origin: Any
    value: Any
    step: Any | None

    @property
    def settled(self) -> bool:
        return same(self.origin, self.value)

    def moved_to(self, server: Any) -> tuple[Any, Any]:
        """The field's value and its origin once the server's value has taken the place of what was sent."""
        if self.step is None:
            return self.value, server
        value = add_step(server, self.step)
        return value, take_step_back(value, self.step)


def rest_of(field: FieldSchema, marks: Marks, value: Any, change: Change | None) -> Rest | None:
    """What remains of a field once a change is taken (None: of all that was not answered).

    None for fields that are no counters or sets, and where it is not known what they were.
    """
    if field.stepping is None:
        return None
    known = marks.base is not None and field.name in marks.base and field.name in marks.origin
    origin = marks.origin[field.name][0] if known else None
    if change is not None and field.name in change.fields:
        sent = change.fields[field.name]
        if is_step(field, sent):
            if not known:
                return None
            origin = add_step(origin, sent)
        else:
            origin = sent
    elif change is not None and change.base is None:
        origin = None
    elif not known:
        return None
    return Rest(origin=origin, value=value, step=step_between(field.stepping, origin, value))
