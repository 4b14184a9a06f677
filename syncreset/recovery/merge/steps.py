"""The steps of a snapshot's lines, where a restored server must tell what it counts from what it has already.

A step that is counted twice is as wrong as one that is lost. Every step counts under its id, whoever brings it. Only
where a value came home as a whole, with a row that the server lacked or by a person's decision, it may hold a step that
nobody names: then that step waits for a person.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ...protocol.changes import Row, Value
from ...protocol.errors import Problem
from ...protocol.snapshot.lines import FieldSteps, RowLine
from ...protocol.steps import MOST_STEPS, Step, add_step, fits, is_delta, steps_value, sum_of
from ...rules.instruction import Instruction
from ...rules.merge import Decision, Outcome
from ...rules.strategies import Counted, FieldHistory
from ...wire.model import WireModel

#: The code of steps that wait because it is not known whether they were counted.
CODE = "step_unclear"


@dataclass(frozen=True, kw_only=True)
class SortedSteps:
    """A line with the client's steps that are to be counted, and by field those it was answered in a lost history.

    ``included`` are those in the server's values already, by field and id with their clocks (µs); ``unclear`` are
    parked.
    """

    line: RowLine
    counted: Mapping[str, tuple[Step, ...]]
    included: Mapping[str, Mapping[str, int | None]]
    unclear: tuple[tuple[Instruction, Outcome], ...] = ()


def fitting(line: RowLine, model: WireModel | None) -> RowLine:
    """The line less the steps of fields that are no counters or sets any more: of those the value counts.

    Counted steps that have not the form of the line's value can have led to it no more.
    """
    if model is None:
        return replace(line, steps={})
    steps = {}
    for name, made in line.steps.items():
        counts = name in model.counters
        if (counts or name in model.sets) and all(is_delta(step.amount) == counts for step in made.steps):
            value = line.row.fields.get(name)
            counted = tuple(
                step for step in made.counted if is_delta(step.amount) == counts and fits(step.amount, value)
            )
            steps[name] = replace(made, counted=counted)
    return replace(line, steps=steps)


def sort_steps(
    line: RowLine,
    histories: Mapping[str, FieldHistory],
    row: Row | None,
    *,
    sets: Collection[str] = (),
    forgotten: int = 0,
) -> SortedSteps:
    """What a server that is being healed counts of a line's steps. ``row`` is its row, as far as the client may see it.

    A value that came home as a whole holds all that was counted up to its clock. A row that the server lacks comes
    home with such a value, which the client's counted steps are in. Of counted steps from before ``forgotten`` (µs)
    the server cannot tell any more that it has counted them: they are left alone. Of more than ``MOST_STEPS`` of a
    field the others are left to the next recovery; until then they leave the value unexplained.
    """
    steps: dict[str, FieldSteps] = {}
    counted: dict[str, tuple[Step, ...]] = dict.fromkeys(histories, ())
    included: dict[str, dict[str, int | None]] = {}
    unclear: list[tuple[Instruction, Outcome]] = []
    settled: set[str] = set()
    for name, made in line.steps.items():
        history = histories.get(name)
        pulled = (line.base or {}).get(name, line.row.clock(name))
        whole = history.known if history is not None and history.healed else None
        known = {} if history is None else history.counted
        inside = {
            step.id: step.at
            for step in made.counted
            if history is None or step.id in known or _is_within(step, whole)
        }
        within = {step.id: step.at for step in made.steps if _is_within(step, whole)}
        doubtful = [
            step
            for step in made.steps
            if whole is not None and whole > pulled and step.sent and step.at is None
        ]
        unclear += [_parked(line, name, step, row) for step in doubtful]
        included[name] = {**inside, **within}
        left = tuple(step for step in made.steps if step.id not in within and step not in doubtful)
        lost = tuple(step for step in made.counted if step.id not in inside and (step.at or 0) >= forgotten)
        lost = lost[:MOST_STEPS]
        if name in sets and history is not None:
            left, lost = _not_undone(left, history), _not_undone(lost, history)
        if left:
            steps[name] = FieldSteps(steps=left)
        elif made.steps and line.base is not None:
            settled.add(name)
        if history is not None:
            counted[name] = lost
    line = replace(_without(line, settled), steps=steps)
    return SortedSteps(line=line, counted=counted, included=included, unclear=tuple(unclear))


def _without(line: RowLine, names: Collection[str]) -> RowLine:
    """The line less fields of which nothing is left to be counted."""
    fields = {name: value for name, value in line.row.fields.items() if name not in names}
    base = None if line.base is None else {name: at for name, at in line.base.items() if name not in names}
    return replace(line, row=replace(line.row, fields=fields), base=base)


def with_steps(history: FieldHistory, current: Value, steps: Sequence[Step]) -> tuple[FieldHistory, Value]:
    """The history and the value of a field once some steps of a lost history are counted."""
    total = sum_of(steps)
    if total is None or not fits(total, current):
        return history, current
    since = (*history.since, *(Counted(step=step, at=step.at, here=0) for step in steps))
    return replace(history, since=since), add_step(current, total)


def _is_within(step: Step, whole: int | None) -> bool:
    return whole is not None and step.at is not None and step.at <= whole


def _not_undone(steps: Sequence[Step], history: FieldHistory) -> tuple[Step, ...]:
    """The steps of a set less what later ones did to the same elements: the last one counts, whoever comes first."""
    done: dict[str, int] = {}
    for other in history.counted.values() if steps else ():
        for elements in (other.step.amount or {}).values():
            done |= {element: max(other.at or 0, done.get(element, 0)) for element in elements}
    return tuple(
        replace(
            step,
            amount={
                name: [element for element in elements if done.get(element, 0) <= step.at]
                for name, elements in step.amount.items()
            },
        )
        if step.at is not None
        else step
        for step in steps
    )


def _parked(line: RowLine, name: str, step: Step, row: Row | None) -> tuple[Instruction, Outcome]:
    base = (line.base or {}).get(name)
    change = Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={name: steps_value([step])},
        clocks={name: line.row.clock(name)},
        base={} if base is None else {name: base},
    )
    decision = Decision(
        client=step.amount,
        server=None if row is None else row.fields.get(name),
        base_clock=base,
        kept="review",
        server_clock=None if row is None else row.clock(name),
    )
    detail = "this step was sent before, and may be in a value that another device has brought back"
    problem = Problem(code=CODE, detail=detail, field=name)
    return change, Outcome(state="parked", problem=problem, decisions={name: decision})
