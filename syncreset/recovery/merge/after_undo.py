"""A snapshot recovered again after an undo: what the undo gave back does not count as somebody's change.

An undo writes, and what it writes is later than anything in the snapshot. Taken for a concurrent change it would win
over the very work that is to be recovered again. So each change is told, in the clocks of the rows as they were given
back, what it met before the recovery that was undone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ...apply.context import Context
from ...feed.entries import tombstones
from ...ledger.item import Item
from ...ledger.record import key_text
from ...protocol.changes import ROW_CLOCK, Row, RowKey
from ...protocol.clock import corrected
from ...rules.instruction import Instruction
from ..job import Recovery, RecoveryKind
from .derive import Derived
from .rules import Met


@dataclass(frozen=True, kw_only=True)
class _GivenBack:
    """A row as it was before a recovery that was undone, and as the undo left it, told at a time ``at`` (µs)."""

    before: Row | None
    after: Row | None
    at: int


def as_before_undo(recovery: Recovery, derived: Sequence[Derived], context: Context) -> list[Derived]:
    """The changes, each as if neither the recoveries that were undone nor their undoing had been.

    What somebody has changed since an undo is a concurrent change as ever.
    """
    changes = list(derived)
    keys = {item.change.row_key for item in changes}
    for undoing in _undoings(recovery):
        given_back = _given_back(undoing, keys)
        gone = _still_gone(given_back, context.scopes)
        changes = [
            item
            if item.outcome is not None or (known := given_back.get(item.change.row_key)) is None
            else replace(item, change=_rebased(item.change, known, context, gone=item.change.row_key in gone))
            for item in changes
        ]
    return changes


def as_met(recovery: Recovery, met: Met) -> Met:
    """What a restored server has, but where an undo has given a row back, that there was before the recovery.

    Else what the undo wrote would seem to be what the server remembers, and nothing would be healed again.
    """
    rows, tombstones = dict(met.rows), dict(met.tombstones)
    for undoing in _undoings(recovery):
        for key, known in _given_back(undoing, {*rows, *tombstones}).items():
            if known.after is None:
                stands = key in tombstones and tombstones[key].deleted <= known.at
            else:
                stands = key in rows and rows[key].updated == known.after.updated
            if stands:
                rows.pop(key, None)
                tombstones.pop(key, None)
                if known.before is not None:
                    rows[key] = known.before
    return replace(met, rows=rows, tombstones=tombstones)


def _undoings(recovery: Recovery) -> Iterable[Recovery]:
    """The finished undoings of recoveries of the same snapshot, the oldest first."""
    undoings = Recovery.objects.filter(kind=RecoveryKind.UNDO, undoes__upload=recovery.upload_id)
    return undoings.exclude(finished=None).order_by("finished")


def _given_back(undoing: Recovery, keys: Collection[RowKey]) -> dict[RowKey, _GivenBack]:
    """What an undoing gave back, of the rows in question."""
    pks = {key_text(pk) for _, pk in keys}
    written = Item.objects.filter(wrote=True, pk_text__in=pks).order_by("line", "part")
    before: dict[RowKey, Row | None] = {}
    for item in written.filter(recovery=undoing.undoes):
        before.setdefault(_key_of(item), _row(item.before))
    return {
        key: _GivenBack(before=before[key], after=_row(item.after), at=item.created)
        for item in written.filter(recovery=undoing)
        if (key := _key_of(item)) in keys and key in before
    }


def _key_of(item: Item) -> RowKey:
    return item.change["model"], item.change["pk"]


def _row(kept: dict[str, object] | None) -> Row | None:
    return None if kept is None else Row(**kept)  # type: ignore[arg-type]


def _still_gone(given_back: dict[RowKey, _GivenBack], scopes: Collection[str]) -> set[RowKey]:
    """The rows that the undoing deleted and that nobody has made and deleted anew since."""
    by_model: dict[str, set[str]] = {}
    for (label, pk), known in given_back.items():
        if known.after is None:
            by_model.setdefault(label, set()).add(pk)
    return {
        (label, pk)
        for label, pks in by_model.items()
        for pk, entry in tombstones(label, pks, scopes).items()
        if entry.at <= given_back[label, pk].at
    }


def _rebased(change: Instruction, known: _GivenBack, context: Context, *, gone: bool) -> Instruction:
    if gone and change.op == "put":
        return replace(change, restores=True)
    if known.before is None or known.after is None:
        return change
    if change.op == "delete":
        base = (change.base or {}).get(ROW_CLOCK)
        unseen = base is None or known.before.updated > base
        return change if unseen else replace(change, base={ROW_CLOCK: known.after.updated})
    return _rebased_put(change, known.before, known.after, context)


def _rebased_put(change: Instruction, before: Row, after: Row, context: Context) -> Instruction:
    base = None if change.base is None else dict(change.base)
    # What came without clocks is given those of now, which are later than the undo.
    own = {name: change.clock(name) for name in change.fields if {name, ROW_CLOCK} & change.clocks.keys()}
    offset = 0 if change.healing else context.offset
    believed = corrected(own, offset=offset, received=context.received)
    for name in change.fields:
        met, stands = before.clock(name), after.clock(name)
        if base is not None and base.get(name) == met:
            base[name] = stands
        if name in own and met < believed[name] <= stands:
            # As late as it takes to win over the undo where it won over what there was before.
            own[name] += stands + 1 - believed[name]
    return replace(change, base=base, clocks={**change.clocks, **own})
