"""How the whole stands: the feed, clients, resets, recoveries and uploads, counted for whoever runs the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet, Sum

from ..clients.client import Client
from ..clients.resets import Reset
from ..feed.checkpoints import Checkpoint, feed_state
from ..feed.entries import Entry
from ..protocol.clock import now
from ..recovery.job import Recovery, RecoveryKind, RecoveryState
from ..recovery.reset_state import with_reset_state
from ..recovery.uploads import Upload
from ..wire.schema import PublishedSchema, current_schema
from .attention import (
    IDLE_SECONDS,
    idle_recoveries,
    missing_files,
    parked_items,
    unsettled_recoveries,
    wrong_triggers,
)
from .states import (
    CLIENT_STATES,
    OPEN_UPLOAD_STATES,
    SILENT_DAYS,
    with_client_state,
    with_upload_state,
)


class Dashboard(Client):
    """The dashboard's place in the admin, which lists models and nothing else. It has no table and no rows."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "dashboard"


@dataclass(frozen=True, kw_only=True)
class FeedStatus:
    """The feed: its epoch, the newest checkpoint (0: none) and its time (µs), what is purged and what is unstamped."""

    epoch: str
    checkpoint: int
    at: int | None
    horizon: int
    unstamped: int
    entries: int


@dataclass(frozen=True, kw_only=True)
class Unsynced:
    """``clients`` reported ``changes`` unsynced ones at their last pull; ``oldest`` of them are unseen for longest."""

    clients: int
    changes: int
    oldest: list[Client]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything that an operator is shown at a glance, as of one time (µs)."""

    at: int
    feed: FeedStatus
    #: By state, every state named.
    clients: Mapping[str, int]
    unsynced: Unsynced
    #: By reason, then by state.
    resets: Mapping[str, Mapping[str, int]]
    #: By state, every state named.
    recoveries: Mapping[str, int]
    #: The recoveries that failed or wait for a person, the newest first.
    attention: list[Recovery]
    #: The recoveries that nobody works on, the oldest first.
    idle: list[Recovery]
    #: By upload, a file of a snapshot that is still needed and not in the storage.
    missing: Mapping[str, str]
    #: How many items wait for a person.
    parked: int
    #: By state, those of which something may still become.
    uploads: Mapping[str, int]
    #: The tables whose triggers are wrong.
    triggers: list[str]
    #: The hash of the schema of now.
    schema: str
    #: How many there have been.
    schemas_published: int
    #: How many clients are of another one.
    old_schema_clients: int


def overview(
    *, silent_days: int = SILENT_DAYS, idle_seconds: int = IDLE_SECONDS, named: int = 10
) -> Overview:
    """Count everything. Lists hold at most ``named`` records."""
    merges = Recovery.objects.filter(kind=RecoveryKind.MERGE)
    attention = unsettled_recoveries().select_related("client__user").defer("last_synced")
    idle = idle_recoveries(seconds=idle_seconds).select_related("client__user").defer("last_synced")
    schema = current_schema()["hash"]
    return Overview(
        at=now(),
        feed=_feed_status(),
        clients=clients_by_state(silent_days=silent_days),
        unsynced=unsynced(named=named),
        resets=resets_by_reason(),
        recoveries=_counted(merges, "state", RecoveryState.values),
        attention=list(attention.order_by("-created")[:named]),
        idle=list(idle.order_by("created")[:named]),
        missing=missing_files(named=named),
        parked=parked_items().count(),
        uploads=_uploads(),
        triggers=wrong_triggers(),
        schema=schema,
        schemas_published=PublishedSchema.objects.count(),
        old_schema_clients=Client.objects.exclude(schema__in=[schema, ""]).count(),
    )


def clients_by_state(*, silent_days: int = SILENT_DAYS) -> dict[str, int]:
    """How many clients are in each state."""
    return _counted(with_client_state(Client.objects.all(), silent_days=silent_days), "state", CLIENT_STATES)


def unsynced(*, named: int) -> Unsynced:
    """What clients hold that nobody else has, with at most ``named`` clients."""
    holders = Client.objects.filter(pending__gt=0)
    sums = holders.aggregate(clients=Count("pk"), changes=Sum("pending"))
    oldest = holders.select_related("user").defer("scopes").order_by("last_seen")
    return Unsynced(clients=sums["clients"], changes=sums["changes"] or 0, oldest=list(oldest[:named]))


def resets_by_reason(*, since: int = 0) -> dict[str, dict[str, int]]:
    """Resets ordered at or after a time (µs), by reason and state: only what there is."""
    counted: dict[str, dict[str, int]] = {}
    rows = (
        with_reset_state(Reset.objects.filter(created__gte=since))
        .order_by()
        .values_list("reason", "state")
        .annotate(count=Count("pk"))
    )
    for reason, state, count in rows:
        counted.setdefault(reason, {})[state] = count
    return {reason: counted[reason] for reason in sorted(counted)}


def _feed_status() -> FeedStatus:
    state = feed_state()
    newest = Checkpoint.objects.order_by("-number").first()
    return FeedStatus(
        epoch=state.epoch,
        checkpoint=0 if newest is None else newest.number,
        at=None if newest is None else newest.at,
        horizon=state.horizon,
        unstamped=Entry.objects.filter(checkpoint__isnull=True).count(),
        entries=Entry.objects.count(),
    )


def _uploads() -> dict[str, int]:
    still_open = with_upload_state(Upload.objects.all()).filter(state__in=OPEN_UPLOAD_STATES)
    return _counted(still_open, "state", OPEN_UPLOAD_STATES)


def _counted(records: "QuerySet[Any]", column: str, states: Any) -> dict[str, int]:
    counted = dict.fromkeys((str(state) for state in states), 0)
    for state, count in records.order_by().values_list(column).annotate(count=Count("pk")):
        counted[state] = count
    return counted
