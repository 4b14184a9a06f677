"""What is kept for how long: tombstones, snapshots, uploads, items of pushes, unused clients, files nobody names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery, Sum

from .. import conf
from ..apply.counted import forget_counted
from ..clients.client import Client
from ..feed import checkpoints as feed
from ..ledger.item import Item, ItemState
from ..protocol.clock import now
from ..recovery.job import Recovery, RecoveryKind, RecoveryState
from ..recovery.uploads import Piece, Upload, discard_pieces, storage, terminate

#: Time (µs) that a request may still be at work on an upload that has expired, or on a piece not yet entered.
_GRACE = 60 * 60 * 1_000_000

#: Records that one statement deletes.
_AT_ONCE = 500

#: Where the storage keeps the pieces: a folder for each upload.
_FOLDER = "syncreset"


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What a purge removed, or in a rehearsal would have removed.

    ``entries``: tombstones and departures, after which the feed begins at checkpoint ``horizon``. ``expired``: clients
    that stopped before it and must reset, with ``unsynced`` changes among them, as they last reported. ``uploads``:
    unfinished ones that have expired. ``snapshots``: of recoveries long done. ``refused``: snapshots that were refused
    long ago. ``items``: of pushes, that wait for nobody. ``clients``: that never synced. ``orphans``: files that no
    upload names, None where the storage cannot list its files. ``bytes``: of uploads and snapshots.
    """

    entries: int
    horizon: int
    expired: int
    unsynced: int
    uploads: int
    snapshots: int
    refused: int
    items: int
    clients: int
    orphans: int | None
    bytes: int


def purge(
    *,
    dry_run: bool = False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Purged:
    """Remove what the settings of retention no longer keep.

    Snapshots whose last recovery failed, was undone or waits for a person are never removed, nor is anything that is
    parked: they may hold the only copy of somebody's work. Safe to run at any time, and again after it was interrupted.
    ``on_step`` hears how many of all steps are done.
    """
    at = now()
    uploads = list(_expired_uploads(at))
    snapshots = list(_finished_snapshots(at))
    refused = list(_refused_snapshots(at))
    steps = 2 + len(uploads) + len(snapshots) + len(refused)
    size = sum(upload.offset for upload in [*uploads, *snapshots, *refused])
    on_step(0, steps)
    entries, horizon, expired, unsynced = _purge_feed(at, dry_run=dry_run)
    on_step(1, steps)
    for done, (upload, remove) in enumerate(
        [
            *((upload, terminate) for upload in [*uploads, *refused]),
            *((upload, discard_pieces) for upload in snapshots),
        ]
    ):
        if not dry_run:
            remove(upload)
        on_step(2 + done, steps)
    items = _remove(_old_items(at), dry_run=dry_run)
    clients = _remove(_unused_clients(at), dry_run=dry_run)
    orphans = _sweep_storage(at, dry_run=dry_run)
    on_step(steps, steps)
    return Purged(
        entries=entries,
        horizon=horizon,
        expired=expired,
        unsynced=unsynced,
        uploads=len(uploads),
        snapshots=len(snapshots),
        refused=len(refused),
        items=items,
        clients=clients,
        orphans=orphans,
        bytes=size,
    )


def _purge_feed(at: int, *, dry_run: bool) -> tuple[int, int, int, int]:
    """A rehearsal does it in earnest and rolls it back, so that it can say nothing else than the purge itself."""
    with transaction.atomic():
        before = feed.feed_state().horizon
        kept_since = at - int(conf.get("RETENTION") * 1_000_000)
        count = feed.purge(kept_since)
        forget_counted(kept_since)
        horizon = feed.feed_state().horizon
        left_behind = Client.objects.filter(checkpoint__gte=before, checkpoint__lt=horizon)
        unsynced = left_behind.aggregate(pending=Sum("pending"))["pending"] or 0
        expired = left_behind.count()
        if dry_run:
            transaction.set_rollback(True)
    return count, horizon, expired, unsynced


def _expired_uploads(at: int) -> "models.QuerySet[Upload]":
    return Upload.objects.filter(expires__lt=at - _GRACE, offset__lt=F("length"), recoveries__isnull=True)


def _finished_snapshots(at: int) -> "models.QuerySet[Upload]":
    """Snapshots whose last merge is done for long enough, and which no recovery is reading."""
    since = at - int(conf.get("SNAPSHOT_RETENTION") * 1_000_000)
    recoveries = Recovery.objects.filter(upload=OuterRef("pk"))
    last = recoveries.filter(kind=RecoveryKind.MERGE).order_by("-created", "-pk")
    return Upload.objects.annotate(
        last_state=Subquery(last.values("state")[:1]), last_finished=Subquery(last.values("finished")[:1])
    ).filter(
        ~Exists(recoveries.filter(Q(finished__isnull=True) | Q(finished__gte=since))),
        last_state=RecoveryState.DONE,
        last_finished__lt=since,
        purged__isnull=True,
    )


def _since(at: int, setting: str) -> int:
    return at - int(conf.get(setting) * 1_000_000)


def _refused_snapshots(at: int) -> "models.QuerySet[Upload]":
    whole = Upload.objects.filter(offset=F("length"), recoveries__isnull=True, purged__isnull=True)
    return whole.exclude(refused="").filter(created__lt=_since(at, "REFUSED_RETENTION"))


def _old_items(at: int) -> "models.QuerySet[Item]":
    """Items of pushes that were made and decided long ago, or never had to be. What is parked is never among them."""
    since = _since(at, "ITEM_RETENTION")
    items = Item.objects.filter(recovery__isnull=True, created__lt=since).exclude(state=ItemState.PARKED)
    return items.filter(Q(resolved__isnull=True) | Q(resolved__lt=since))


def _unused_clients(at: int) -> "models.QuerySet[Client]":
    """Clients that have never pulled to an end, nor pushed, nor been told to reset."""
    seen = Client.objects.filter(last_seen__lt=_since(at, "UNUSED_CLIENT_RETENTION"), pushes=0)
    return seen.filter(
        last_synced__isnull=True, resets__isnull=True, items__isnull=True, recoveries__isnull=True
    )


def _remove(records: "models.QuerySet[Any]", *, dry_run: bool) -> int:
    """Delete records, some at a time. Returns how many there were."""
    keys = list(records.order_by().values_list("pk", flat=True))
    for start in range(0, 0 if dry_run else len(keys), _AT_ONCE):
        # Asked once more: what has been used meanwhile stays.
        records.filter(pk__in=keys[start : start + _AT_ONCE]).delete()
    return len(keys)


def _sweep_storage(at: int, *, dry_run: bool) -> int | None:
    """Remove the files that an interrupted request or purge has left. None where the storage cannot list files."""
    count = 0
    try:
        for folder in _listed(_FOLDER, folders=True):
            path = f"{_FOLDER}/{folder}"
            names = [f"{path}/{name}" for name in _listed(path)]
            known = set(Piece.objects.filter(name__in=names).values_list("name", flat=True))
            orphans = [name for name in names if name not in known and _is_older(name, at - _GRACE)]
            count += len(orphans)
            if not dry_run:
                _delete_files(path, orphans, empties=len(orphans) == len(names))
    except NotImplementedError:
        return None
    return count


def _delete_files(path: str, names: Sequence[str], *, empties: bool) -> None:
    for name in names:
        storage().delete(name)
    if empties and not Upload.objects.filter(pk=path.rpartition("/")[2], purged__isnull=True).exists():
        storage().delete(path)


def _listed(path: str, *, folders: bool = False) -> list[str]:
    try:
        return sorted(storage().listdir(path)[0 if folders else 1])
    except FileNotFoundError:
        return []


def _is_older(name: str, than: int) -> bool:
    try:
        modified = storage().get_modified_time(name)
    except FileNotFoundError:  # Somebody else has just removed it.
        return False
    if modified.tzinfo is None:
        modified = modified.astimezone()
    return modified < datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=than)
