"""From a change as it came to one that can be merged: known model, typed key, canonical values, corrected clocks."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import models

from ..protocol.changes import ROW_CLOCK, Change, Row, same
from ..protocol.clock import corrected
from ..protocol.errors import Problem
from ..protocol.steps import is_delta, is_set_change
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..tracking.fields import CLOCK_FIELDS
from ..wire.fields.base import ValueFault
from ..wire.fields.codec import (
    decode,
    decode_delta,
    decode_set_change,
    encode,
    is_server_computed,
)
from ..wire.model import WireModel, model_labelled
from .context import Context


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A change ready to be merged. ``notes`` tell where a value was not kept to its last digit."""

    change: Instruction
    model: WireModel
    notes: tuple[Problem, ...] = ()


def prepare(change: Change, context: Context) -> Prepared | Outcome:
    """The change with everything typed and checked, or the outcome that says what is wrong with it."""
    change = Instruction.of(change)
    model = model_labelled(change.model)
    if model is None:
        return _rejected("unknown_model", "there is no such model here")
    try:
        pk = model.canonical(change.pk)
    except ValueFault as fault:
        return Outcome.rejected(fault.problem(None))
    fields: dict[str, Any] = {}
    notes: list[Problem] = []
    known = model.fields
    if context.undoing and change.fields.keys() <= known.keys():
        stored = {
            name: value
            for name, value in change.fields.items()
            if not getattr(known[name], "generated", False)
        }
        return Prepared(change=replace(change, pk=pk, fields=stored), model=model)
    for name, value in change.fields.items() if change.op == "put" else ():
        field = known.get(name)
        if field is None:
            return _rejected("unknown_field", "the model has no such field", name)
        if _may_not_set(model, field, context):
            if change.makes_row and (value is None or same(value, default_of(field))):
                continue
            return _forbidden(change, name)
        try:
            fields[name] = _canonical(change, model, field, value)
        except ValueFault as fault:
            return Outcome.rejected(fault.problem(name))
        notes.extend(_notes(field, value))
    ready = replace(
        change,
        pk=pk,
        fields=fields,
        clocks=_believed(change, change.clocks, known, context),
        whole=_typed_whole(change, model, fields, known, context),
    )
    return Prepared(change=ready, model=model, notes=tuple(notes))


def _canonical(change: Instruction, model: WireModel, field: "models.Field[Any, Any]", value: Any) -> Any:
    """The value as the field can hold it, or a counter's delta. Raises ValueFault."""
    if is_delta(value) and field.name in model.counters:
        if _in_whole_row(change, field.name, value):
            raise ValueFault("invalid", "a row that is sent as a whole has its counter's value, not a delta")
        return {"delta": decode_delta(field, value["delta"])}
    if isinstance(field, models.ManyToManyField):
        if value is None and change.makes_row:
            return []
        if is_set_change(value):
            if _in_whole_row(change, field.name, value):
                raise ValueFault("invalid", "a row that is sent as a whole has its elements as an array")
            return decode_set_change(field, value)
    return encode(field, decode(field, value, acknowledged=change.healing))


def _in_whole_row(change: Instruction, name: str, value: Any) -> bool:
    """Whether a value is one of a whole row's, be it a new one or a snapshot's, and not what was done to it."""
    return change.base is None or (change.whole is not None and same(change.whole.fields.get(name), value))


def _is_step(model: WireModel, name: str, value: Any) -> bool:
    """Whether a change's value says what was done to a counter or a set."""
    if name in model.counters:
        return is_delta(value)
    return is_set_change(value) and name in model.sets


def _forbidden(change: Instruction, name: str) -> Outcome:
    """Refused to a client; but what was acknowledged once, and only an operator may write, waits for one."""
    problem = Problem(code="forbidden_field", detail="clients cannot set this field", field=name)
    return Outcome.parked(change, problem) if change.healing else Outcome.rejected(problem)


def _believed(
    change: Instruction, clocks: Mapping[str, int], known: Container[str], context: Context
) -> dict[str, int]:
    """The clocks of the fields that there are, as the server believes them.

    What a restored server has acknowledged carries the server's own time: it is not shifted, but a snapshot is
    untrusted, so nothing in it is later than its receipt.
    """
    offset = 0 if change.healing else context.offset
    own = {name: timestamp for name, timestamp in clocks.items() if name == ROW_CLOCK or name in known}
    return corrected(own, offset=offset, received=context.received)


def default_of(field: "models.Field[Any, Any]") -> Any:
    """What a field of a new row is, on the wire, where nothing is said of it."""
    if isinstance(field, models.ManyToManyField):
        return []
    return encode(field, field.get_default()) if field.has_default() else None


def _typed_whole(
    change: Instruction,
    model: WireModel,
    fields: Mapping[str, Any],
    known: Mapping[str, "models.Field[Any, Any]"],
    context: Context,
) -> Row | None:
    """The snapshot's whole row with the values that its fields can hold; None where one cannot be held."""
    if change.whole is None:
        return None
    typed = {name: value for name, value in fields.items() if not _is_step(model, name, value)}
    complete = change.makes_row and len(typed) == len(fields)
    for name, value in change.whole.fields.items() if not complete else ():
        if name not in typed:
            if name not in known:
                return None
            try:
                typed[name] = encode(known[name], decode(known[name], value, acknowledged=change.healing))
            except ValueFault:
                return None
    clocks = _believed(change, change.whole.clocks, known, context)
    updated = _believed(change, {ROW_CLOCK: change.whole.updated}, known, context)[ROW_CLOCK]
    return Row(fields=typed, updated=updated, clocks=clocks)


def missing_fields(model: WireModel, fields: Mapping[str, Any]) -> list[str]:
    """The fields that a new row needs and that have neither a value here nor one of their own."""
    return [
        name
        for name, field in model.columns.items()
        if name not in fields
        and not is_server_computed(field)
        and name not in model.read_only
        and not (field.null or field.has_default() or field.has_db_default())
    ]


def needs_unsynced_fields(model: WireModel) -> bool:
    """Whether a new row needs values of fields that are not synced, so that no change can make one."""
    return any(
        not field.primary_key
        and field.name not in model.columns
        and field.name not in CLOCK_FIELDS
        and not is_server_computed(field)
        and not (field.null or field.has_default() or field.has_db_default())
        and not (field.blank and field.empty_strings_allowed)
        for field in model.model._meta.concrete_fields
    )


def _may_not_set(model: WireModel, field: "models.Field[Any, Any]", context: Context) -> bool:
    if is_server_computed(field):
        return True
    return not context.operator and field.name in model.read_only


def _notes(field: "models.Field[Any, Any]", value: Any) -> list[Problem]:
    if isinstance(field, models.DateTimeField | models.TimeField) and isinstance(value, str):
        _, _, fraction = value.partition(".")
        digits = fraction.rstrip("Z").partition("+")[0].partition("-")[0]
        if len(digits) > 6 and digits[6:].strip("0"):
            return [Problem(code="truncated", detail="the time was cut to microseconds", field=field.name)]
    return []


def _rejected(code: str, detail: str, field: str | None = None) -> Outcome:
    shown = field if field is None or (field.isprintable() and len(field) <= 200) else None
    return Outcome.rejected(Problem(code=code, detail=detail, field=shown))
