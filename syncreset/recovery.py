"""Recoveries from the outside: queue the merge of a snapshot, a preview, an undoing; run what is queued."""

import logging
import uuid
from typing import Any

from django.db import transaction
from django.db.models import F

from .clients import SyncUser
from .ledger import Item, ItemState, save_items, totals
from .merging import merge_snapshot
from .protocol import ProtocolError, now
from .recovery_job import LeaseLost, Recovery, RecoveryKind, RecoveryState, claim, hold, overdue
from .resets import Reset
from .schemas import published
from .signals import recovery_finished, recovery_queued
from .undoing import undo_items
from .uploads import Upload, check_snapshot

__all__ = [
    "CannotRepeat",
    "CannotUndo",
    "Recovery",
    "RecoveryKind",
    "RecoveryState",
    "finish_upload",
    "first_recovery",
    "overdue",
    "preview",
    "recover_again",
    "reset_state",
    "run",
    "settle",
    "telling_recovery",
    "undo",
]

logger = logging.getLogger(__name__)

#: A recovery that crashed this often is failed, with everything kept, for a person to look at.
MAX_ATTEMPTS = 5


class CannotUndo(ProtocolError):
    """The recovery has not been merged, is only a preview, or is undone already."""

    status = 409
    code = "cannot_undo"


class CannotRepeat(ProtocolError):
    """What undoes another recovery cannot be recovered or previewed."""

    status = 409
    code = "cannot_repeat"


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
    return reset.recoveries.filter(kind=RecoveryKind.MERGE).order_by("created").first()


def telling_recovery(reset: Reset) -> Recovery | None:
    """The recovery that a device is told of: the first, or where that failed or was undone, the newest that did not."""
    first = first_recovery(reset)
    if first is None or first.state not in (RecoveryState.FAILED, RecoveryState.UNDONE):
        return first
    others = reset.recoveries.filter(kind=RecoveryKind.MERGE)
    ended_well = others.exclude(state__in=[RecoveryState.FAILED, RecoveryState.UNDONE])
    return ended_well.order_by("-created").first() or first


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
        Upload.objects.filter(pk=upload.pk).update(refused="")
        return _queue(
            Recovery(
                reset=upload.reset,
                client=upload.reset.client,
                upload=upload,
                strategy=upload.strategy or header.strategy,
                healing=upload.reset.full,
                full=header.full,
                schema=header.schema,
                checkpoint=header.checkpoint,
                last_synced=dict(header.last_synced),
                clock_offset=upload.created - header.client_time if header.client_time else 0,
                **counts,
            )
        )


def recover_again(recovery: Recovery, *, strategy: str | None = None, by: SyncUser | None = None) -> Recovery:
    """Queue another recovery of the same snapshot. What is merged already turns out identical.

    A ``strategy`` named here goes before that of the snapshot, the models and the settings.
    """
    return _repeat(recovery, RecoveryKind.MERGE, strategy, by)


def preview(recovery: Recovery, *, strategy: str | None = None, by: SyncUser | None = None) -> Recovery:
    """Queue a dry run: the same ledger as a recovery would have now, and nothing written.

    It runs in one transaction, which is undone, so it holds its locks for as long as the whole recovery takes.
    """
    return _repeat(recovery, RecoveryKind.PREVIEW, strategy, by)


def undo(recovery: Recovery, *, by: SyncUser | None = None) -> Recovery:
    """Queue the undoing of a recovery: its rows are given back as they were.

    What was changed since is a conflict, parked and never overwritten. Raises CannotUndo.
    """
    if recovery.kind != RecoveryKind.MERGE or recovery.state not in (
        RecoveryState.DONE,
        RecoveryState.REVIEW,
    ):
        raise CannotUndo(
            f"{recovery} is {recovery.get_state_display()}: only a finished recovery can be undone"
        )
    undoing = _copy(recovery, RecoveryKind.UNDO, None, by)
    undoing.undoes = recovery
    undoing.rows = undoing.tombstones = undoing.updates = 0
    with transaction.atomic():
        return _queue(undoing)


def _repeat(recovery: Recovery, kind: RecoveryKind, strategy: str | None, by: Any) -> Recovery:
    if recovery.kind == RecoveryKind.UNDO:
        raise CannotRepeat(f"{recovery} has no snapshot of its own: recover the one that it undoes again")
    with transaction.atomic():
        return _queue(_copy(recovery, kind, strategy, by))


def _copy(recovery: Recovery, kind: RecoveryKind, strategy: str | None, by: Any) -> Recovery:
    return Recovery(
        kind=kind,
        reset=recovery.reset,
        client=recovery.client,
        upload=recovery.upload,
        strategy=strategy or recovery.strategy,
        strategy_chosen=recovery.strategy_chosen if strategy is None else True,
        healing=recovery.healing,
        full=recovery.full,
        schema=recovery.schema,
        checkpoint=recovery.checkpoint,
        last_synced=recovery.last_synced,
        clock_offset=recovery.clock_offset,
        rows=recovery.rows,
        tombstones=recovery.tombstones,
        updates=recovery.updates,
        created_by=by,
    )


def _queue(recovery: Recovery) -> Recovery:
    recovery.save(force_insert=True)
    transaction.on_commit(lambda: recovery_queued.send_robust(sender=Recovery, recovery=recovery))
    return recovery


def run(recovery_id: uuid.UUID | str) -> str:
    """Bring a recovery from where it stands to its end. Returns its state.

    Safe to be called at any time and any number of times at once: without the lease it does nothing; killed anywhere,
    the next call goes on behind the last chunk that was committed.
    """
    recovery = claim(recovery_id)
    if recovery is None:
        return str(Recovery.objects.values_list("state", flat=True).get(pk=recovery_id))
    try:
        if recovery.kind == RecoveryKind.PREVIEW:
            _rehearse(recovery)
        elif recovery.kind == RecoveryKind.UNDO:
            undo_items(recovery)
        else:
            merge_snapshot(recovery)
        return _finish(recovery)
    except LeaseLost:
        logger.info("recovery %s is being merged by another worker", recovery.pk)
        return str(RecoveryState.MERGING)
    except Exception as error:
        _release(recovery, error)
        raise


def _rehearse(recovery: Recovery) -> None:
    """Merge everything, remember the ledger, undo it all, and write the ledger alone."""
    with transaction.atomic():
        merge_snapshot(recovery)
        items = list(Item.objects.filter(recovery=recovery))
        transaction.set_rollback(True)
    reached, recovery.position = recovery.position, 0
    with transaction.atomic():
        hold(recovery)
        for item in items:
            item.wrote = False
        save_items(items)
        recovery.position = reached
        Recovery.objects.filter(pk=recovery.pk).update(
            position=reached,
            changes=recovery.changes,
            unchanged=recovery.unchanged,
            absent=recovery.absent,
        )


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


def _finish(recovery: Recovery) -> str:
    """Close the ledger: its sums, counted anew, must be those of the snapshot."""
    with transaction.atomic():
        hold(recovery)
        problem = None if recovery.kind == RecoveryKind.UNDO else _mismatch(recovery)
        Recovery.objects.filter(pk=recovery.pk).update(problem=problem, lease_until=0, finished=now())
        if problem is None:
            settle(recovery)
        else:
            Recovery.objects.filter(pk=recovery.pk).update(state=RecoveryState.FAILED)
        if recovery.undoes is not None:
            Recovery.objects.filter(pk=recovery.undoes.pk).update(state=RecoveryState.UNDONE)
    recovery.refresh_from_db()
    recovery_finished.send_robust(sender=Recovery, recovery=recovery)
    return recovery.state


def _mismatch(recovery: Recovery) -> dict[str, str] | None:
    items = Item.objects.filter(recovery=recovery)
    count, lines = items.count(), items.values("line").distinct().count()
    if count == recovery.changes and lines + recovery.unchanged == recovery.total + recovery.absent:
        return None
    detail = (
        f"the ledger has {count} items over {lines} lines, but {recovery.changes} changes were merged, and "
        f"{recovery.total + recovery.absent - recovery.unchanged} lines carried some"
    )
    return {"code": "ledger_mismatch", "detail": detail}


def settle(recovery: Recovery) -> None:
    """Let a finished recovery's totals and state say what its items do: ``review`` while one is parked.

    One that was undone stays so, whatever is decided of its items afterwards.
    """
    counted = totals(Item.objects.filter(recovery=recovery))
    state = RecoveryState.REVIEW if counted[ItemState.PARKED] else RecoveryState.DONE
    settled = Recovery.objects.filter(pk=recovery.pk)
    settled.update(totals=counted)
    settled.exclude(state=RecoveryState.UNDONE).update(state=state)
