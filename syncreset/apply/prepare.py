"""From a change as it came to one that can be merged: known model, typed key, canonical values, corrected clocks."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..feed.cursor import Cursor
from ..protocol.changes import ROW_CLOCK, Change, Row
from ..protocol.clock import corrected
from ..protocol.errors import Problem
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..wire.fields.base import ValueFault
from ..wire.model import WireModel, model_labelled
from ..wire.values import CanonicalValues, canonical_values
from .context import Context
from .seen import seen_at


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A change ready to be merged. ``notes`` tell where a value was not kept to its last digit.

    ``seen`` is the checkpoint up to which the client knew the feed when it made the change.
    """

    change: Instruction
    model: WireModel
    notes: tuple[Problem, ...] = ()
    seen: Cursor | None = None


def prepare(change: Change, context: Context, *, place: int = 0) -> Prepared | Outcome:
    """The change with everything typed and checked, or the outcome that says what is wrong with it.

    ``place`` is the change's among those that came together: of two that name no clocks the later one is newer.
    """
    change = Instruction.of(change)
    model = model_labelled(change.model)
    if model is None:
        return _rejected("unknown_model", "there is no such model here")
    try:
        pk = model.canonical(change.pk)
    except ValueFault as fault:
        return Outcome.rejected(fault.problem(None))
    given = change.fields if change.op == "put" else {}
    if context.undoing and given.keys() <= model.fields.keys():
        stored = {name: value for name, value in given.items() if name not in model.generated}
        return Prepared(change=replace(change, pk=pk, fields=stored), model=model)
    settable = _settable(change, model, given, context)
    if isinstance(settable, Outcome):
        return settable
    read = canonical_values(
        model,
        settable,
        new=change.makes_row,
    )
    if read.problem is not None:
        return _refused(change, read.problem)
    ready = replace(
        change,
        pk=pk,
        fields=read.values,
        clocks=_with_receipt(change, _believed(change, change.clocks, model.fields, context), context, place),
        whole=_typed_whole(change, model, read, context),
    )
    return Prepared(change=ready, model=model, notes=read.notes, seen=seen_at(ready, context))


def _settable(
    change: Instruction, model: WireModel, given: Mapping[str, Any], context: Context
) -> dict[str, Any] | Outcome:
    """The values of the fields that may be set, or what becomes of a change that holds others.

    A whole row may say of such a field what it would be anyway.
    """
    settable: dict[str, Any] = {}
    closed = model.server_computed if context.operator else model.server_computed | model.read_only
    for name, value in given.items():
        if name not in model.fields:
            return _rejected("unknown_field", "the model has no such field", name)
        if name not in closed:
            settable[name] = value
        elif not (change.makes_row and model.is_unset(name, value)):
            return _forbidden(change, name)
    return settable


def _forbidden(change: Instruction, name: str) -> Outcome:
    problem = Problem(code="forbidden_field", detail="clients cannot set this field", field=name)
    return _refused(change, problem)


def _refused(change: Instruction, problem: Problem) -> Outcome:
    """What a client cannot push it cannot bring by a snapshot either; but what was acknowledged waits for a person."""
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


def _with_receipt(
    change: Instruction, clocks: dict[str, int], context: Context, place: int
) -> dict[str, int]:
    """What a client that keeps no clocks has written counts as written when it was received."""
    return {ROW_CLOCK: context.received + place, **clocks} if change.from_checkpoint else clocks


def _typed_whole(change: Instruction, model: WireModel, own: CanonicalValues, context: Context) -> Row | None:
    """The snapshot's whole row with the values that its fields can hold; None where one cannot be held."""
    if change.whole is None:
        return None
    typed = {name: value for name, value in own.values.items() if name not in own.steps}
    if not change.makes_row or own.steps:
        rest = {name: value for name, value in change.whole.fields.items() if name not in typed}
        if not rest.keys() <= model.fields.keys():
            return None
        read = canonical_values(model, rest)
        if read.problem is not None:
            return None
        typed |= read.values
    clocks = _believed(change, change.whole.clocks, model.fields, context)
    updated = _believed(change, {ROW_CLOCK: change.whole.updated}, model.fields, context)[ROW_CLOCK]
    return Row(fields=typed, updated=updated, clocks=clocks)


def _rejected(code: str, detail: str, field: str | None = None) -> Outcome:
    shown = field if field is None or (field.isprintable() and len(field) <= 200) else None
    return Outcome.rejected(Problem(code=code, detail=detail, field=shown))
