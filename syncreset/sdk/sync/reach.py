"""How much one request may carry over this device's link: less after a lost answer, more once all came through.

A proxy that cuts long answers off says nothing. So what was lost is asked for again in half the size, at the next sync.
"""

from typing import Literal

from ..store.store import Store

What = Literal["push", "pull", "bytes"]

#: Less than the first is never asked for: a page of 32 KiB is small for any link. The second is more than any server
#: allows: from there on nothing is remembered any more.
_BOUNDS = {"push": (1, 100_000), "pull": (1, 100_000), "bytes": (32 * 1024, 2**30)}


def reach(store: Store, what: What, most: int) -> int:
    """How many changes to push, or rows or bytes to pull, at once: at most ``most``."""
    return max(1, min(most, int(store.get("reach", {}).get(what, most))))


def was_lost(store: Store, what: What, count: int) -> None:
    """A request of so many got no answer."""
    _remember(store, what, max(_BOUNDS[what][0], count // 2))


def came_through(store: Store, what: What) -> None:
    """All that there was to push or to pull came through: the next time twice as much is tried."""
    known = store.get("reach", {}).get(what)
    if known is not None and known < _BOUNDS[what][1]:
        _remember(store, what, 2 * known)


def _remember(store: Store, what: What, count: int) -> None:
    with store.transaction():
        store.put(reach={**store.get("reach", {}), what: count})
