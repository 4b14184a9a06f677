"""Recoveries: the merge of one snapshot, run in chunks that survive being killed anywhere and started twice."""

import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models, transaction
from django.db.models import F

from . import conf
from .apply import Applied, apply_changes
from .clients import Client, LastSynced, scopes_of
from .cursor import Cursor, decode_cursor
from .deriving import Derived, Numbered, Rules, derive
from .feed import feed_state
from .ledger import Item, ItemState, change_from_json, item_for, save_items, totals
from .preparing import Author
from .protocol import Malformed, MalformedLine, Outcome, ProtocolError, SnapshotReader, UpdateLine, now
from .resets import Reset
from .schemas import published
from .signals import recovery_finished, recovery_queued
from .uploads import Upload, check_snapshot, open_snapshot, snapshot_limits

__all__ = [
    "Recovery",
    "RecoveryState",
    "finish_upload",
    "overdue",
    "recover_again",
    "reset_state",
    "run",
]

logger = logging.getLogger(__name__)

#: A recovery that crashed this often is failed, with everything kept, for a person to look at.
MAX_ATTEMPTS = 5


class RecoveryState(models.TextChoices):
    """Where a recovery is (protocol, "GET /recoveries/{id}")."""

    QUEUED = "queued", "queued"
    MERGING = "merging", "merging"
    REVIEW = "review", "waiting for review"
    DONE = "done", "done"
    FAILED = "failed", "failed"


class Recovery(models.Model):
    """The merge of one snapshot; its row is also its job.

    ``position`` lines of ``total`` are merged, of which ``changes`` changes came and ``unchanged`` lines carried
    nothing. ``fence`` counts the claims: only the newest one may write, until ``lease_until`` (µs) at most.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    reset = models.ForeignKey(Reset, on_delete=models.CASCADE, related_name="recoveries")
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="recoveries")
    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="recoveries")
    strategy = models.CharField(max_length=40)
    healing = models.BooleanField(default=False)
    state = models.CharField(max_length=12, choices=RecoveryState.choices, default=RecoveryState.QUEUED)
    schema = models.CharField(max_length=64)
    checkpoint = models.TextField(null=True, blank=True)
    last_synced = models.JSONField(default=dict)
    clock_offset = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    tombstones = models.BigIntegerField(default=0)
    updates = models.BigIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    changes = models.BigIntegerField(default=0)
    unchanged = models.BigIntegerField(default=0)
    totals = models.JSONField(default=dict)
    fence = models.BigIntegerField(default=0)
    lease_until = models.BigIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.JSONField(null=True, blank=True)
    created = models.BigIntegerField(default=now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    finished = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "recoveries"
        ordering = ["-created"]
        permissions = [("recover_again_recovery", "Can run recoveries again")]

    def __str__(self) -> str:
        return f"recovery {str(self.id)[:8]}"

    @property
    def total(self) -> int:
        """Lines of the snapshot between header and end."""
        return self.rows + self.tombstones + self.updates


class LeaseLost(Exception):
    """Another worker has claimed the recovery: this one must write nothing more."""


def reset_state(reset: Reset) -> str:
    """``ordered``, ``bootstrapped``, ``recovering`` or ``done`` (protocol, "GET /resets/{id}")."""
    recovery = first_recovery(reset)
    if recovery is not None and recovery.state in (RecoveryState.QUEUED, RecoveryState.MERGING):
        return "recovering"
    if reset.bootstrapped is None:
        return "ordered"
    return "bootstrapped" if recovery is None else "done"


def first_recovery(reset: Reset) -> Recovery | None:
    """The recovery of the first snapshot that came for a reset."""
    return reset.recoveries.order_by("created").first()


def finish_upload(upload: Upload) -> Recovery:
    """Check a finished upload and queue its recovery, in one transaction with the job.

    A second snapshot for one reset gives the first one's recovery. Raises SnapshotRefused or TooLarge for a snapshot
    that is broken as a whole; the upload is kept, and another one may be tried.
    """
    existing = first_recovery(upload.reset)
    if existing is not None:
        return existing
    try:
        header, counts = check_snapshot(upload)
        if header.reset != str(upload.reset_id):
            raise ProtocolError("the snapshot is of another reset", code="invalid_snapshot", status=422)
        if published(header.schema) is None:
            raise ProtocolError(
                "this server never published the snapshot's schema; the snapshot is kept for the operator",
                code="unsupported_schema",
                status=422,
            )
    except ProtocolError as error:
        Upload.objects.filter(pk=upload.pk).update(refused=f"{error.code}: {error.detail}")
        raise
    with transaction.atomic():
        # Serialises two uploads that finish at once: the second one waits here and then finds the first one's.
        Reset.objects.filter(pk=upload.reset_id).update(full=F("full"))
        existing = first_recovery(upload.reset)
        if existing is not None:
            return existing
        return _queue(
            Recovery(
                reset=upload.reset,
                client=upload.reset.client,
                upload=upload,
                strategy=upload.strategy or header.strategy,
                healing=upload.reset.full,
                schema=header.schema,
                checkpoint=header.checkpoint,
                last_synced=dict(header.last_synced),
                clock_offset=_offset(upload, header.client_time),
                **counts,
            )
        )


def recover_again(
    recovery: Recovery, *, strategy: str | None = None, by: AbstractBaseUser | None = None
) -> Recovery:
    """Queue another recovery of the same snapshot. What is merged already turns out identical."""
    with transaction.atomic():
        return _queue(
            Recovery(
                reset=recovery.reset,
                client=recovery.client,
                upload=recovery.upload,
                strategy=strategy or recovery.strategy,
                healing=recovery.healing,
                schema=recovery.schema,
                checkpoint=recovery.checkpoint,
                last_synced=recovery.last_synced,
                clock_offset=recovery.clock_offset,
                rows=recovery.rows,
                tombstones=recovery.tombstones,
                updates=recovery.updates,
                created_by=by,
            )
        )


def _queue(recovery: Recovery) -> Recovery:
    recovery.save(force_insert=True)
    transaction.on_commit(lambda: recovery_queued.send_robust(sender=Recovery, recovery=recovery))
    return recovery


def _offset(upload: Upload, client_time: int) -> int:
    return upload.created - client_time if client_time else 0


def overdue() -> "models.QuerySet[Recovery]":
    """Recoveries that nobody is working on: lost by the broker, or left by a worker that died."""
    return Recovery.objects.filter(
        state__in=[RecoveryState.QUEUED, RecoveryState.MERGING], lease_until__lt=now()
    )


def run(recovery_id: uuid.UUID | str) -> str:
    """Merge a recovery from where it stands to its end. Returns its state.

    Safe to be called at any time and any number of times at once: without the lease it does nothing; killed anywhere,
    the next call goes on behind the last chunk that was committed.
    """
    recovery = _claim(recovery_id)
    if recovery is None:
        return str(Recovery.objects.values_list("state", flat=True).get(pk=recovery_id))
    try:
        _merge_all(recovery)
        _retry_references(recovery)
        return _finish(recovery)
    except LeaseLost:
        logger.info("recovery %s is being merged by another worker", recovery.pk)
        return str(RecoveryState.MERGING)
    except Exception as error:
        _release(recovery, error)
        raise


def _claim(recovery_id: uuid.UUID | str) -> Recovery | None:
    claimed = (
        overdue()
        .filter(pk=recovery_id)
        .update(
            state=RecoveryState.MERGING,
            fence=F("fence") + 1,
            attempts=F("attempts") + 1,
            lease_until=_lease(),
        )
    )
    return (
        Recovery.objects.select_related("client__user", "reset", "upload").get(pk=recovery_id)
        if claimed
        else None
    )


def _lease() -> int:
    return now() + int(conf.get("RECOVERY_LEASE") * 1_000_000)


def _release(recovery: Recovery, error: Exception) -> None:
    failed = recovery.attempts >= MAX_ATTEMPTS or isinstance(error, ProtocolError)
    problem = {"code": "crashed", "detail": f"{type(error).__name__}: {str(error)[:500]}"}
    Recovery.objects.filter(pk=recovery.pk, fence=recovery.fence).update(
        state=RecoveryState.FAILED if failed else RecoveryState.QUEUED,
        lease_until=0,
        problem=problem,
        finished=now() if failed else None,
    )
    if failed:
        recovery.refresh_from_db()
        recovery_finished.send_robust(sender=Recovery, recovery=recovery)


def _merge_all(recovery: Recovery) -> None:
    with open_snapshot(recovery.upload) as stream:
        lines = _numbered(SnapshotReader(stream, snapshot_limits()))
        chunk: list[Numbered] = []
        for line in lines:
            if line.number <= recovery.position:
                continue
            chunk.append(line)
            if len(chunk) >= conf.get("RECOVERY_CHUNK"):
                _merge_chunk(recovery, chunk)
                chunk = []
        if chunk:
            _merge_chunk(recovery, chunk)


def _numbered(reader: SnapshotReader) -> Iterator[Numbered]:
    seen: set[tuple[str, str, str]] = set()
    for number, line in enumerate(reader, start=1):
        repeats = False
        if not isinstance(line, MalformedLine | UpdateLine):
            key = (type(line).__name__, line.model, line.pk)
            repeats = key in seen
            seen.add(key)
        yield Numbered(number=number, line=line, repeats=repeats)


def _merge_chunk(recovery: Recovery, chunk: list[Numbered]) -> None:
    with transaction.atomic():
        _hold(recovery)
        author = _author(recovery)
        derived = derive(chunk, _rules(recovery), author.scopes)
        items = _merge(recovery, derived, author)
        save_items(items)
        recovery.position = chunk[-1].number
        recovery.changes += len(derived)
        recovery.unchanged += len(chunk) - len({change.number for change in derived})
        Recovery.objects.filter(pk=recovery.pk).update(
            position=recovery.position,
            changes=recovery.changes,
            unchanged=recovery.unchanged,
            totals=totals(Item.objects.filter(recovery=recovery)),
        )


def _hold(recovery: Recovery) -> None:
    """Renew the lease as the transaction's first statement, which also locks the row against another claim."""
    held = Recovery.objects.filter(pk=recovery.pk, fence=recovery.fence, position=recovery.position).update(
        lease_until=_lease()
    )
    if not held:
        raise LeaseLost


def _author(recovery: Recovery) -> Author:
    user = recovery.client.user
    cursor = _cursor(recovery)
    return Author(
        client=recovery.client,
        user=user,
        scopes=scopes_of(user),
        seen=0 if cursor is None or recovery.healing else cursor.number,
        received=now(),
        offset=recovery.clock_offset,
    )


def _cursor(recovery: Recovery) -> Cursor | None:
    if recovery.checkpoint is None:
        return None
    try:
        return decode_cursor(recovery.checkpoint)
    except Malformed:
        return None


def _rules(recovery: Recovery) -> Rules:
    known = dict(LastSynced.objects.filter(client=recovery.client).values_list("model", "at"))
    told = recovery.last_synced
    cursor = _cursor(recovery)
    return Rules(
        strategy=recovery.strategy,
        last_synced={
            model: min(told.get(model, known.get(model, 0)), known.get(model, told.get(model, 0)))
            for model in {*known, *told}
        },
        healing=recovery.healing,
        purged=cursor is None or cursor.number < feed_state().horizon,
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
                result.change,
                _kept_for_review(result.outcome),
                before=result.before,
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


def _retry_references(recovery: Recovery) -> None:
    """What referred to a row that a later chunk brought is merged again, all of it together, so that cycles close."""
    with transaction.atomic():
        _hold(recovery)
        waiting = list(
            Item.objects.filter(recovery=recovery, state=ItemState.PARKED, code="invalid_reference").order_by(
                "line", "part"
            )
        )
        if not waiting:
            return
        results = apply_changes([change_from_json(item.change) for item in waiting], _author(recovery))
        for item, result in zip(waiting, results, strict=True):
            renewed = item_for(recovery.client, result.change, result.outcome, before=result.before)
            item.state, item.code, item.problem = renewed.state, renewed.code, renewed.problem
            item.fields, item.before = renewed.fields, renewed.before
        Item.objects.bulk_update(waiting, ["state", "code", "problem", "fields", "before"], batch_size=200)


def _finish(recovery: Recovery) -> str:
    """Close the ledger: its sums, counted anew, must be those of the snapshot."""
    with transaction.atomic():
        _hold(recovery)
        counted = totals(Item.objects.filter(recovery=recovery))
        lines = Item.objects.filter(recovery=recovery).values("line").distinct().count()
        problem: dict[str, Any] | None = None
        state = RecoveryState.REVIEW if counted[ItemState.PARKED] else RecoveryState.DONE
        if sum(counted.values()) != recovery.changes or lines + recovery.unchanged != recovery.total:
            state = RecoveryState.FAILED
            problem = {
                "code": "ledger_mismatch",
                "detail": f"the ledger has {sum(counted.values())} items over {lines} lines, but {recovery.changes} "
                f"changes were merged and {recovery.total - recovery.unchanged} lines carried some",
            }
        Recovery.objects.filter(pk=recovery.pk).update(
            state=state, totals=counted, problem=problem, lease_until=0, finished=now()
        )
    recovery.refresh_from_db()
    recovery_finished.send_robust(sender=Recovery, recovery=recovery)
    return str(state)
