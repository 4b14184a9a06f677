"""One batch of changes: its rows loaded and locked, every change merged into them, all of it written in few statements.

What the database refuses is raised, with nothing written; cutting the batch in halves is the caller's (``apply``).
"""

from ..protocol.changes import Row
from ..rules.merge import Outcome
from .context import Context
from .decide import merge_one, without_target
from .prepare import Prepared
from .references import missing_targets
from .slots import Applied, load_slots, take_outcome
from .swaps import vacate
from .write import write_slots


def merge_and_write(batch: list[Prepared], context: Context, *, swapping: bool = False) -> list[Applied]:
    """Merge and write changes as one. ``swapping``: their rows give up their unique values before.

    What a change refers to may be gone, and what becomes of it may take away what others refer to, so they are merged
    until no reference leads nowhere. Each round ends the merging of one change more or empties one reference more,
    and an emptied reference is never asked for again: there are at most as many rounds as changes and references.
    """
    failed: dict[int, Outcome] = {}
    nulled: dict[int, set[str]] = {}
    while True:
        slots = load_slots(batch, context)
        before: list[Row | None] = []
        outcomes: list[Outcome] = []
        new_failures = False
        for index, prepared in enumerate(batch):
            slot = slots[prepared.model, prepared.change.pk]
            before.append(None if slot.hidden else slot.row)
            outcome = failed.get(index) or merge_one(prepared, slot, context, nulled.get(index, set()))
            if index not in failed and outcome.state == "rejected":
                failed[index] = outcome
            if index not in failed:
                take_outcome(slot, outcome)
            outcomes.append(outcome)
        shown = {key: slot for key, slot in slots.items() if not slot.hidden}
        stored = {key: slot.stored for key, slot in shown.items()}
        deleted_rows = {
            key: slot.tombstone.row for key, slot in shown.items() if slot.tombstone and slot.tombstone.row
        }
        states = {key: slot.row for key, slot in shown.items()}
        for index, name, deleted in missing_targets(batch, outcomes, stored, deleted_rows, states, context):
            new_failures = True
            relation = batch[index].model.field(name)
            emptied = name in nulled.get(index, ())
            if deleted and getattr(relation, "null", False) and not emptied:
                nulled.setdefault(index, set()).add(name)
            else:
                failed[index] = without_target(outcomes[index], name)
        if not new_failures:
            break
    if swapping:
        for slot in slots.values():
            if slot.instance is not None and slot.row is not None:
                vacate(slot.instance, slot.touched)
    cascaded = write_slots(slots, context)
    return [
        Applied(
            change=prepared.change,
            outcome=outcome,
            before=row,
            cascaded=cascaded.pop((prepared.model, prepared.change.pk), ()) if outcome.deletes else (),
            notes=prepared.notes,
        )
        for prepared, outcome, row in zip(batch, outcomes, before, strict=True)
    ]
