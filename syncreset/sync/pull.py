"""Serving a pull: whether the client may go on, its next page, and the proof of what it is given."""

import uuid
from dataclasses import dataclass
from typing import Any

from .. import conf
from ..clients.client import Client, SyncUser, note_covered
from ..clients.gate import require_current
from ..clients.resets import mark_bootstrapped
from ..clients.scopes import scopes_of
from ..feed.checkpoints import Checkpoint, prove
from ..feed.cursor import Cursor
from ..protocol.clock import now
from ..signals import synced
from ..wire.model import wire_models
from .page import Page
from .read import read_page
from .receipts import healing_what_was_lost, require_chain


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """What a pull asks (protocol, "POST /pull"). ``pending`` is what the client says it has yet to push."""

    client: uuid.UUID
    schema: str
    cursor: Cursor | None
    #: That of the answer to the client's last push; "" before the first.
    receipt: str
    #: What a client held that bootstraps anew by itself.
    held: Cursor | None
    limit: int
    #: How many bytes of changes the page may have.
    max_bytes: int
    pending: int = 0
    reset: str | None = None
    #: What a reset's bootstrap says that becomes of the unsynced changes; "" where it says nothing.
    mode: str = ""


def pull(user: SyncUser, request: PullRequest) -> dict[str, Any]:
    """Serve one page. Raises ClientResetRequired, ClientCopied and ClientForbidden."""
    scopes = scopes_of(user)
    limit = min(request.limit, conf.get("PAGE_LIMIT"))
    size = min(request.max_bytes, conf.get("PAGE_BYTES_LIMIT"))
    page = None
    while page is None:
        # At most twice: what a purge or a new epoch took away in between stays away, and the gate says so then.
        with healing_what_was_lost(request.receipt):
            client = require_current(
                user,
                request.client,
                schema=request.schema,
                cursor=request.cursor,
                held=request.held,
                reset_id=request.reset,
            )
        if request.reset is None:
            require_chain(client, request.receipt, request.cursor or request.held)
        elif request.cursor is None:
            # So that the bootstrap is later than anything that the client has shown before.
            prove()
        page = read_page(request.cursor, client, scopes, limit=limit, size=size, reset_id=request.reset)
    _prove(client, page)
    reported: dict[str, Any] = {
        "last_seen": now(),
        "pending": request.pending,
        "schema": request.schema,
        "scopes": sorted(scopes),
        "proof_given": page.cursor.proof_text,
    }
    if request.cursor is not None:
        reported["proof_shown"] = request.cursor.proof_text
    if not page.more:
        reported["checkpoint"] = page.cursor.number
        if request.reset is not None:
            mark_bootstrapped(client, request.reset, page.cursor.number, request.mode)
        _send_synced(client, page.cursor.number)
    Client.objects.filter(pk=client.pk).update(**reported)
    return {
        "changes": page.changes,
        "checkpoint": page.checkpoint,
        "more": page.more,
        "scopes": sorted(scopes),
        "acked": client.acked,
        **({} if page.remaining is None else {"remaining": page.remaining}),
        **({} if request.reset is None else {"receipt": client.receipt}),
        "server_time": now(),
    }


def _prove(client: Client, page: Page) -> None:
    """Let the page's cursor prove all that the client has by it, and with the last page all that it was told before."""
    told = not page.more and client.told > client.covered
    page.proven_by(prove() if page.newest is None or told else page.newest)
    if told:
        note_covered(client)


def _send_synced(client: Client, number: int) -> None:
    at = Checkpoint.objects.values_list("at", flat=True).get(number=number)
    labels = sorted(model.label for model in wire_models())
    synced.send(sender=Client, client=client, checkpoint=number, at=at, models=labels)
