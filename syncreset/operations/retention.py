"""What is kept for how long: tombstones and departures, snapshots, unfinished uploads, pieces that nobody names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery, Sum

from .. import conf
from ..apply.counted import forget_counted
from ..clients.client import Client
from ..feed import checkpoints as feed
from ..protocol.clock import now
from ..recovery.job import Recovery, RecoveryKind, RecoveryState
from ..recovery.uploads import Piece, Upload, discard_pieces, storage, terminate

#: Time (µs) that a request may still be at work on an upload that has expired, or on a piece not yet entered.
_GRACE = 60 * 60 * 1_000_000

#: Where the storage keeps the pieces: a folder for each upload.
_FOLDER = "syncreset"


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What a purge removed, or in a rehearsal would have removed.

    ``entries``: tombstones and departures, after which the feed begins at checkpoint ``horizon``. ``expired``: clients
    that stopped before it and must reset, with ``unsynced`` changes among them, as they last reported. ``uploads``:
    unfinished ones that have expired. ``snapshots``: of recoveries long done. ``orphans``: files that no upload names,
    None where the storage cannot list its files. ``bytes``: of uploads and snapshots.
    """

    entries: int
    horizon: int
    expired: int
    unsynced: int
    uploads: int
    snapshots: int
    orphans: int | None
    bytes: int


def purge(
    *,
    dry_run: bool = False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Purged:
    """Remove what the settings RETENTION, UPLOAD_EXPIRY and SNAPSHOT_RETENTION no longer keep.

    Refused snapshots are never removed, nor those whose last recovery failed, was undone or waits for a person: they
    may hold the only copy of somebody's work. Safe to run at any time, and again after it was interrupted.
    ``on_step`` hears how many of all steps are done.
    """
    at = now()
    uploads = list(_expired_uploads(at))
    snapshots = list(_finished_snapshots(at))
    steps = 2 + len(uploads) + len(snapshots)
    size = sum(upload.offset for upload in [*uploads, *snapshots])
    on_step(0, steps)
    entries, horizon, expired, unsynced = _purge_feed(at, dry_run=dry_run)
    on_step(1, steps)
    for done, (upload, remove) in enumerate(
        [*((upload, terminate) for upload in uploads), *((upload, discard_pieces) for upload in snapshots)]
    ):
        if not dry_run:
            remove(upload)
        on_step(2 + done, steps)
    orphans = _sweep_storage(at, dry_run=dry_run)
    on_step(steps, steps)
    return Purged(
        entries=entries,
        horizon=horizon,
        expired=expired,
        unsynced=unsynced,
        uploads=len(uploads),
        snapshots=len(snapshots),
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
