"""How the whole stands: the feed, clients, resets, recoveries and uploads, counted for whoever runs the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)

from .clients import Client
from .feed import Checkpoint, Entry, feed_state
from .ledger import Item, ItemState
from .protocol import now
from .recovery_job import Recovery, RecoveryKind, RecoveryState
from .resets import Reset
from .schemas import PublishedSchema, current_schema
from .tracking import triggers
from .tracking.registry import tracked_models
from .uploads import Upload

__all__ = ["CLIENT_STATES", "RESET_STATES", "FeedStanding", "Overview", "overview", "with_reset_state"]

#: A client is in the first of these states that fits.
CLIENT_STATES = ("reset", "silent", "behind", "current")
RESET_STATES = ("scheduled", "ordered", "recovering", "bootstrapped", "done", "replaced")

_DAY = 24 * 60 * 60 * 1_000_000


@dataclass(frozen=True, kw_only=True)
class FeedStanding:
    """The feed: its epoch, the newest checkpoint (0: none) and its time (µs), what is purged and what is unstamped."""

    epoch: str
    checkpoint: int
    at: int | None
    horizon: int
    unstamped: int
    entries: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """``clients``: by state, every state named. ``unsynced_clients`` reported ``unsynced_changes`` at their last pull;
    ``oldest_unsynced`` are those of them unseen for longest. ``resets``: by reason, then by state. ``attention``: the
    recoveries that failed or wait for a person, the newest first. ``triggers``: tables whose triggers are wrong.
    """

    at: int
    feed: FeedStanding
    clients: Mapping[str, int]
    unsynced_clients: int
    unsynced_changes: int
    oldest_unsynced: list[Client]
    resets: Mapping[str, Mapping[str, int]]
    recoveries: Mapping[str, int]
    attention: list[Recovery]
    parked: int
    uploads: Mapping[str, int]
    triggers: list[str]
    schema: str
    schemas_published: int
    old_schema_clients: int


def overview(*, silent_days: int = 30, named: int = 10) -> Overview:
    """Count everything. Lists hold at most ``named`` records."""
    at = now()
    unsynced = Client.objects.filter(pending__gt=0)
    sums = unsynced.aggregate(clients=Count("pk"), changes=Sum("pending"))
    merges = Recovery.objects.filter(kind=RecoveryKind.MERGE)
    schema = current_schema()["hash"]
    feed = _feed_standing()
    return Overview(
        at=at,
        feed=feed,
        clients=_clients(feed.checkpoint, at, silent_days),
        unsynced_clients=sums["clients"],
        unsynced_changes=sums["changes"] or 0,
        oldest_unsynced=list(
            unsynced.select_related("user").defer("recent", "scopes").order_by("last_seen")[:named]
        ),
        resets=_resets(),
        recoveries=_counted(merges, "state", RecoveryState.values),
        attention=list(
            _wanting().select_related("client__user").defer("last_synced").order_by("-created")[:named]
        ),
        parked=Item.objects.filter(state=ItemState.PARKED)
        .exclude(recovery__kind=RecoveryKind.PREVIEW)
        .count(),
        uploads=_uploads(at),
        triggers=[table.name for table in triggers.missing_or_stale(connection, tracked_models())],
        schema=schema,
        schemas_published=PublishedSchema.objects.count(),
        old_schema_clients=Client.objects.exclude(schema__in=[schema, ""]).count(),
    )


def with_reset_state(resets: "QuerySet[Any]") -> "QuerySet[Any]":
    """Resets with `syncreset.recovery.reset_state` as ``standing``, in one query.

    Two states more than the protocol has: ``scheduled``, not due yet, and ``replaced`` by another reset.
    """
    first = Recovery.objects.filter(reset=OuterRef("pk"), kind=RecoveryKind.MERGE).order_by("created")
    annotated: QuerySet[Any] = resets.annotate(
        first_recovery_state=Subquery(first.values("state")[:1])
    ).annotate(
        standing=Case(
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


def _wanting() -> "QuerySet[Recovery]":
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


def _feed_standing() -> FeedStanding:
    state = feed_state()
    newest = Checkpoint.objects.order_by("-number").first()
    return FeedStanding(
        epoch=state.epoch,
        checkpoint=0 if newest is None else newest.number,
        at=None if newest is None else newest.at,
        horizon=state.horizon,
        unstamped=Entry.objects.filter(checkpoint__isnull=True).count(),
        entries=Entry.objects.count(),
    )


def _clients(newest: int, at: int, silent_days: int) -> dict[str, int]:
    due = Reset.objects.filter(
        client=OuterRef("pk"), bootstrapped__isnull=True, replaced__isnull=True, not_before__lte=at
    )
    placed = Client.objects.annotate(
        standing=Case(
            When(Exists(due), then=Value("reset")),
            When(last_seen__lt=at - silent_days * _DAY, then=Value("silent")),
            When(Q(checkpoint__isnull=True) | Q(checkpoint__lt=newest), then=Value("behind")),
            default=Value("current"),
            output_field=CharField(),
        )
    )
    return _counted(placed, "standing", CLIENT_STATES)


def _resets() -> dict[str, dict[str, int]]:
    """By reason and state: only what there is."""
    counted: dict[str, dict[str, int]] = {}
    rows = (
        with_reset_state(Reset.objects.all())
        .order_by()
        .values_list("reason", "standing")
        .annotate(count=Count("pk"))
    )
    for reason, state, count in rows:
        counted.setdefault(reason, {})[state] = count
    return {reason: counted[reason] for reason in sorted(counted)}


def _uploads(at: int) -> dict[str, int]:
    partial = Q(offset__lt=F("length"))
    kinds = {
        "receiving": partial & Q(expires__gte=at),
        "expired": partial & Q(expires__lt=at),
        "refused": ~Q(refused=""),
        "waiting": Q(offset=F("length"), refused="", recoveries__isnull=True),
    }
    # An aggregate that is named like a column would hide it from the others.
    counted = Upload.objects.aggregate(
        **{f"{kind}_count": Count("pk", filter=among, distinct=True) for kind, among in kinds.items()}
    )
    return {kind: counted[f"{kind}_count"] for kind in kinds}


def _counted(records: "QuerySet[Any]", column: str, states: Any) -> dict[str, int]:
    counted = dict.fromkeys((str(state) for state in states), 0)
    for state, count in records.order_by().values_list(column).annotate(count=Count("pk")):
        counted[state] = count
    return counted
