"""How far a reset is: one definition for the protocol, for lists, for counts and for filters."""

from typing import Any

from django.db.models import Case, CharField, Max, OuterRef, QuerySet, Subquery, Value, When

from ..clients.resets import Reset
from ..protocol.clock import now
from .job import Recovery, RecoveryKind, RecoveryState

#: A reset is in the first of these states that fits; see ``with_reset_state``.
RESET_STATES = ("scheduled", "ordered", "recovering", "bootstrapped", "done", "replaced")

#: What devices are told: to them, a reset that is not due yet or that was replaced is one with which to start.
_ON_THE_WIRE = {"scheduled": "ordered", "replaced": "ordered"}


def with_reset_state(resets: "QuerySet[Any]") -> "QuerySet[Any]":
    """Resets with their state, one of `RESET_STATES`, as ``state``, in one query."""
    first = Recovery.objects.filter(reset=OuterRef("pk"), kind=RecoveryKind.MERGE).order_by("created")
    annotated: QuerySet[Any] = resets.annotate(
        first_recovery_state=Subquery(first.values("state")[:1])
    ).annotate(
        state=Case(
            When(
                first_recovery_state__in=[RecoveryState.QUEUED, RecoveryState.MERGING],
                then=Value("recovering"),
            ),
            When(bootstrapped__isnull=True, replaced__isnull=False, then=Value("replaced")),
            When(bootstrapped__isnull=True, not_before__gt=now(), then=Value("scheduled")),
            When(bootstrapped__isnull=True, then=Value("ordered")),
            When(first_recovery_state__isnull=True, then=Value("bootstrapped")),
            default=Value("done"),
            output_field=CharField(),
        )
    )
    return annotated


def reset_state(reset: Reset) -> str:
    """``ordered``, ``bootstrapped``, ``recovering`` or ``done`` (protocol, "GET /resets/{id}")."""
    state: str = with_reset_state(Reset.objects.filter(pk=reset.pk)).values_list("state", flat=True).get()
    return _ON_THE_WIRE.get(state, state)


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
