"""What of a snapshot's steps the server has counted already: what was pushed, and what earlier recoveries wrote.

A step that is added twice is as wrong as one that is lost. Where nobody can tell, it waits for a person.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ...clients.client import REMEMBERED, Client
from ...ledger.item import Item
from ...locks import lock_row
from ...protocol.changes import Row, Value, same
from ...protocol.errors import Problem
from ...protocol.snapshot.lines import Line, RowLine, Step
from ...protocol.steps import is_delta, is_set_change, without_step
from ...rules.instruction import Instruction
from ...rules.merge import Decision, Outcome
from ...rules.strategies import without_taken
from ...wire.model import WireModel
from ..job import Recovery, RecoveryKind, RecoveryState
from ..uploads import Upload

#: The code of steps that wait because it is not known whether they were counted.
CODE = "step_unclear"

#: A step's place in a snapshot: its line, its field, and for a part that was sent its sequence number.
Place = tuple[int, str, int | None]

#: Whose value is written where a decision names one of these.
_WRITTEN = ("client", "function", "both")


@dataclass(frozen=True, kw_only=True)
class AlreadyApplied:
    """``taken``: the sequence numbers of pushed changes that were processed. Of those up to ``forgotten`` and not
    among them it is not known. ``before``: the steps that earlier recoveries of the same snapshot have written.
    """

    taken: Collection[int] = frozenset()
    forgotten: int = 0
    before: Mapping[Place, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RemainingSteps:
    """A line with the steps that are left to take, and what is decided of the others."""

    line: RowLine
    decided: tuple[tuple[Instruction, Outcome], ...] = ()


def already_applied_steps(recovery: Recovery, lines: Mapping[int, Line | None]) -> AlreadyApplied:
    """What is counted of the steps of lines, by their numbers. Within the caller's transaction.

    Recoveries of one snapshot wait for each other here, so that none misses what another is about to write.
    """
    numbers = [number for number, line in lines.items() if isinstance(line, RowLine) and line.steps]
    if not numbers:
        return AlreadyApplied()
    lock_row(Upload.objects.filter(pk=recovery.upload_id))
    remembered = {
        seq for seq, _ in Client.objects.values_list("recent", flat=True).get(pk=recovery.client_id)
    }
    forgotten = min(remembered) - 1 if len(remembered) >= REMEMBERED else 0
    before = dict(_written_elsewhere(recovery, numbers))
    return AlreadyApplied(taken=frozenset(remembered), forgotten=forgotten, before=before)


def is_step(change: Instruction, name: str) -> bool:
    """Whether a change says of a counter or a set what was done to it, beside the value that this led to."""
    value = change.fields.get(name)
    if not (is_delta(value) or is_set_change(value)):
        return False
    return change.whole is not None and not same(change.whole.fields.get(name), value)


def without_already_applied(item: Item, fields: Mapping[str, Value]) -> dict[str, Value]:
    """What waits in an item, without the steps that another recovery of the same snapshot has written since."""
    if item.recovery is None or item.line is None:
        return dict(fields)
    written = {place for place, _ in _written_elsewhere(item.recovery, [item.line])}
    return {
        name: value
        for name, value in fields.items()
        if (item.line, name, item.seq) not in written or not (is_delta(value) or is_set_change(value))
    }


def _written_elsewhere(recovery: Recovery, numbers: Collection[int]) -> Iterator[tuple[Place, Value]]:
    """The steps that the other recoveries of a snapshot have written of these lines, and that still stand."""
    items = Item.objects.filter(
        recovery__upload=recovery.upload_id,
        recovery__kind=RecoveryKind.MERGE,
        wrote=True,
        line__in=numbers,
    )
    for item in items.exclude(recovery=recovery.pk).select_related("recovery"):
        yield from _steps_written(item)


def _steps_written(item: Item) -> Iterator[tuple[Place, Value]]:
    for name, value in item.change["fields"].items():
        if (is_delta(value) or is_set_change(value)) and _took_effect(item, name) and not _undone(item, name):
            yield (item.line or 0, name, item.seq), value


def _took_effect(item: Item, name: str) -> bool:
    """Whether an item that wrote something wrote this field. Of a resolved one a person has decided every field."""
    decision = item.fields.get(name)
    return item.resolved is not None or decision is None or decision["kept"] in _WRITTEN


def _undone(item: Item, name: str) -> bool:
    if item.recovery is None or item.recovery.state != RecoveryState.UNDONE:
        return False
    back = Item.objects.filter(
        recovery__undoes=item.recovery, model=item.model, pk_text=item.pk_text, wrote=True
    )
    return any(
        undoing.op == "delete" or (name in undoing.change["fields"] and _took_effect(undoing, name))
        for undoing in back
        if item.resolved is None or item.resolved < undoing.created
    )


def remaining_steps(
    number: int,
    line: RowLine,
    model: WireModel,
    already_applied: AlreadyApplied,
    row: Row | None,
    *,
    healing: bool,
) -> RemainingSteps:
    """What is left to take of the steps of a line. ``row`` is the server's, as far as the client may see it.

    When a restored server is ``healing``, it has forgotten what it took, but what another device brought back may
    hold it: then a counter that has changed since the base may have been counted, or not.
    """
    line = _fitting(line, model)
    rest = without_taken(line, already_applied.taken)
    steps: dict[str, Step] = {}
    decided: list[tuple[Instruction, Outcome]] = []
    for name, step in rest.steps.items():
        unclear = {
            seq: part
            for seq, part in step.sent.items()
            if seq <= already_applied.forgotten or (healing and is_delta(part) and _moved_on(line, name, row))
        }
        before = already_applied.before.get((number, name, None))
        if before is not None:
            decided.append(_applied_before(line, name, before))
            if _as_much(before, step.whole):
                unclear = {}
        whole = step.whole
        for seq, part in sorted(unclear.items()):
            whole = without_step(whole, part)
            again = already_applied.before.get((number, name, seq))
            decided.append(
                _unclear(line, name, seq, part, row)
                if again is None
                else _applied_before(line, name, again, seq)
            )
        if before is None:
            steps[name] = Step(whole=whole)
        else:
            steps[name] = Step(whole=without_step(whole, whole))
    return RemainingSteps(line=replace(rest, steps=steps), decided=tuple(decided))


def _as_much(before: Value, step: Value) -> bool:
    """Whether as much as the whole step was written, be it in the form of the field of then."""
    if is_delta(before) and is_delta(step):
        return Decimal(before["delta"]) == Decimal(step["delta"])
    return True


def _fitting(line: RowLine, model: WireModel) -> RowLine:
    """The line less the steps of fields that are no counters or sets any more: of those the value counts."""
    steps = {
        name: step
        for name, step in line.steps.items()
        if name in (model.counters if is_delta(step.whole) else model.sets)
    }
    return replace(line, steps=steps)


def _moved_on(line: RowLine, name: str, row: Row | None) -> bool:
    return row is not None and row.clock(name) > (line.base or {}).get(name, -1)


def _applied_before(
    line: RowLine, name: str, step: Value, seq: int | None = None
) -> tuple[Instruction, Outcome]:
    change = _change(line, name, step, seq)
    base = (change.base or {}).get(name)
    decision = Decision(client=step, server=None, base_clock=base, kept="client")
    return change, Outcome(state="identical", decisions={name: decision})


def _unclear(line: RowLine, name: str, seq: int, part: Value, row: Row | None) -> tuple[Instruction, Outcome]:
    change = _change(line, name, part, seq)
    decision = Decision(
        client=part,
        server=None if row is None else row.fields.get(name),
        base_clock=(change.base or {}).get(name),
        kept="review",
        server_clock=None if row is None else row.clock(name),
    )
    problem = Problem(
        code=CODE, detail="this step was sent before, and may have been counted already", field=name
    )
    return change, Outcome(state="parked", problem=problem, decisions={name: decision})


def _change(line: RowLine, name: str, step: Value, seq: int | None) -> Instruction:
    base = (line.base or {}).get(name)
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={name: step},
        clocks={name: line.row.clock(name)},
        base={} if base is None else {name: base},
        seq=seq,
    )
