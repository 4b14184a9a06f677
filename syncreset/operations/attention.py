"""What needs a person: one queryset for each kind, for counts and for the lists that they lead to."""

from django.db import connection
from django.db.models import Exists, F, OuterRef, QuerySet

from ..clients.resets import Reset
from ..ledger.item import Item, ItemState
from ..protocol.clock import now
from ..recovery.job import Recovery, RecoveryKind, RecoveryState, overdue
from ..recovery.uploads import Upload, storage
from ..tracking.registry import tracked_models
from ..tracking.triggers import install as triggers
from .states import with_upload_state

#: How many seconds nobody has worked on a recovery before it is more than a wait for the next sweep.
IDLE_SECONDS = 5 * 60
#: How many snapshots are looked for in the storage at most, the newest first.
_LOOKED_FOR = 100
#: How long (µs) a client that must reset may stay away before somebody should ask for it.
_OVERDUE = 7 * 24 * 60 * 60 * 1_000_000


def parked_items() -> "QuerySet[Item]":
    """Items that wait for a decision. Those of a preview wait for nothing: nothing of it was written."""
    return Item.objects.filter(state=ItemState.PARKED).exclude(recovery__kind=RecoveryKind.PREVIEW)


def unsettled_recoveries() -> "QuerySet[Recovery]":
    """Recoveries that failed or wait for a person, unless a later one of the same snapshot has done it all."""
    later = Recovery.objects.filter(
        upload=OuterRef("upload"),
        kind=RecoveryKind.MERGE,
        state=RecoveryState.DONE,
        created__gt=OuterRef("created"),
    )
    return Recovery.objects.filter(
        ~Exists(later), state__in=[RecoveryState.FAILED, RecoveryState.REVIEW]
    ).exclude(kind=RecoveryKind.PREVIEW)


def idle_recoveries(*, seconds: int = IDLE_SECONDS) -> "QuerySet[Recovery]":
    """Recoveries that nobody has worked on for so long: the worker or the beat does not run, or they cannot go on."""
    long_ago = now() - seconds * 1_000_000
    return overdue().filter(lease_until__lt=long_ago, created__lt=long_ago)


def overdue_resets() -> "QuerySet[Reset]":
    """Resets that fell due long ago, and whose client has not come back to download afresh."""
    return Reset.objects.open().filter(not_before__lt=now() - _OVERDUE)


def refused_uploads() -> "QuerySet[Upload]":
    """Snapshots that came whole and were no valid ones; they are kept, and nothing of them is recovered."""
    refused: QuerySet[Upload] = with_upload_state(Upload.objects.all()).filter(state="refused")
    return refused


def missing_files(*, named: int) -> dict[str, str]:
    """Snapshots that are still needed and not whole in the storage: at most so many, each with a file that is missing.

    Needed is what is not merged yet, nor a later snapshot of the same reset.
    """
    settled = Recovery.objects.filter(
        reset=OuterRef("reset"), kind=RecoveryKind.MERGE, state__in=[RecoveryState.DONE, RecoveryState.REVIEW]
    )
    needed = Upload.objects.filter(~Exists(settled), purged__isnull=True, offset=F("length"))
    missing: dict[str, str] = {}
    for upload in needed.prefetch_related("pieces").order_by("-created")[:_LOOKED_FOR]:
        lost = (piece.name for piece in upload.pieces.all() if not storage().exists(piece.name))
        if len(missing) < named and (name := next(lost, None)) is not None:
            missing[str(upload.pk)] = name
    return missing


def wrong_triggers() -> list[str]:
    """The tables whose triggers are missing or stale."""
    return [table.name for table in triggers.missing_or_stale(connection, tracked_models())]
