"""A claimed recovery's snapshot, merged chunk by chunk; each chunk is one transaction, with its part of the ledger."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeVar

from django.db import transaction

from . import conf
from .apply import CURABLE, Applied, apply_changes
from .clients import LastSynced, scopes_of
from .codec import ValueFault, decode_key, encode_key
from .counted import counted_by
from .cursor import Cursor, decode_cursor
from .deriving import Derived, Numbered, Rules, UpdateLog, absent_rows, derive
from .feed import Checkpoint, feed_state
from .ledger import (
    Item,
    ItemState,
    change_from_json,
    item_for,
    renew_item,
    save_items,
    save_renewed,
    totals,
)
from .preparing import Author
from .protocol import Malformed, MalformedLine, Outcome, SnapshotReader, UpdateLine, now
from .recovery_job import Recovery, hold
from .repeating import as_before_undo, as_met
from .tracking.registry import tracked_by_label
from .upcasting import Upcast, Upcaster, upcaster_for
from .uploads import open_snapshot, snapshot_limits

__all__ = ["author_of", "merge_snapshot"]

T = TypeVar("T")


def merge_snapshot(recovery: Recovery) -> None:
    """Merge what is not merged yet: the lines, the deletions told by absence, and what waited for later rows.

    Raises LeaseLost as soon as another worker has claimed the recovery.
    """
    upcaster = upcaster_for(recovery.schema)
    rules = _rules(recovery, upcaster)
    passed = _Passed()
    with open_snapshot(recovery.upload) as stream:
        lines = (
            line
            for line in _numbered(SnapshotReader(stream, snapshot_limits()), passed, upcaster)
            if line.number > recovery.position
        )
        for chunk in _batches(lines, conf.get("RECOVERY_CHUNK")):
            _merge_chunk(recovery, chunk, rules)
    _delete_absent(recovery, rules, passed, upcaster)
    _retry_clashes(recovery)


def author_of(recovery: Recovery, *, operator: bool = False) -> Author:
    """On whose behalf a recovery's changes are applied: its client's user."""
    user = recovery.client.user
    cursor = _cursor(recovery)
    return Author(
        client=recovery.client,
        user=user,
        scopes=scopes_of(user),
        seen=0 if cursor is None or recovery.healing else cursor.number,
        received=now(),
        offset=recovery.clock_offset,
        operator=operator,
    )


@dataclass(kw_only=True)
class _Passed:
    """What has been read of a snapshot: the keys of its rows and tombstones, and whether a line could not be read."""

    keys: set[tuple[str, str]] = field(default_factory=set)
    unread: bool = False


def _numbered(reader: SnapshotReader, passed: _Passed, upcaster: Upcaster) -> Iterator[Numbered]:
    """The lines with their places, in terms of the current schema. ``passed`` takes what they tell."""
    seen: set[tuple[str, str, str]] = set()
    for number, line in enumerate(reader, start=1):
        upcast = _under_its_key(upcaster.upcast(line))
        repeats = False
        if upcast.key is not None and not isinstance(line, UpdateLine):
            key = (type(line).__name__, *upcast.key)
            repeats = key in seen
            seen.add(key)
            passed.keys.add(upcast.key)
        passed.unread = passed.unread or isinstance(line, MalformedLine)
        yield Numbered(number=number, line=upcast.line, repeats=repeats, left=upcast.left)


def _under_its_key(upcast: Upcast) -> Upcast:
    """The line under its key as the server writes it: a UUID may come in capitals, and is the same row's."""
    line = upcast.line
    if line is None or isinstance(line, MalformedLine):
        return upcast
    model = tracked_by_label(line.model)
    if model is None:
        return upcast
    try:
        pk = encode_key(model._meta.pk, decode_key(model._meta.pk, line.pk))
    except ValueFault:
        return upcast
    return upcast if pk == line.pk else replace(upcast, line=replace(line, pk=pk))


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _merge_chunk(recovery: Recovery, chunk: list[Numbered], rules: Rules) -> None:
    with transaction.atomic():
        hold(recovery)
        author = author_of(recovery)
        counted = counted_by(recovery, {item.number: item.line for item in chunk})
        derived = derive(
            chunk, replace(rules, counted=counted), author.scopes, as_met=partial(as_met, recovery)
        )
        derived = as_before_undo(recovery, derived, author)
        unchanged = len(chunk) - len({change.number for change in derived})
        _record(recovery, derived, author, position=chunk[-1].number, unchanged=unchanged)


def _record(
    recovery: Recovery,
    derived: list[Derived],
    author: Author,
    *,
    position: int,
    unchanged: int = 0,
    absent: int = 0,
) -> None:
    """Apply changes and keep their items and the recovery's progress, within the caller's transaction."""
    save_items(_merge(recovery, derived, author))
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


def _merge(recovery: Recovery, derived: list[Derived], author: Author) -> list[Item]:
    undecided = [item for item in derived if item.outcome is None]
    results = iter(apply_changes([item.change for item in undecided], author))
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


def _cursor(recovery: Recovery) -> Cursor | None:
    if recovery.checkpoint is None:
        return None
    try:
        return decode_cursor(recovery.checkpoint)
    except Malformed:
        return None


def _rules(recovery: Recovery, upcaster: Upcaster) -> Rules:
    known = dict(LastSynced.objects.filter(client=recovery.client).values_list("model", "at"))
    told = recovery.last_synced
    cursor = _cursor(recovery)
    rules = Rules(
        strategy=recovery.strategy,
        strategy_chosen=recovery.strategy_chosen,
        last_synced=upcaster.last_synced(
            {
                model: min(told.get(model, known.get(model, 0)), known.get(model, told.get(model, 0)))
                for model in {*known, *told}
            }
        ),
        healing=recovery.healing,
        purged=cursor is None or cursor.number < feed_state().horizon,
    )
    return rules if not recovery.updates else replace(rules, updates=_update_log(recovery, upcaster))


def _update_log(recovery: Recovery, upcaster: Upcaster) -> UpdateLog:
    """The update lines, gathered by row, for they stand behind the rows that they are about."""
    logged: dict[tuple[str, str], dict[str, int]] = {}
    held: set[tuple[str, str]] = set()
    with open_snapshot(recovery.upload) as stream:
        for upcast in map(upcaster.upcast, SnapshotReader(stream, snapshot_limits())):
            upcast = _under_its_key(upcast)
            line = upcast.line
            if isinstance(line, UpdateLine):
                fields = logged.setdefault((line.model, line.pk), {})
                fields[line.field] = max(line.at, fields.get(line.field, 0))
            elif upcast.key is not None:
                held.add(upcast.key)
    return UpdateLog(fields=logged, held=held & logged.keys())


def _delete_absent(recovery: Recovery, rules: Rules, passed: _Passed, upcaster: Upcaster) -> None:
    """What a full snapshot without tombstones says by absence, where the strategy reads it so.

    Only of rows that the client held at its checkpoint, and under the keys of now. After a divergence absence says
    nothing, nor beside a line that could not be read: the row may be in that.
    """
    cursor = _cursor(recovery)
    if cursor is None or recovery.healing or not recovery.full or recovery.tombstones or passed.unread:
        return
    at = (
        Checkpoint.objects.filter(number=cursor.number, salt=cursor.salt).values_list("at", flat=True).first()
    )
    if at is None:
        return
    done = set(
        Item.objects.filter(recovery=recovery, line__gt=recovery.total).values_list("model", "pk_text")
    )
    author = author_of(recovery)
    scopes = author.scopes.intersection(cursor.scopes)
    absent = (
        (change, outcome)
        for change, outcome in absent_rows(rules, scopes, passed.keys | done, cursor.number, at)
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
            _record(recovery, derived, author, position=derived[-1].number, absent=len(derived))


def _retry_clashes(recovery: Recovery) -> None:
    """What a later chunk may have cured is merged again, all of it together, so that cycles of references close."""
    with transaction.atomic():
        hold(recovery)
        waiting = list(
            Item.objects.filter(recovery=recovery, state=ItemState.PARKED, code__in=CURABLE).order_by(
                "line", "part"
            )
        )
        if not waiting:
            return
        # The ledger keeps changes with their clocks corrected, so they are not to be shifted once more.
        author = replace(author_of(recovery), offset=0)
        results = apply_changes([change_from_json(item.change) for item in waiting], author)
        for item, result in zip(waiting, results, strict=True):
            renew_item(item, result)
        save_renewed(waiting)
