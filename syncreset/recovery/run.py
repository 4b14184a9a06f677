"""Recoveries from the outside: queue the merge of a snapshot, a preview, an undoing; run what is queued."""

import logging
import uuid

from django.db import transaction

from ..clients.client import note_told
from ..ledger.item import Item
from ..ledger.record import save_items
from ..protocol.clock import now
from ..protocol.errors import ProtocolError, TooLarge
from ..signals import recovery_finished
from .check import SnapshotRefused
from .intake import require_checked
from .job import LeaseLost, Recovery, RecoveryKind, RecoveryState, claim, hold, settle
from .merge.snapshot import merge_snapshot
from .undo import undo_items
from .uploads import SnapshotMissing

logger = logging.getLogger(__name__)

#: A recovery that crashed this often is failed, with everything kept, for a person to look at.
MAX_ATTEMPTS = 5


def run(recovery_id: uuid.UUID | str) -> str:
    """Bring a recovery from where it stands to its end. Returns its state.

    Safe to be called at any time and any number of times at once: without the lease it does nothing; killed anywhere,
    the next call goes on behind the last chunk that was committed.
    """
    recovery = claim(recovery_id)
    if recovery is None:
        return str(Recovery.objects.values_list("state", flat=True).get(pk=recovery_id))
    try:
        _work_through(recovery)
        return _finish(recovery)
    except LeaseLost:
        logger.info("recovery %s is being merged by another worker", recovery.pk)
        return str(RecoveryState.MERGING)
    except SnapshotMissing as missing:
        logger.error("recovery %s: %s", recovery.pk, missing.detail)
        return _release(recovery, {"code": missing.code, "detail": missing.detail}, failed=_is_last(recovery))
    except (SnapshotRefused, TooLarge) as refused:
        return _release(recovery, {"code": refused.code, "detail": refused.detail}, failed=True)
    except Exception as error:
        problem = {"code": "crashed", "detail": f"{type(error).__name__}: {str(error)[:500]}"}
        _release(recovery, problem, failed=_is_last(recovery) or isinstance(error, ProtocolError))
        raise


def _work_through(recovery: Recovery) -> None:
    if recovery.kind == RecoveryKind.UNDO:
        undo_items(recovery)
        return
    require_checked(recovery)
    if recovery.kind == RecoveryKind.PREVIEW:
        _rehearse(recovery)
    else:
        merge_snapshot(recovery)


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


def _is_last(recovery: Recovery) -> bool:
    return recovery.attempts >= MAX_ATTEMPTS


def _release(recovery: Recovery, problem: dict[str, str], *, failed: bool) -> str:
    """Give the lease back: the next sweep tries again, unless it has failed for good. Returns the state."""
    Recovery.objects.filter(pk=recovery.pk, fence=recovery.fence).update(
        state=RecoveryState.FAILED if failed else RecoveryState.QUEUED,
        lease_until=0,
        problem=problem,
        finished=now() if failed else None,
    )
    recovery.refresh_from_db()
    if failed:
        recovery_finished.send_robust(sender=Recovery, recovery=recovery)
    return recovery.state


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
        note_told(recovery.client_id)
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
