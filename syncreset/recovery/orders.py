"""Recover again, preview, undo: what can be queued for a snapshot."""

from typing import Any

from django.db import transaction

from ..clients.client import SyncUser
from ..protocol.errors import ProtocolError
from ..signals import recovery_queued
from .job import Recovery, RecoveryKind, RecoveryState


class CannotUndo(ProtocolError):
    """The recovery has not been merged, is only a preview, or is undone already."""

    status = 409
    code = "cannot_undo"


class CannotRepeat(ProtocolError):
    """What undoes another recovery cannot be recovered or previewed."""

    status = 409
    code = "cannot_repeat"


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
    undoing.rows = undoing.tombstones = undoing.updates = undoing.pushed = 0
    with transaction.atomic():
        return queue(undoing)


def _repeat(recovery: Recovery, kind: RecoveryKind, strategy: str | None, by: Any) -> Recovery:
    if recovery.kind == RecoveryKind.UNDO:
        raise CannotRepeat(f"{recovery} has no snapshot of its own: recover the one that it undoes again")
    with transaction.atomic():
        return queue(_copy(recovery, kind, strategy, by))


def _copy(recovery: Recovery, kind: RecoveryKind, strategy: str | None, by: Any) -> Recovery:
    return Recovery(
        kind=kind,
        reset=recovery.reset,
        client=recovery.client,
        upload=recovery.upload,
        strategy=strategy or recovery.strategy,
        strategy_chosen=recovery.strategy_chosen if strategy is None else True,
        healing=recovery.healing,
        remembered=recovery.remembered,
        full=recovery.full,
        schema=recovery.schema,
        checkpoint=recovery.checkpoint,
        last_synced=recovery.last_synced,
        clock_offset=recovery.clock_offset,
        checked=recovery.checked,
        rows=recovery.rows,
        tombstones=recovery.tombstones,
        updates=recovery.updates,
        pushed=recovery.pushed,
        created_by=by,
    )


def queue(recovery: Recovery) -> Recovery:
    recovery.save(force_insert=True)
    transaction.on_commit(lambda: recovery_queued.send_robust(sender=Recovery, recovery=recovery))
    return recovery
