"""The feed: entries, written by triggers without a number, are stamped with a checkpoint when somebody reads.

Numbers are given out under one lock and committed in order, so a reader can never pass a row that commits late, and
writers never wait. A bulk write is stamped in portions, each a transaction and a checkpoint of its own, so that nobody
waits for more than one of them.
"""

import secrets
import uuid
from typing import Literal, NamedTuple

from django.db import models, transaction
from django.db.models import F, Max
from django.db.models.functions import Greatest

from ..locks import free_rows
from ..protocol.clock import now
from .cursor import Cursor
from .entries import Entry, EntryKind, has_unstamped

#: How many entries one checkpoint stamps at most, and how many portions are stamped at once for one reader.
PORTION = 5_000
PORTIONS = 4


class Checkpoint(models.Model):
    """A numbered, salted point of the feed. ``at`` in µs, never before the previous checkpoint's."""

    number = models.BigIntegerField(primary_key=True)
    salt = models.CharField(max_length=32)
    at = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class FeedState(models.Model):
    """The feed's single row of state: its epoch, the purge horizon, and the row that stamping locks.

    ``kept_since`` is the time (µs) since which everything is remembered: what is older may have been purged.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.CharField(max_length=36)
    horizon = models.BigIntegerField(default=0)
    kept_since = models.BigIntegerField(default=0)
    stamps = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


#: Whether the feed can continue from a checkpoint, or why it cannot.
Continuation = Literal["possible", "diverged", "expired"]


def feed_state() -> FeedState:
    """The feed's state, made at the first call."""
    state, _ = FeedState.objects.get_or_create(pk=1, defaults={"epoch": str(uuid.uuid4())})
    return state


class Stamped(NamedTuple):
    """The newest checkpoint, and whether all was stamped that nobody holds."""

    newest: Checkpoint
    whole: bool


def stamp() -> Checkpoint:
    """Number everything that has been committed, and return the newest checkpoint."""
    unstamped = Entry.objects.filter(checkpoint__isnull=True).count()
    return stamp_portions(unstamped // PORTION + 1).newest


def stamp_portions(most: int = PORTIONS) -> Stamped:
    """Number so many portions of what has been committed, at least one."""
    newest = Checkpoint.objects.order_by("-number").first()
    for _ in range(most):
        if newest is not None and not has_unstamped():
            return Stamped(newest, True)
        newest, count = _stamp_portion()
        if count < PORTION:
            return Stamped(newest, True)
    if newest is None:
        raise ValueError("at least one portion is stamped")
    return Stamped(newest, False)


def prove() -> Checkpoint:
    """A checkpoint of now. A history that holds it holds all that was committed before.

    Also what leaves no entry, as an item of the ledger. A portion of what has no number gets this one.
    """
    return _stamp_portion()[0]


def _stamp_portion() -> tuple[Checkpoint, int]:
    """A new checkpoint, and how many entries it has stamped."""
    feed_state()
    with transaction.atomic():
        # The first statement of the transaction writes: it takes the lock on every database, SQLite included.
        FeedState.objects.filter(pk=1).update(stamps=F("stamps") + 1)
        if Entry.objects.filter(checkpoint__isnull=True, kind=EntryKind.TRUNCATED).exists():
            _begin_epoch_after_truncate()
        newest = Checkpoint.objects.order_by("-number").first()
        number = 1 if newest is None else newest.number + 1
        unstamped = Entry.objects.filter(checkpoint__isnull=True).order_by("id")
        # Read first: within the update the query of a portion might run more than once.
        portion = list(free_rows(unstamped).values_list("pk", flat=True)[:PORTION])
        Entry.objects.filter(pk__in=portion).update(checkpoint=number)
        at = now() if newest is None else max(now(), newest.at + 1)
        made = Checkpoint.objects.create(number=number, salt=secrets.token_hex(8), at=at)
    return made, len(portion)


def _begin_epoch_after_truncate() -> None:
    Entry.objects.filter(kind=EntryKind.TRUNCATED).delete()
    FeedState.objects.filter(pk=1).update(epoch=str(uuid.uuid4()))


def begin_epoch() -> str:
    """Begin a new history: every client's checkpoint is of another epoch from now on. Returns the epoch."""
    state = feed_state()
    state.epoch = str(uuid.uuid4())
    state.save(update_fields=["epoch"])
    return state.epoch


def continuation(cursor: Cursor) -> Continuation:
    """Whether the feed can continue from where a client is.

    A proof of an unknown salt, or of a number above the newest, shows that the server's history is another one than the
    client's, also when a restored server has overtaken the number.
    """
    state = feed_state()
    if cursor.epoch != state.epoch:
        return "diverged"
    if cursor.number < state.horizon:
        return "expired"
    known = Checkpoint.objects.filter(number=cursor.proof).values_list("salt", flat=True).first()
    return "possible" if known == cursor.salt else "diverged"


def kept_since() -> int:
    """The time (µs) since which the server remembers everything; 0 where it has purged nothing."""
    return feed_state().kept_since


def purge(before: int) -> int:
    """Remove tombstones and departures made before a time (µs) and remember the horizon. Returns how many.

    A client whose checkpoint is older than the horizon can no longer be told of them, and gets ``checkpoint_expired``.
    """
    stamp()
    with transaction.atomic():
        FeedState.objects.filter(pk=1).update(
            stamps=F("stamps") + 1, kept_since=Greatest(F("kept_since"), before)
        )
        horizon = Checkpoint.objects.filter(at__lt=before).aggregate(newest=Max("number"))["newest"]
        if horizon is None:
            return 0
        gone = Entry.objects.filter(checkpoint__lte=horizon).exclude(kind=EntryKind.ROW)
        count, _ = gone.delete()
        FeedState.objects.filter(pk=1).update(horizon=horizon)
        Checkpoint.objects.filter(number__lt=horizon).delete()
    return count
