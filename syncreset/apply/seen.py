"""How far a client had seen the feed when it made a change."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..feed.checkpoints import continuation
from ..feed.cursor import Cursor, decode_cursor
from ..protocol.errors import Malformed
from ..rules.instruction import Instruction
from .context import Context


def seen_at(change: Instruction, context: Context) -> Cursor | None:
    """The checkpoint that a client held when it made a change: the one that the change names, else the context's.

    None where the named one is not of this history: then the client has seen nothing. A store that was copied names
    checkpoints of the client that it was before, so those of others count.
    """
    if change.checkpoint is None or context.operator:
        return context.seen
    try:
        cursor = decode_cursor(change.checkpoint)
    except Malformed:
        return None
    return cursor if cursor.genuine and _is_possible(cursor, context.seen) else None


def _is_possible(cursor: Cursor, known: Cursor | None) -> bool:
    if known is not None and (cursor.epoch, cursor.proof_text) == (known.epoch, known.proof_text):
        return True
    return continuation(cursor) != "diverged"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a client did something: what it had seen then, None for nothing, and the time (µs)."""

    seen: Cursor | None
    at: int


def earliest(moments: Iterable[Moment]) -> Moment:
    """What had been seen, and what was over, at each of some moments."""
    found = list(moments)
    known = [moment.seen for moment in found if moment.seen is not None]
    first = min(known, key=lambda cursor: (cursor.number, cursor.entry), default=None)
    return Moment(
        seen=first if len(known) == len(found) else None, at=min((moment.at for moment in found), default=0)
    )
