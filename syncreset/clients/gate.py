"""Whether a client may go on from its checkpoint, or must reset."""

import secrets
import uuid
from typing import Any

from .. import conf
from ..feed.checkpoints import continuation
from ..feed.cursor import Cursor
from ..protocol.clock import now
from ..protocol.compatibility import breaking_changes
from ..protocol.errors import Malformed, ProtocolError
from ..wire.schema import is_of_newer_release, publish, published
from .client import Client, SyncUser, find_client
from .quotas import require_room_for_client
from .resets import Reset, ResetReason, has_ordered, order_reset, renew_deadline

#: How long (µs) after resets fell due their clients are expected, and the longest wait (s) that one is advised.
_RUSH = 60 * 60 * 1_000_000
_LONGEST_WAIT = 60 * 60


class ClientResetRequired(Exception):
    """The client cannot continue. Carries the open reset."""

    def __init__(self, reset: Reset, schema: str) -> None:
        super().__init__(reset.reason)
        self.reset = reset
        self.schema = schema


class ServerOutdated(ProtocolError):
    """The client is ahead of this process, which is about to be replaced: nothing is wrong with the client."""

    status = 503
    code = "server_outdated"


class Overtaken(ProtocolError):
    """The client has started over since it sent this, and goes on from there: nobody waits for the answer."""

    status = 409
    code = "overtaken"


def require_not_overtaken(client: Client, cursor: Cursor | None) -> None:
    """Refuse what was sent before the client's newest bootstrap. To be asked under the lock of the client's row.

    A request may hang on its way for longer than the client waits. Raises Overtaken.
    """
    number = 0 if cursor is None else cursor.number
    if client.resets.filter(checkpoint__gt=number).exists():
        raise Overtaken("the client has started over since this was sent: pull, and send it again")


def require_current(
    user: SyncUser,
    client_id: uuid.UUID,
    *,
    schema: str,
    cursor: Cursor | None,
    held: Cursor | None = None,
    reset_id: str | None = None,
) -> Client:
    """The client, if it may continue from its checkpoint with its schema.

    ``held`` is the checkpoint of a client that bootstraps anew: it proves a restore as any other does. An expired
    checkpoint cannot be looked up any more: unless it is one that the client is known to have had, its history may be
    another one.

    Raises ClientResetRequired where it may not, unless the call is the bootstrap of that very reset: ``reset_id``
    names it and the cursor is None or one of this bootstrap. Raises ClientForbidden for another user's client, and
    ServerOutdated where the client has taken over a schema that is newer than the code which runs here. Raises
    Malformed for another client's checkpoint.
    """
    for presented in (cursor, held):
        if presented is not None and presented.genuine and not presented.is_of(client_id):
            raise Malformed("the checkpoint is another client's", code="invalid_checkpoint")
    current_hash = publish()["hash"]
    client = find_client(user, client_id)
    if client is None:
        client = _adopt(user, client_id)
        full = cursor is not None and cursor.genuine
        raise ClientResetRequired(order_reset(client, ResetReason.CLIENT_UNKNOWN, full=full), current_hash)
    bootstraps = reset_id is not None and (cursor is None or cursor.reset == reset_id)
    shown = held if cursor is None else cursor
    wrong = _found_wrong(client, schema, current_hash, shown)
    begins = reset_id if cursor is None else None
    named = client.resets.filter(pk=begins).first() if begins else None
    if wrong is None and begins and named is None and has_ordered(client, begins):
        detail = "the client's reset is unknown"
        wrong = order_reset(client, ResetReason.HISTORY_DIVERGED, full=True, detail=detail)
    reset = wrong or client.resets.due().first()
    # With a wrong cursor or schema nothing can be continued, whichever bootstrap it is of: that one starts over.
    misfit = wrong is not None and (shown is not None or wrong.reason == ResetReason.SCHEMA_INCOMPATIBLE)
    if reset is not None and (misfit or not (bootstraps and str(reset.pk) == reset_id)):
        renew_deadline(reset)
        raise ClientResetRequired(reset, current_hash)
    if begins and named is None:
        detail = "the client's reset is none of this server's"
        raise ClientResetRequired(order_reset(client, ResetReason.NOT_GENUINE, detail=detail), current_hash)
    if named is not None:
        renew_deadline(named)
    return client


def _found_wrong(client: Client, schema: str, current_hash: str, cursor: Cursor | None) -> Reset | None:
    if cursor is not None:
        if not cursor.genuine:
            detail = "the client's checkpoint does not bear this server's signature"
            return order_reset(client, ResetReason.NOT_GENUINE, detail=detail)
        found = continuation(cursor)
        if found == "diverged":
            return order_reset(client, ResetReason.HISTORY_DIVERGED, full=True)
        if found == "expired":
            known = cursor.proof_text in (client.proof_shown, client.proof_given)
            return order_reset(client, ResetReason.CHECKPOINT_EXPIRED, full=not known)
    if schema != current_hash:
        old = published(schema)
        broken = ["its schema is unknown here"] if old is None else breaking_changes(old, publish())
        if broken and is_of_newer_release(schema):
            raise ServerOutdated("a newer release is being deployed, and this process is of the one before")
        if broken:
            detail = f"{'; '.join(broken)} (schema {schema[:8]} to {current_hash[:8]})"
            return order_reset(client, ResetReason.SCHEMA_INCOMPATIBLE, detail=detail)
    return None


def _adopt(user: SyncUser, client_id: uuid.UUID) -> Client:
    require_room_for_client(user)
    Client.objects.get_or_create(pk=client_id, defaults={"user": user})
    client = find_client(user, client_id)
    if client is None:
        raise RuntimeError(f"client {client_id} was removed while it was being adopted")
    return client


def retry_after() -> int:
    """How many seconds a client that is told to reset had best wait before it does, drawn anew for each.

    The more clients fell due within the last hour and have yet to come, the wider they are spread: the setting
    ``RESET_RATE`` says how many may start over in one second. This is advice; whoever comes earlier is served.
    """
    at = now()
    waiting = Reset.objects.open().filter(not_before__gt=at - _RUSH, not_before__lte=at).count()
    return secrets.randbelow(min(int(waiting / conf.get("RESET_RATE")), _LONGEST_WAIT) + 1)


def reset_problem(error: ClientResetRequired) -> dict[str, Any]:
    """The members that the 409 problem carries beside the common ones."""
    reset = error.reset
    return {
        "reason": reset.reason,
        "reset": str(reset.pk),
        "mode_allowed": list(conf.get("MODES")),
        "recovery": {
            "full": reset.full,
            "max_bytes": conf.get("SNAPSHOT_LIMIT"),
            "deadline": reset.deadline,
        },
        "schema": error.schema,
    }
