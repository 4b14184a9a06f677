"""One look at the feed: which scopes were touched since the last one."""

from ..feed.checkpoints import stamp_portions
from ..feed.entries import scopes_after

#: Scopes that were touched; None: too many to name, or nobody knows which.
Touched = frozenset[str] | None

NOTHING: Touched = frozenset()

#: More scopes than these are not named one by one.
MOST_SCOPES = 1000


def newest() -> int:
    """The number of the newest checkpoint, once everything that is committed has one."""
    return stamp_portions().newest.number


def touched_since(seen: int) -> tuple[int, Touched]:
    """The newest checkpoint's number, and what was touched after checkpoint ``seen``.

    A number below ``seen`` is that of a restored database: who knows what it has lost.
    """
    number = newest()
    if number == seen:
        return number, NOTHING
    if number < seen:
        return number, None
    scopes = scopes_after(seen, limit=MOST_SCOPES + 1)
    return number, None if len(scopes) > MOST_SCOPES else frozenset(scopes)
