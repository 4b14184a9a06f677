"""From a snapshot's lines to changes: each recovery strategy as a pure function, and the healing of a restored server.

All but by_base, which is ours and the default, come from Realm's guide "Manual Client Reset Data Recovery"; what its
sample gets wrong is not repeated.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..protocol.changes import ROW_CLOCK, Change, Row, Tombstone, Value, same
from ..protocol.snapshot.lines import RowLine, TombstoneLine
from ..protocol.steps import (
    Step,
    add_step,
    fits,
    is_delta,
    steps_value,
    sum_of,
    take_step_back,
    take_steps_back,
)
from .instruction import Instruction


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What a strategy may know besides the row: the model's last synced time (µs), and the row's update log.

    ``updates`` maps the fields that the client logged to the times (µs) of their last logged write.
    """

    last_synced: int = 0
    updates: Mapping[str, int] = field(default_factory=dict)


#: From a row line to the change it carries, or None if it carries nothing.
Strategy = Callable[[RowLine, Synced], Change | None]


def by_base(line: RowLine, synced: Synced) -> Instruction | None:
    """The fields with a base; whole rows with base null. No clock takes part in the choice.

    Here, in by_field and in by_update_log the step of a counter or a set takes the place of its value.
    """
    if line.base is None:
        return _made_here(line)
    return _put(line, line.base.keys() & line.row.fields.keys())


def by_field(line: RowLine, synced: Synced) -> Instruction | None:
    """The fields whose clock is later than last synced; known bases travel along, so that the merge is exact.

    A field with a base is unsynced whatever its clock says: that of the device may be slow.
    """
    if line.base is None:
        return _made_here(line)
    later = {name for name in line.row.fields if line.row.clock(name) > synced.last_synced}
    return _put(line, later | (line.base.keys() & line.row.fields.keys()))


def by_object(line: RowLine, synced: Synced) -> Instruction | None:
    """Whole rows updated later than last synced, or with a base, written over whatever the server has.

    Only a row with something unsynced in it overwrites: one that was merely downloaded late is merged by its clocks,
    so that it replaces nothing newer. Of counters and sets the value is written, whatever the client's step was.
    """
    if line.base is None:
        return replace(_made_here(_by_value(line)), overrides=True, includes=_included(line))
    if line.row.updated <= synced.last_synced and not line.base:
        return None
    change = _put(_by_value(line), set(line.row.fields))
    return None if change is None else replace(change, overrides=bool(line.base), includes=_included(line))


def by_update_log(line: RowLine, synced: Synced) -> Instruction | None:
    """For each logged update later than last synced, the field's value in the backup. The log's time is its clock.

    A field with a base is unsynced as well, whatever the log says.
    """
    if line.base is None:
        return _made_here(line)
    logged = {
        name: at for name, at in synced.updates.items() if at > synced.last_synced and name in line.row.fields
    }
    change = _put(line, logged.keys() | (line.base.keys() & line.row.fields.keys()))
    return None if change is None else replace(change, clocks={**change.clocks, **logged})


def overwrite(line: RowLine, synced: Synced) -> Instruction | None:
    """Every row with every field, written over whatever the server has. Nothing is deleted."""
    if line.base is None:
        return replace(_made_here(_by_value(line)), overrides=True, includes=_included(line))
    change = _put(_by_value(line), set(line.row.fields))
    return None if change is None else replace(change, overrides=True, includes=_included(line))


STRATEGIES: Mapping[str, Strategy] = {
    "by_base": by_base,
    "by_field": by_field,
    "by_object": by_object,
    "by_update_log": by_update_log,
    "overwrite": overwrite,
}

#: The strategies that write the values of counters and sets, whatever the client's steps were.
BY_VALUE = ("by_object", "overwrite")


def deletes_by_absence(strategy: str) -> bool:
    """Whether a full snapshot without any tombstone says by absence which rows its client deleted."""
    return strategy in ("by_object", "by_field")


def tombstone_change(line: TombstoneLine, *, healing: bool) -> Instruction | None:
    """The delete that a tombstone carries. A pulled deletion is acknowledged, and matters only when healing."""
    if line.pulled and not healing:
        return None
    base = line.at if line.pulled else line.base
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="delete",
        clocks={ROW_CLOCK: line.at},
        base=None if base is None else {ROW_CLOCK: base},
        healing=line.pulled,
        checkpoint=line.checkpoint,
    )


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A step in the server's value. ``at`` is the field's clock (µs) in the history that the step was counted in.

    None where nobody knows it. ``here`` is the server's time when it counted the step, 0 where it was brought home: a
    device of a history that was lost in a restore has not pulled what the restored server has counted since, whatever
    the clocks say.
    """

    step: Step
    at: int | None
    here: int

    def is_in(self, *, clock: int, pulled: int) -> bool:
        """Whether the step is in a value of that clock, which was pulled at that time at the latest."""
        return self.at is not None and self.at <= clock and self.here <= pulled


@dataclass(frozen=True, kw_only=True)
class FieldHistory:
    """What the server's value of a counter or a set is made of.

    ``known`` is the clock (µs) up to which it holds all that was ever counted; ``healed``: it was brought home with
    such a value. ``clocks`` are those that the field has had here, as far as is known. ``since`` are the steps that
    were counted on top of what is known, ``counted`` all steps of which the server remembers what they were, by id.
    """

    known: int
    clocks: Collection[int] = frozenset()
    since: tuple[Counted, ...] = ()
    counted: Mapping[str, Counted] = field(default_factory=dict)
    healed: bool = False

    def explains(self, value: Value, clock: int, current: Value, *, pulled: int) -> bool:
        """Whether all that a value of a lost history holds is in the ``current`` one: every step that led to it.

        ``clock`` is the value's (µs); ``pulled`` the time at which its client last pulled, at the latest.
        """
        if clock in self.clocks or (self.healed and clock <= self.known):
            return True
        later = self._later(clock, pulled)
        if clock < self.known or later is None:
            return same(value, current)
        if not fits(later, value) or not fits(later, current):
            return False
        if is_delta(later):
            return same(value, take_step_back(current, later))
        return set(value) ^ set(current) <= {element for done in later.values() for element in done}

    def on_top_of(self, value: Value, clock: int, *, pulled: int) -> Value:
        """A value of a lost history with what was counted since and is not in it."""
        later = self._later(clock, pulled)
        return add_step(value, later) if later is not None and fits(later, value) else value

    def _later(self, clock: int, pulled: int) -> Value | None:
        return sum_of(each.step for each in self.since if not each.is_in(clock=clock, pulled=pulled))


def heal(
    line: RowLine,
    row: Row | None,
    tombstone: Tombstone | None,
    counted: Mapping[str, Sequence[Step]],
) -> Instruction | None:
    """What acknowledged data of a snapshot holds and a restored server has forgotten, whoever wrote it.

    Fields whose clock is newer than the server's, and of equal clocks the greater value, so that it is no matter which
    device comes first; whole rows that the server lacks. A row that is merely old in the snapshot (no clock newer than
    those of the tombstone's row) resurrects nothing. A counter or a set of a row that the server has is healed by the
    steps that led to its value, ``counted``, and by nothing else: so each is in it once, whoever comes with a value
    that holds it. What was acknowledged is no conflict, so no policy is asked.
    """
    if line.base is None:
        return None
    line = without_steps(line)
    reference = row if row is not None else tombstone.row if tombstone is not None else None
    acknowledged = {name for name in line.row.fields if name not in (line.base or {})}
    if row is None and reference is not None:
        forgotten = {name for name in acknowledged if line.row.clock(name) > reference.clock(name)}
    elif reference is not None:
        forgotten = {
            name for name in acknowledged if name not in counted and _is_newer(line, name, reference)
        }
    elif tombstone is not None:
        forgotten = acknowledged if line.row.updated > tombstone.knew_until else set()
    else:
        forgotten = set(line.row.fields)
    steps = {name: steps_value(made) for name, made in counted.items() if made}
    if row is None:
        change = _put(line, forgotten)
        return None if change is None else replace(change, base={}, healing=True)
    change = _put(line, forgotten | steps.keys())
    if change is None:
        return None
    known = {name: row.clock(name) for name in change.fields}
    # Steps lead to another value than the one which had the line's clock, and so to another clock.
    clocks = {**change.clocks, **{name: known[name] for name in steps}}
    return replace(change, fields={**change.fields, **steps}, clocks=clocks, base=known, healing=True)


def _is_newer(line: RowLine, name: str, reference: Row) -> bool:
    mine = line.row.clock(name)
    value, its = reference.fields.get(name), reference.clock(name)
    if name not in reference.fields or mine > its:
        return mine > its and not same(line.row.fields[name], value)
    return mine == its and canonical(line.row.fields[name]) > canonical(value)


def canonical(value: Value) -> str:
    """A text by which any two values of a field can be put in order, on any server and device."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def without_steps(line: RowLine) -> RowLine:
    """The row as it was when last pulled, before the client's steps, which are a change of their own."""
    base = line.base or {}
    before, known = {}, {}
    for name, made in line.steps.items():
        if made.steps and name in line.row.fields:
            before[name] = take_steps_back(line.row.fields[name], made.steps)
            if base.get(name, -1) >= 0:
                known[name] = base[name]
    row = replace(line.row, fields={**line.row.fields, **before}, clocks={**line.row.clocks, **known})
    return replace(line, row=row, base={name: at for name, at in base.items() if name not in known}, steps={})


def _made_here(line: RowLine) -> Instruction:
    fields = {name: _with_steps(line, name) for name in line.row.fields}
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields=fields,
        clocks=line.row.clocks,
        base=None,
        whole=line.row,
    )


def _by_value(line: RowLine) -> RowLine:
    """The line without its steps: what they led to is what is meant."""
    return replace(line, steps={})


def _included(line: RowLine) -> dict[str, dict[str, int | None]]:
    """The steps that are in the values of a line, by field."""
    return {
        name: {step.id: step.at for step in (*made.counted, *made.steps)}
        for name, made in line.steps.items()
        if made.steps or made.counted
    }


def _with_steps(line: RowLine, name: str) -> Value:
    made = line.steps.get(name)
    if made is None or not made.steps:
        return line.row.fields[name]
    return steps_value(made.steps, value=line.row.fields[name])


def _put(line: RowLine, names: set[str]) -> Instruction | None:
    if not names:
        return None
    ordered = [name for name in line.row.fields if name in names]
    bases = line.base or {}
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={name: _with_steps(line, name) for name in ordered},
        clocks={name: line.row.clock(name) for name in ordered},
        base={name: bases[name] for name in ordered if bases.get(name, -1) >= 0},
        whole=line.row,
        includes={
            name: {step.id: step.at for step in line.steps[name].counted}
            for name in ordered
            if name in line.steps and line.steps[name].counted and not line.steps[name].steps
        },
    )
