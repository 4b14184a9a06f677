"""What needs a person: one queryset for each kind, for counts and for the lists that they lead to."""

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from ..clients.resets import Reset
from ..ledger.item import Item, ItemState
from ..protocol.clock import now
from ..recovery.job import Recovery, RecoveryKind, RecoveryState, overdue
from ..recovery.uploads import Upload
from ..tracking.registry import tracked_models
from ..tracking.triggers import install as triggers
from .states import with_upload_state

#: How long (µs) nobody has worked on a recovery before it is more than a wait for the next sweep.
_IDLE = 5 * 60 * 1_000_000
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


def idle_recoveries() -> "QuerySet[Recovery]":
    """Recoveries that nobody has worked on for minutes: the worker or the beat does not run."""
    long_ago = now() - _IDLE
    return overdue().filter(lease_until__lt=long_ago, created__lt=long_ago)


def overdue_resets() -> "QuerySet[Reset]":
    """Resets that fell due long ago, and whose client has not come back to download afresh."""
    return Reset.objects.open().filter(not_before__lt=now() - _OVERDUE)


def refused_uploads() -> "QuerySet[Upload]":
    """Snapshots that came whole and were no valid ones; they are kept, and nothing of them is recovered."""
    refused: QuerySet[Upload] = with_upload_state(Upload.objects.all()).filter(state="refused")
    return refused


def wrong_triggers() -> list[str]:
    """The tables whose triggers are missing or stale."""
    return [table.name for table in triggers.missing_or_stale(connection, tracked_models())]
