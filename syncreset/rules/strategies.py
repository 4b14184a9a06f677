"""From a snapshot's lines to changes: each recovery strategy as a pure function, and the healing of a restored server.

All but by_base, which is ours and the default, come from Realm's guide "Manual Client Reset Data Recovery"; what its
sample gets wrong is not repeated.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from ..protocol.changes import ROW_CLOCK, Change, Clocks, Row, Tombstone, same
from ..protocol.snapshot.lines import RowLine, Step, TombstoneLine
from ..protocol.steps import moves, take_step_back, without_step
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
        return replace(_made_here(line), overrides=True)
    if line.row.updated <= synced.last_synced and not line.base:
        return None
    change = _put(replace(line, steps={}), set(line.row.fields))
    return None if change is None else replace(change, overrides=bool(line.base))


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
        return replace(_made_here(line), overrides=True)
    change = _put(replace(line, steps={}), set(line.row.fields))
    return None if change is None else replace(change, overrides=True)


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
    )


def heal(line: RowLine, row: Row | None, tombstone: Tombstone | None) -> Instruction | None:
    """What acknowledged data of a snapshot holds and a restored server has forgotten, whoever wrote it.

    Fields whose clock is newer than the server's; whole rows that it lacks. A row that is merely old in the snapshot
    (no clock newer than those of the tombstone's row) resurrects nothing. Of a counter or a set
    with a step it is the value before the step that was acknowledged, at the time of the base.
    """
    if line.base is None:
        return None
    line = _without_steps(line, line.base)
    reference = row if row is not None else tombstone.row if tombstone is not None else None
    acknowledged = {name for name in line.row.fields if name not in (line.base or {})}
    if reference is not None:
        forgotten = {
            name
            for name in acknowledged
            if line.row.clock(name) > reference.clock(name)
            and not (name in reference.fields and same(line.row.fields[name], reference.fields[name]))
        }
    elif tombstone is not None:
        forgotten = set(line.row.fields) if line.row.updated > tombstone.deleted else set()
    else:
        forgotten = set(line.row.fields)
    change = _put(line, forgotten)
    return None if change is None else replace(change, base={}, healing=True)


def without_taken(line: RowLine, taken: Collection[int]) -> RowLine:
    """The line without those parts of its steps that the server has taken, by their sequence numbers.

    A step of which nothing is left moves nothing, and no strategy takes it. A row that was made by the client is the
    server's once it was taken: from then on its fields are as good as changed, on bases that nobody knows.
    """
    rest = replace(line, steps={name: _rest(step, taken) for name, step in line.steps.items()})
    if line.base is not None:
        return rest
    if not any(seq in taken for step in line.steps.values() for seq in step.sent):
        return replace(line, steps={})
    return replace(rest, base=dict.fromkeys(line.row.fields, -1))


def _rest(step: Step, taken: Collection[int]) -> Step:
    whole = step.whole
    for seq in sorted(step.sent):
        if seq in taken:
            whole = without_step(whole, step.sent[seq])
    return Step(whole=whole, sent={seq: part for seq, part in step.sent.items() if seq not in taken})


def _without_steps(line: RowLine, base: Clocks) -> RowLine:
    """The row as it was before the client's steps, which are a change of their own."""
    before = {
        name: take_step_back(line.row.fields[name], step.whole)
        for name, step in line.steps.items()
        if name in line.row.fields
    }
    known = {name: base[name] for name in before if base.get(name, -1) >= 0}
    row = replace(line.row, fields={**line.row.fields, **before}, clocks={**line.row.clocks, **known})
    return replace(line, row=row, base={name: at for name, at in base.items() if name not in known}, steps={})


def _made_here(line: RowLine) -> Instruction:
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields=line.row.fields,
        clocks=line.row.clocks,
        base=None,
        whole=line.row,
    )


def _put(line: RowLine, names: set[str]) -> Instruction | None:
    names = {name for name in names if name not in line.steps or moves(line.steps[name].whole)}
    if not names:
        return None
    ordered = [name for name in line.row.fields if name in names]
    bases = line.base or {}
    return Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={
            name: line.steps[name].whole if name in line.steps else line.row.fields[name] for name in ordered
        },
        clocks={name: line.row.clock(name) for name in ordered},
        base={name: bases[name] for name in ordered if bases.get(name, -1) >= 0},
        whole=line.row,
    )
