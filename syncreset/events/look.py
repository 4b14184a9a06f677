"""One look at the feed: which scopes were touched since the last one."""

from typing import NamedTuple

from ..feed.checkpoints import Checkpoint, stamp_portions
from ..feed.entries import scopes_after

#: Scopes that were touched; None: too many to name, or nobody knows which.
Touched = frozenset[str] | None

NOTHING: Touched = frozenset()

#: More scopes than these are not named one by one.
MOST_SCOPES = 1000


class Seen(NamedTuple):
    """The checkpoint up to which was looked. Its salt tells it from one that a restored database has numbered anew."""

    number: int
    salt: str


def newest() -> Seen:
    """The newest checkpoint, once everything that is committed has one."""
    checkpoint = stamp_portions().newest
    return Seen(checkpoint.number, checkpoint.salt)


def touched_since(seen: Seen) -> tuple[Seen, Touched]:
    """The newest checkpoint, and what was touched after the one ``seen``.

    Where that is not in the history any more, the database was restored or purged, and who knows what it has lost.
    """
    found = newest()
    if found == seen:
        return found, NOTHING
    if not Checkpoint.objects.filter(number=seen.number, salt=seen.salt).exists():
        return found, None
    scopes = scopes_after(seen.number, limit=MOST_SCOPES + 1)
    return found, None if len(scopes) > MOST_SCOPES else frozenset(scopes)
