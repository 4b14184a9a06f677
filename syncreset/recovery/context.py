"""On whose behalf a recovery merges."""

from ..apply.context import Context
from ..clients.scopes import scopes_of
from ..feed.checkpoints import continuation
from ..feed.cursor import Cursor, decode_cursor
from ..protocol.clock import now
from ..protocol.errors import Malformed
from .job import Recovery


def context_of(recovery: Recovery, *, operator: bool = False) -> Context:
    """On whose behalf a recovery's changes are applied: its client's user."""
    user = recovery.client.user
    cursor = cursor_of(recovery)
    return Context(
        client=recovery.client,
        user=user,
        scopes=scopes_of(user),
        seen=None if cursor is None or recovery.healing or continuation(cursor) == "diverged" else cursor,
        received=now(),
        offset=recovery.clock_offset,
        operator=operator,
        restored=recovery.healing,
        recovery=recovery.pk,
    )


def cursor_of(recovery: Recovery) -> Cursor | None:
    """The checkpoint that the snapshot names, if it is one that this server has given to its client."""
    if recovery.checkpoint is None:
        return None
    try:
        cursor = decode_cursor(recovery.checkpoint)
    except Malformed:
        return None
    return cursor if cursor.is_of(recovery.client_id) else None
