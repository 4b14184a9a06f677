"""How far a reset is: one definition for the protocol, for lists, for counts and for filters."""

from typing import Any

from django.db.models import Case, CharField, Exists, Max, OuterRef, Q, QuerySet, Value, When

from ..clients.resets import Reset
from ..protocol.clock import now
from .job import Recovery, RecoveryKind, RecoveryState

#: A reset is in one of these states (protocol, "GET /resets/{id}"); which one, see ``with_reset_state``.
RESET_STATES = (
    "scheduled",
    "ordered",
    "recovering",
    "recovered",
    "bootstrapped",
    "done",
    "discarded",
    "failed",
    "expired",
    "replaced",
)

#: The modes of a client that uploads nothing; under the first its app has taken over what it wanted.
_HANDED_OVER, _DISCARDED = "manual", "discard"


def with_reset_state(resets: "QuerySet[Any]") -> "QuerySet[Any]":
    """Resets with their state, the first that fits of `RESET_STATES`, as ``state``, in one query."""
    merges = Recovery.objects.filter(reset=OuterRef("pk"), kind=RecoveryKind.MERGE).order_by()
    running = merges.filter(state__in=[RecoveryState.QUEUED, RecoveryState.MERGING])
    waits = Q(bootstrapped__isnull=True)
    # One that was undone had been merged: its client has its receipt.
    merged = Exists(merges.filter(state__in=[RecoveryState.DONE, RecoveryState.REVIEW, RecoveryState.UNDONE]))
    annotated: QuerySet[Any] = resets.annotate(
        state=Case(
            When(~waits & merged, then=Value("done")),
            When(Exists(running), then=Value("recovering")),
            When(waits & Q(replaced__isnull=False), then=Value("replaced")),
            When(waits & merged, then=Value("recovered")),
            When(Exists(merges), then=Value("failed")),
            When(waits & Q(not_before__gt=now()), then=Value("scheduled")),
            When(waits, then=Value("ordered")),
            When(mode=_HANDED_OVER, then=Value("done")),
            When(mode=_DISCARDED, then=Value("discarded")),
            When(deadline__lt=now(), then=Value("expired")),
            default=Value("bootstrapped"),
            output_field=CharField(),
        )
    )
    return annotated


def reset_state(reset: Reset) -> str:
    """One reset's state, as devices are told it."""
    state: str = with_reset_state(Reset.objects.filter(pk=reset.pk)).values_list("state", flat=True).get()
    return state


def first_recovery(reset: Reset) -> Recovery | None:
    """The recovery of the first snapshot that came for a reset."""
    return reset.recoveries.filter(kind=RecoveryKind.MERGE).order_by("created").first()


def reported_recovery(reset: Reset) -> Recovery | None:
    """The recovery that a device is told of: the first, or where that failed or was undone, the newest that did not."""
    first = first_recovery(reset)
    if first is None or first.state not in (RecoveryState.FAILED, RecoveryState.UNDONE):
        return first
    others = reset.recoveries.filter(kind=RecoveryKind.MERGE)
    ended_well = others.exclude(state__in=[RecoveryState.FAILED, RecoveryState.UNDONE])
    return ended_well.order_by("-created").first() or first


def resets_covered(reset: Reset) -> list[Reset]:
    """The resets whose backups a snapshot may hold: this one, and those before that none has been recovered of.

    A client that is cut off before its upload brings everything with its next reset.
    """
    earlier = Reset.objects.filter(client=reset.client_id, created__lte=reset.created).exclude(pk=reset.pk)
    recovered = earlier.filter(recoveries__isnull=False).aggregate(newest=Max("created"))["newest"]
    return [reset, *earlier.filter(recoveries__isnull=True, created__gt=recovered or 0)]
