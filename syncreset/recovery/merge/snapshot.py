"""A claimed recovery's snapshot, merged chunk by chunk; each chunk is one transaction, with its part of the ledger."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from django.db import transaction

from ... import conf
from ...apply.changes import apply_changes
from ...apply.context import Context
from ...apply.counted import note_included
from ...apply.slots import Applied
from ...clients.client import Client, LastSynced
from ...feed.checkpoints import Checkpoint, continuation, feed_state
from ...ledger.item import Item, totals
from ...ledger.record import item_for, save_items
from ...ledger.retry import close_deleted, curable, merge_again
from ...protocol.changes import RowKey
from ...protocol.snapshot.lines import RowLine
from ...protocol.snapshot.read import SnapshotReader
from ...protocol.steps import is_steps
from ...rules.merge import Outcome
from ..context import context_of, cursor_of
from ..job import Recovery, hold
from ..upcast.carry import Upcaster, upcaster_for
from ..uploads import open_snapshot, snapshot_limits
from .absence import absent_rows
from .after_undo import as_before_undo, as_met
from .births import recall_strangers, refers_to_another, with_strangers
from .derive import Derived, derive, sorted_steps
from .heal import leave_tombstones, server_side
from .keys import SnapshotKeys
from .lines import Numbered, Passed, numbered_lines, read_update_log
from .rules import Met, Rules
from .unexplained import close_explained

T = TypeVar("T")


def merge_snapshot(recovery: Recovery) -> None:
    """Merge what is not merged yet: the lines, the deletions told by absence, and what waited for later rows.

    Raises LeaseLost as soon as another worker has claimed the recovery.
    """
    with SnapshotKeys() as keys:
        _merge_all(recovery, keys)
    _retry_clashes(recovery)


def _merge_all(recovery: Recovery, keys: SnapshotKeys) -> None:
    upcaster = upcaster_for(recovery.schema)
    rules = _rules(recovery, upcaster, keys)
    passed = Passed(keys=keys)
    recall_strangers(recovery, keys)
    with open_snapshot(recovery.upload) as stream:
        lines = (
            line
            for line in numbered_lines(SnapshotReader(stream, snapshot_limits()), passed, upcaster)
            if line.number > recovery.position
        )
        for chunk in _batches(lines, conf.get("RECOVERY_CHUNK")):
            _merge_chunk(recovery, chunk, rules, keys)
    _delete_absent(recovery, rules, passed, upcaster)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _merge_chunk(recovery: Recovery, chunk: list[Numbered], rules: Rules, keys: SnapshotKeys) -> None:
    with transaction.atomic():
        hold(recovery)
        context = context_of(recovery)
        met = as_met(recovery, server_side(chunk, context.scopes)) if rules.healing else Met()
        if rules.healing:
            met = leave_tombstones(chunk, with_strangers(chunk, met, keys), context)
        derived = [
            replace(item, outcome=item.outcome or refers_to_another(item.change, keys))
            for item in derive(chunk, rules, met)
        ]
        derived = as_before_undo(recovery, derived, context)
        unchanged = len(chunk) - len({change.number for change in derived})
        included = _included(chunk, met) if rules.healing else {}
        note_included(recovery.client, included)
        _record(recovery, derived, context, position=chunk[-1].number, unchanged=unchanged)
        close_explained(
            recovery, _stepped(derived) | {(label, pk) for label, pk, _ in included}, context.scopes
        )


def _included(chunk: list[Numbered], met: Met) -> dict[tuple[str, str, str], Mapping[str, int | None]]:
    """The steps of lines that are in the values which the server has, or is given now, by row and field."""
    included: dict[tuple[str, str, str], Mapping[str, int | None]] = {}
    for item in chunk:
        means_it = not item.repeats and item.number not in met.strange
        brings_steps = isinstance(item.line, RowLine) and item.line.steps and means_it
        left = sorted_steps(item, met) if brings_steps else None
        if left is not None and item.model is not None and item.model.canonical_keys([left.line.pk]):
            line = left.line
            included |= {(line.model, line.pk, name): ids for name, ids in left.included.items() if ids}
    return included


def _stepped(derived: list[Derived]) -> set[RowKey]:
    """The rows of which changes bring steps."""
    return {
        item.change.row_key
        for item in derived
        if any(is_steps(value) for value in item.change.fields.values())
    }


def _record(
    recovery: Recovery,
    derived: list[Derived],
    context: Context,
    *,
    position: int,
    unchanged: int = 0,
    absent: int = 0,
) -> None:
    """Apply changes and keep their items and the recovery's progress, within the caller's transaction."""
    save_items(_merge(recovery, derived, context))
    recovery.position = position
    recovery.changes += len(derived)
    recovery.unchanged += unchanged
    recovery.absent += absent
    Recovery.objects.filter(pk=recovery.pk).update(
        position=recovery.position,
        changes=recovery.changes,
        unchanged=recovery.unchanged,
        absent=recovery.absent,
        totals=totals(Item.objects.filter(recovery=recovery)),
    )


def _merge(recovery: Recovery, derived: list[Derived], context: Context) -> list[Item]:
    undecided = [item for item in derived if item.outcome is None]
    applied = apply_changes([item.change for item in undecided], context)
    close_deleted(recovery.client, applied)
    results = iter(applied)
    items = []
    for item in derived:
        result = next(results) if item.outcome is None else Applied(change=item.change, outcome=item.outcome)
        items.append(
            item_for(
                recovery.client,
                replace(result, outcome=_kept_for_review(result.outcome)),
                recovery=recovery,
                line=item.number,
                part=item.part,
            )
        )
    return items


def _kept_for_review(outcome: Outcome) -> Outcome:
    """A row that the server lacks is a question for a person: here no client can send it again as a whole."""
    if outcome.state == "rejected" and outcome.problem is not None and outcome.problem.code == "row_missing":
        return replace(outcome, state="parked")
    return outcome


def _rules(recovery: Recovery, upcaster: Upcaster, keys: SnapshotKeys) -> Rules:
    known = dict(LastSynced.objects.filter(client=recovery.client).values_list("model", "at"))
    reported = recovery.last_synced
    cursor = cursor_of(recovery)
    rules = Rules(
        strategy=recovery.strategy,
        strategy_chosen=recovery.strategy_chosen,
        last_synced=upcaster.last_synced(
            {
                model: min(reported.get(model, known.get(model, 0)), known.get(model, reported.get(model, 0)))
                for model in {*known, *reported}
            }
        ),
        healing=recovery.healing,
        purged=cursor is None or cursor.number < feed_state().horizon,
        remembered=recovery.remembered,
        pulled=recovery.pulled,
        acked=Client.objects.values_list("acked", flat=True).get(pk=recovery.client_id),
    )
    if not recovery.updates:
        return rules
    read_update_log(recovery, upcaster, keys)
    return replace(rules, updates=keys)


def _delete_absent(recovery: Recovery, rules: Rules, passed: Passed, upcaster: Upcaster) -> None:
    """What a full snapshot without tombstones says by absence, where the strategy reads it so.

    Only of rows that the client held at its checkpoint, and under the keys of now. After a divergence absence says
    nothing, nor beside a line that could not be read: the row may be in that.
    """
    cursor = cursor_of(recovery)
    if cursor is None or recovery.healing or not recovery.full or recovery.tombstones or passed.unread:
        return
    at = Checkpoint.objects.filter(number=cursor.number).values_list("at", flat=True).first()
    if at is None or continuation(cursor) != "possible":
        return
    done = Item.objects.filter(recovery=recovery, line__gt=recovery.total)
    for key in done.values_list("model", "pk_text").iterator():
        passed.keys.add(key)
    context = context_of(recovery)
    scopes = context.scopes.intersection(cursor.scopes)
    absent = (
        (change, outcome)
        for change, outcome in absent_rows(rules, scopes, passed.keys, cursor.number, at)
        if upcaster.holds(change.model)
    )
    for lines in _batches(absent, conf.get("RECOVERY_CHUNK")):
        with transaction.atomic():
            hold(recovery)
            first = recovery.position + 1
            derived = [
                Derived(number=number, part=0, change=change, outcome=outcome)
                for number, (change, outcome) in enumerate(lines, start=first)
            ]
            _record(recovery, derived, context, position=derived[-1].number, absent=len(derived))


def _retry_clashes(recovery: Recovery) -> None:
    """What a later chunk may have cured is merged again, all of it together, so that cycles of references close."""
    with transaction.atomic():
        hold(recovery)
        waiting = curable(recovery=recovery).order_by("line", "part")
        if waiting.exists():
            merge_again(waiting, context_of(recovery))
