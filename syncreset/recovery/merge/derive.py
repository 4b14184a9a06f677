"""From the lines of a snapshot to the changes that a recovery merges: the strategy's, and what heals the server."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...protocol.errors import Problem
from ...protocol.snapshot.lines import ChangeLine, MalformedLine, RowLine, TombstoneLine, UpdateLine
from ...rules.instruction import Instruction
from ...rules.merge import Outcome
from ...rules.strategies import BY_VALUE, Synced, by_base, by_field, heal, tombstone_change, without_steps
from ...wire.model import WireModel, model_labelled
from .births import of_another_row
from .heal import by_authority, losers
from .lines import Numbered
from .rules import Met, Rules, resolve_strategy
from .server_fields import file_fields, without_fields, without_server_fields
from .steps import SortedSteps, fitting, sort_steps


@dataclass(frozen=True, kw_only=True)
class Derived:
    """One change of a line, the ``part``-th. ``outcome`` is set where it is decided without merging."""

    number: int
    part: int
    change: Instruction
    outcome: Outcome | None = None


def derive(batch: Sequence[Numbered], rules: Rules, met: Met) -> list[Derived]:
    """The changes that lines carry, in order. A line in which nothing is unsynced carries none.

    ``met`` is what a restored server has of their rows; of one that is not to be healed it is not asked.
    """
    rows, tombstones = met.rows, met.tombstones
    derived: list[Derived] = []
    for item in batch:
        line = item.line
        if isinstance(line, MalformedLine):
            derived.append(
                _refused(
                    item, Instruction(model="", pk="", op="put", fields={"line": line.text}), line.reason
                )
            )
            continue
        if isinstance(line, UpdateLine):
            orphan = _orphaned(item, line, rules)
            derived += [] if orphan is None else [orphan]
            continue
        if item.number in met.strange:
            derived += [*_of_another_row(item), *_left_behind(item, rules, 1)]
            continue
        if isinstance(line, ChangeLine) and line.replaced:
            derived += [_replaced(item, line), *_left_behind(item, rules, 1)]
            continue
        left = sorted_steps(item, met) if rules.healing else None
        changes = list(_changes(item, left, rules, met))
        for part, change in enumerate(changes):
            if item.repeats:
                derived.append(
                    _refused(item, change, "a line before has the same key", "duplicate_row", part)
                )
            elif (
                rules.purged
                and change.healing
                and change.row_key not in rows
                and change.row_key not in tombstones
                and change.op == "put"
            ):
                derived.append(_parked(item, change, part))
            else:
                left_here = change.op == "delete" and change.row_key in met.buried
                outcome = Outcome(state="applied") if left_here else None
                derived.append(Derived(number=item.number, part=part, change=change, outcome=outcome))
        decided = () if left is None or item.repeats or _by_value(item, rules) else left.unclear
        decided = decided if left is None else (*decided, *losers(item, left, rules, met))
        derived += [
            Derived(number=item.number, part=part, change=change, outcome=outcome)
            for part, (change, outcome) in enumerate(decided, start=len(changes))
        ]
        derived.extend(_left_behind(item, rules, len(changes) + len(decided)))
    return derived


def sorted_steps(item: Numbered, met: Met) -> SortedSteps | None:
    """What a restored server counts of the steps of a row's line, and what it has already."""
    line = item.line
    if not isinstance(line, RowLine):
        return None
    key = (line.model, line.pk)
    sets = () if item.model is None else item.model.sets
    row, histories = met.rows.get(key), met.histories.get(key, {})
    return sort_steps(fitting(line, item.model), histories, row, sets=sets, forgotten=met.forgotten)


def _by_value(item: Numbered, rules: Rules) -> bool:
    return rules.strategy_of(item.model) in BY_VALUE


def _changes(item: Numbered, left: SortedSteps | None, rules: Rules, met: Met) -> Iterable[Instruction]:
    line = item.line
    if isinstance(line, ChangeLine):
        if (line.change.seq or 0) > rules.acked:
            yield Instruction.of(replace(line.change, group=None))
    elif isinstance(line, TombstoneLine):
        deletion = tombstone_change(line, healing=rules.healing)
        key = (line.model, line.pk)
        if deletion is not None and (not line.pulled or key in met.rows or key in met.buried):
            yield deletion
    elif isinstance(line, RowLine):
        line, key = fitting(line, item.model), (line.model, line.pk)
        if rules.healing:
            healed = heal(
                line, met.rows.get(key), met.tombstones.get(key), {} if left is None else left.counted
            )
            if healed is not None:
                yield from by_authority(healed, item.model)
        line = line if left is None or _by_value(item, rules) else left.line
        change = resolve_strategy(rules.strategy_of(item.model))(line, _synced(line, rules))
        if change is not None:
            yield from _as_sent(Instruction.of(change), line, item.model)


def _left_behind(item: Numbered, rules: Rules, first: int) -> Iterator[Derived]:
    """What the line holds unsynced and a schema change left no place for: parked with its raw values."""
    unsynced = [
        (left, change) for left in item.left if (change := _left_change(left.line, rules)) is not None
    ]
    for part, (left, change) in enumerate(unsynced, start=first):
        if item.repeats:
            yield _refused(item, change, "a line before has the same key", "duplicate_row", part)
            continue
        outcome = Outcome.parked(change, left.problem)
        yield Derived(number=item.number, part=part, change=change, outcome=outcome)


def _left_change(line: RowLine | TombstoneLine, rules: Rules) -> Instruction | None:
    """The change that a line left behind carries, by its bases or by the strategy, whichever finds one."""
    if isinstance(line, TombstoneLine):
        return tombstone_change(line, healing=False)
    synced = _synced(line, rules)
    strategy = rules.strategy_of(model_labelled(line.model))
    # By this one every row would be left behind, also where nothing of it is unsynced.
    chosen = by_field if strategy == "overwrite" else resolve_strategy(strategy)
    change = by_base(line, synced) or chosen(line, synced)
    lost = _acknowledged_since(line, rules)
    if change is None and not lost:
        return None
    left = Instruction(model=line.model, pk=line.pk, op="put") if change is None else Instruction.of(change)
    return replace(
        left,
        fields=lost | dict(left.fields),
        clocks={name: line.row.clock(name) for name in lost} | dict(left.clocks),
        base=left.base or {},
        overrides=False,
        whole=None,
    )


def _acknowledged_since(line: RowLine, rules: Rules) -> dict[str, Any]:
    """Values that a server was given after the moment to which it was restored: nobody else can have kept them."""
    if not rules.healing or line.base is None:
        return {}
    fields = without_steps(line).row.fields
    return {name: value for name, value in fields.items() if line.row.clock(name) > rules.remembered}


def _synced(line: RowLine, rules: Rules) -> Synced:
    logged = {} if rules.updates is None else rules.updates.logged((line.model, line.pk))
    return Synced(last_synced=rules.last_synced.get(line.model, 0), updates=logged)


def _as_sent(change: Instruction, line: RowLine, model: WireModel | None) -> Iterable[Instruction]:
    """The change less what the client cannot have meant: what the server computes, read-only fields left untouched.

    Where it did mean to, that is a change of its own, so that its refusal stands in the ledger beside the rest.
    """
    if model is None:
        yield change
        return
    base = line.base
    meant = file_fields(model, change.fields).keys() if base is None else base.keys()
    refused = {name: change.fields[name] for name in model.server_computed & change.fields.keys() & meant}
    change = without_server_fields(change, model)
    untouched = set() if base is None else model.read_only - base.keys()
    if untouched:
        change = replace(change, fields=without_fields(change.fields, untouched))
    if change.fields or base is None:
        yield change
    if refused:
        yield replace(change, fields=refused, base=base or {}, whole=None)


def _orphaned(item: Numbered, line: UpdateLine, rules: Rules) -> Derived | None:
    """A logged update whose row the snapshot does not hold: its value is nowhere, and that must be told."""
    logged_late = line.at > rules.last_synced.get(line.model, 0)
    if rules.updates is None or rules.updates.is_held((line.model, line.pk)) or not logged_late:
        return None
    if rules.strategy_of(item.model) != "by_update_log":
        return None
    change = Instruction(
        model=line.model, pk=line.pk, op="put", fields={line.field: None}, clocks={line.field: line.at}
    )
    return _refused(item, change, "the snapshot logs this update but does not hold its row", "no_row")


def _refused(
    item: Numbered, change: Instruction, detail: str, code: str = "malformed_line", part: int = 0
) -> Derived:
    outcome = Outcome.rejected(Problem(code=code, detail=detail))
    return Derived(number=item.number, part=part, change=change, outcome=outcome)


def _of_another_row(item: Numbered) -> Iterator[Derived]:
    decided = of_another_row(item)
    if decided is not None:
        change, outcome = decided
        yield Derived(number=item.number, part=0, change=change, outcome=outcome)


def _replaced(item: Numbered, line: ChangeLine) -> Derived:
    """What the client itself has written over before it was sent: nothing is to be written, and nothing forgotten."""
    change = Instruction.of(replace(line.change, group=None))
    detail = "the client wrote another value before this one was sent"
    outcome = Outcome.superseded(change, Problem(code="replaced", detail=detail))
    return Derived(number=item.number, part=0, change=change, outcome=outcome)


def _parked(item: Numbered, change: Instruction, part: int) -> Derived:
    problem = Problem(
        code="purged",
        detail="the server lacks this row and may have purged its deletion since the client last synced",
    )
    outcome = Outcome.parked(change, problem)
    return Derived(number=item.number, part=part, change=change, outcome=outcome)
