"""Giving back what a recovery wrote: each row as it was before, unless somebody has changed it since."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from django.db import transaction

from ..apply.changes import apply_changes
from ..apply.counted import uncount
from ..apply.slots import Applied
from ..ledger.item import Item
from ..ledger.record import item_for, save_items
from ..protocol.changes import ROW_CLOCK, Row, same
from ..protocol.clock import now
from ..rules.instruction import Instruction
from ..rules.merge import REVIEW
from .context import context_of
from .job import Recovery, hold


def undo_items(recovery: Recovery) -> None:
    """Undo the items of the recovery that this one undoes, in one transaction, with a ledger of its own.

    Every change back is based on what the recovery had written, so that a later change of the same field or row is a
    conflict: it is parked, whatever the model's policies say.
    """
    with transaction.atomic():
        hold(recovery)
        context = replace(context_of(recovery, operator=True), offset=0, policy=REVIEW, undoing=True)
        changes = _changes_back(recovery)
        results = apply_changes(changes, context)
        save_items(
            [
                item_for(recovery.client, _for_a_person(result), recovery=recovery, line=number)
                for number, result in enumerate(results, start=1)
            ]
        )
        if recovery.undoes is not None:
            uncount(recovery.undoes.pk, _given_back(results))
        recovery.position = recovery.changes = len(changes)
        Recovery.objects.filter(pk=recovery.pk).update(position=len(changes), changes=len(changes))


def _given_back(results: list[Applied]) -> Iterator[tuple[str, str, str]]:
    """The fields that are as they were before again; of a row that is gone, all that it had."""
    for result in results:
        names = result.before.fields if result.outcome.deletes and result.before else result.outcome.decisions
        for name in names:
            decision = result.outcome.decisions.get(name)
            if result.outcome.deletes or (decision is not None and decision.kept == "client"):
                yield result.change.model, result.change.pk, name


def _for_a_person(result: Applied) -> Applied:
    """What could not be given back waits for somebody to look at it."""
    if result.outcome.state != "rejected":
        return result
    return replace(result, outcome=replace(result.outcome, state="parked"))


def _changes_back(recovery: Recovery) -> list[Instruction]:
    """One change a row: from what the recovery left last to what it found first, deletions' cascades included."""
    written: dict[tuple[str, str], list[_Written]] = {}
    items = list(Item.objects.filter(recovery=recovery.undoes, wrote=True).order_by("line", "part"))
    for item in items:
        written.setdefault((item.change["model"], item.change["pk"]), []).append(
            _Written(before=_row(item.before), after=_row(item.after))
        )
    for item in items:
        for row in item.cascaded:
            written.setdefault((row["model"], row["pk"]), []).append(
                _Written(before=_row(row["before"]), after=_row(row["after"]))
            )
    back = []
    for (model, pk), steps in written.items():
        steps.sort(key=_Written.moment)
        change = _change_back(model, pk, steps[0].before, steps[-1].after)
        if change is not None:
            back.append(change)
    return back


@dataclass(frozen=True, kw_only=True)
class _Written:
    """One step of a row through the recovery."""

    before: Row | None
    after: Row | None

    def moment(self) -> int:
        """What orders the steps of one row: each is later than what it found."""
        known = self.after or self.before
        return 0 if known is None else known.updated


def _row(kept: dict[str, object] | None) -> Row | None:
    return None if kept is None else Row(**kept)  # type: ignore[arg-type]


def _change_back(model: str, pk: str, before: Row | None, after: Row | None) -> Instruction | None:
    clock = now()
    if after is None:
        if before is None:
            return None
        return Instruction(
            model=model,
            pk=pk,
            op="put",
            fields=before.fields,
            clocks={ROW_CLOCK: clock},
            base=None,
            restores=True,
        )
    if before is None:
        return Instruction(
            model=model, pk=pk, op="delete", clocks={ROW_CLOCK: clock}, base={ROW_CLOCK: after.updated}
        )
    names = [name for name, value in before.fields.items() if not same(value, after.fields.get(name))]
    return Instruction(
        model=model,
        pk=pk,
        op="put",
        fields={name: before.fields[name] for name in names},
        clocks=dict.fromkeys(names, clock),
        base={name: after.clock(name) for name in names},
    )
