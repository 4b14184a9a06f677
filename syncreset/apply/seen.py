"""How far a client had seen the feed when it made a change."""

from collections.abc import Iterable

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


def earliest(seen: Iterable[Cursor | None]) -> Cursor | None:
    """What had been seen at each of some checkpoints; None where that is nothing."""
    found = list(seen)
    known = [cursor for cursor in found if cursor is not None]
    if not known or len(known) < len(found):
        return None
    return min(known, key=lambda cursor: (cursor.number, cursor.entry))
