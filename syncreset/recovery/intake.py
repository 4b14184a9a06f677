"""A finished upload is looked at, and its recovery queued; what was not read then is checked before it is merged."""

from django.db import transaction

from ..clients.resets import Reset
from ..locks import lock_row
from ..protocol.clock import now
from ..protocol.errors import ProtocolError, TooLarge
from ..wire.schema import published
from .check import SnapshotRefused, look_at, read_to_end
from .job import Recovery, RecoveryKind, hold
from .orders import queue
from .reset_state import resets_covered
from .uploads import Upload

#: How long (µs) a look at a snapshot may take before another request may think that its process died.
CHECK_LEASE = 60 * 1_000_000


class BeingChecked(ProtocolError):
    """Another request reads the snapshot at this moment. Its answer is the one to ask for again."""

    status = 503
    code = "busy"


def finish_upload(upload: Upload, *, by_operator: bool = False) -> Recovery:
    """Look at a finished upload and queue its recovery, in one transaction with the job.

    An operator may have what was refused read again, and take what a snapshot holds though its reset asked for one
    with every row.

    The same snapshot sent twice gives the first one's recovery. Another one, as of a copy of the store, has its own: no
    step of both counts twice. Raises SnapshotRefused or TooLarge for a snapshot that is broken as a whole; the upload
    is kept, and another one may be tried. Of a large one only the beginning is read here. It is read by one request at
    a time: raises BeingChecked.
    """
    existing = recovery_of_same(upload)
    if existing is not None:
        return existing
    if upload.refused and not by_operator:
        code, _, detail = upload.refused.partition(": ")
        raise ProtocolError(detail, code=code, status=upload.refused_status)
    mine = Upload.objects.filter(pk=upload.pk, checked_until__lt=now())
    if not mine.update(checked_until=now() + CHECK_LEASE):
        raise BeingChecked("the snapshot is being checked; ask again in a moment")
    try:
        return _check_and_queue(upload, by_operator=by_operator)
    finally:
        Upload.objects.filter(pk=upload.pk).update(checked_until=0)


def _check_and_queue(upload: Upload, *, by_operator: bool) -> Recovery:
    try:
        looked = look_at(upload)
        header = looked.header
        if header.reset != str(upload.reset_id):
            raise ProtocolError("the snapshot is of another reset", code="invalid_snapshot", status=422)
        if upload.reset.full and not header.full and not header.damaged and not by_operator:
            raise ProtocolError(
                "the reset says recovery.full, and the snapshot's header says full: false; begin a new upload of a "
                "snapshot with every row of the store",
                code="invalid_snapshot",
                status=422,
            )
        if published(header.schema) is None:
            raise ProtocolError(
                "this server never published the snapshot's schema; the snapshot is kept for the operator",
                code="unsupported_schema",
                status=422,
            )
    except ProtocolError as error:
        _refuse(upload, error)
        raise
    with transaction.atomic():
        # Of two uploads that finish at once the second one waits here, and then finds the first one's recovery.
        lock_row(Reset.objects.filter(pk=upload.reset_id))
        existing = recovery_of_same(upload)
        if existing is not None:
            return existing
        Upload.objects.filter(pk=upload.pk).update(refused="", refused_status=None)
        covered = resets_covered(upload.reset)
        return queue(
            Recovery(
                reset=upload.reset,
                client=upload.reset.client,
                upload=upload,
                strategy=upload.strategy or header.strategy,
                healing=any(reset.full for reset in covered),
                remembered=min(reset.synced for reset in covered),
                full=header.full,
                schema=header.schema,
                checkpoint=header.checkpoint,
                last_synced=dict(header.last_synced),
                clock_offset=upload.created - header.client_time if header.client_time else 0,
                checked=looked.counts is not None,
                **(looked.counts or {}),
            )
        )


def require_checked(recovery: Recovery) -> None:
    """Read what the request has left of a claimed recovery's snapshot. Killed anywhere, it begins anew.

    Raises SnapshotRefused or TooLarge, and the upload is refused as if the request had found it; SnapshotMissing and
    LeaseLost.
    """
    if recovery.checked:
        return
    try:
        counts = read_to_end(recovery.upload, lambda: hold(recovery))
    except (SnapshotRefused, TooLarge) as error:
        hold(recovery)
        _refuse(recovery.upload, error)
        raise
    with transaction.atomic():
        hold(recovery)
        Recovery.objects.filter(pk=recovery.pk).update(checked=True, **counts)
    recovery.refresh_from_db(fields=["checked", *counts])


def _refuse(upload: Upload, error: ProtocolError) -> None:
    Upload.objects.filter(pk=upload.pk).update(
        refused=f"{error.code}: {error.detail}", refused_status=error.status
    )


def recovery_of_same(upload: Upload) -> Recovery | None:
    """The recovery of the same bytes that came for the same reset before, and could be read."""
    same = Recovery.objects.filter(
        reset=upload.reset_id, kind=RecoveryKind.MERGE, upload__sha256=upload.sha256
    )
    return next((recovery for recovery in same.order_by("created") if not recovery.could_not_read), None)
