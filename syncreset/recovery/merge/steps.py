"""The steps of a snapshot's lines, where a restored server must tell what it counts from what it has already.

A step that is counted twice is as wrong as one that is lost. Where nobody can tell, it waits for a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...protocol.changes import Row
from ...protocol.errors import Problem
from ...protocol.snapshot.lines import FieldSteps, RowLine
from ...protocol.steps import Step, is_delta, steps_value
from ...rules.instruction import Instruction
from ...rules.merge import Decision, Outcome
from ...rules.strategies import FieldHistory
from ...wire.model import WireModel

#: The code of steps that wait because it is not known whether they were counted.
CODE = "step_unclear"


@dataclass(frozen=True, kw_only=True)
class SortedSteps:
    """A line with the steps that are to be counted.

    ``included`` are those in the server's values already, by field and id with their clocks (µs); ``unclear`` are
    parked.
    """

    line: RowLine
    included: Mapping[str, Mapping[str, int | None]]
    unclear: tuple[tuple[Instruction, Outcome], ...] = ()


def fitting(line: RowLine, model: WireModel | None) -> RowLine:
    """The line less the steps of fields that are no counters or sets any more: of those the value counts."""
    if model is None:
        return replace(line, steps={})
    return replace(
        line,
        steps={
            name: made
            for name, made in line.steps.items()
            if name in model.sets
            or (
                name in model.counters
                and all(is_delta(step.amount) == (name in model.counters) for step in made.steps)
            )
        },
    )


def sort_steps(line: RowLine, histories: Mapping[str, FieldHistory], row: Row | None) -> SortedSteps:
    """What a server that is being healed counts of a line's steps. ``row`` is its row, as far as the client may see it.

    A step that the server does not remember is in its value only if that came home with another device, for what one
    pulled holds all that was counted up to its clock: so much is known of steps that were answered. Of what was sent
    and not answered nobody knows then.
    """
    steps: dict[str, FieldSteps] = {}
    included: dict[str, dict[str, int | None]] = {}
    unclear: list[tuple[Instruction, Outcome]] = []
    for name, made in line.steps.items():
        history = histories.get(name)
        pulled = (line.base or {}).get(name, line.row.clock(name))
        known = history.known if history is not None and history.healed else None
        inside = {
            step.id: step.at
            for step in made.steps
            if known is not None and step.at is not None and step.at <= known
        }
        doubtful = [
            step
            for step in made.steps
            if known is not None and known > pulled and step.sent and step.at is None
        ]
        unclear += [_parked(line, name, step, row) for step in doubtful]
        included[name] = {**made.counted, **inside}
        left = [step for step in made.steps if step.id not in inside and step not in doubtful]
        if left:
            steps[name] = FieldSteps(steps=tuple(left))
        elif made.steps:
            steps[name] = FieldSteps()
    return SortedSteps(line=replace(line, steps=steps), included=included, unclear=tuple(unclear))


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
