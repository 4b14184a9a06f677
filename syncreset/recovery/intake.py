"""A finished upload is checked, and its recovery queued."""

from django.db import transaction
from django.db.models import F

from ..clients.resets import Reset
from ..protocol.errors import ProtocolError
from ..wire.schema import published
from .job import Recovery, RecoveryKind, RecoveryState
from .orders import _queue
from .uploads import Upload, check_snapshot


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
