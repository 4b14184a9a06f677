"""One batch of changes: its rows loaded and locked, every change merged into them, all of it written in few statements.

What the database refuses is raised, with nothing written; cutting the batch in halves is the caller's (``apply``).
"""

from collections.abc import Mapping
from dataclasses import replace

from ..protocol.changes import ROW_CLOCK, Row, RowKey
from ..rules.merge import Outcome
from .bases import with_base
from .context import Context
from .counted import Counting
from .decide import merge_one, without_target
from .prepare import Prepared
from .references import missing_targets
from .seen import Moment, earliest
from .slots import Applied, Slot, load_slots
from .swaps import vacate
from .write import write_slots


def merge_and_write(batch: list[Prepared], context: Context, *, swapping: bool = False) -> list[Applied]:
    """Merge and write changes as one. ``swapping``: their rows give up their unique values before.

    What a change refers to may be gone, and what becomes of it may take away what others refer to, so they are merged
    until no reference leads nowhere. Each round ends the merging of one change more or empties one reference more,
    and an emptied reference is never asked for again: there are at most as many rounds as changes and references.
    """
    settled: dict[int, Outcome] = {}
    emptied: dict[int, set[str]] = {}
    while True:
        slots = load_slots(batch, context)
        counting = Counting.of(batch, context)
        based, merged = _merge_all(batch, slots, counting, settled, emptied, context)
        dead = list(missing_targets(based, [outcome for _, outcome in merged], slots, context))
        if not dead:
            break
        for index, name, deleted in dead:
            may_be_null = getattr(batch[index].model.field(name), "null", False)
            if deleted and may_be_null and name not in emptied.get(index, ()):
                emptied.setdefault(index, set()).add(name)
            else:
                settled[index] = without_target(merged[index][1], name)
    if swapping:
        for slot in slots.values():
            if slot.instance is not None and slot.row is not None:
                vacate(slot.instance, slot.touched)
    deletions = [
        Moment(seen=prepared.seen, at=prepared.change.clock(ROW_CLOCK))
        for prepared, (_, outcome) in zip(based, merged, strict=True)
        if outcome.deletes
    ]
    cascaded = write_slots(slots, context, deleted_at=earliest(deletions))
    counting.note(based, merged)
    return [
        Applied(
            change=prepared.change,
            outcome=outcome,
            before=row,
            cascaded=cascaded.pop(prepared.change.row_key, ()) if outcome.deletes else (),
            notes=prepared.notes,
        )
        for prepared, (row, outcome) in zip(based, merged, strict=True)
    ]


def _merge_all(
    batch: list[Prepared],
    slots: Mapping[RowKey, Slot],
    counting: Counting,
    settled: dict[int, Outcome],
    emptied: Mapping[int, set[str]],
    context: Context,
) -> tuple[list[Prepared], list[tuple[Row | None, Outcome]]]:
    """The changes with their bases; the row before each, and what becomes of it.

    What is rejected is settled for the next rounds.
    """
    based: list[Prepared] = []
    merged: list[tuple[Row | None, Outcome]] = []
    for index, named in enumerate(batch):
        slot = slots[named.change.row_key]
        prepared = with_base(named, slot, context)
        before = None if slot.hidden else slot.row
        counted = replace(prepared, change=counting.net(prepared.change))
        outcome = (
            settled.get(index)
            or counting.doubt(prepared.change, prepared.model, slot.row)
            or merge_one(counted, slot, counting.context, emptied.get(index, set()))
        )
        counting.take(prepared.change, outcome)
        if index not in settled and outcome.state == "rejected":
            settled[index] = outcome
        if index not in settled:
            slot.take(outcome)
        based.append(prepared)
        merged.append((before, outcome))
    return based, merged
