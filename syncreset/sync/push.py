"""Push: a client's changes, each applied on its own."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from ..apply.changes import apply_changes
from ..apply.context import Context
from ..apply.slots import Applied
from ..clients.client import Client, SyncUser, note_told
from ..clients.gate import ClientResetRequired, require_current, require_not_overtaken
from ..clients.scopes import scopes_of
from ..feed.cursor import Cursor
from ..ledger.quotas import require_room_for_parked
from ..ledger.record import item_for, save_items
from ..ledger.retry import close_deleted
from ..locks import lock_row
from ..protocol.changes import Change
from ..protocol.clock import now
from ..protocol.strict_json import dumps
from ..wire.visibility import seen_now
from .cure import cure
from .receipts import (
    ClientCopied,
    answered_before,
    copied,
    healing_what_was_lost,
    keep_answer,
    require_chain,
)


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What a push brings (protocol, "POST /push"): parsed changes and the raw objects they were parsed from."""

    client: uuid.UUID
    schema: str
    cursor: Cursor | None
    #: That of the answer to the client's last push; "" before the first.
    receipt: str
    #: Whether the client has sent these changes before, and knows of no answer.
    again: bool
    client_time: int
    changes: Sequence[Change]
    raw: Sequence[Any]


def push(user: SyncUser, request: PushRequest) -> dict[str, Any]:
    """Apply a client's changes, each on its own.

    Whether the client may go on is decided under the lock of its row, so that nothing overtakes the answer. Raises
    ClientResetRequired, ClientForbidden, Overtaken and ClientCopied.
    """
    received = now()
    required: ClientResetRequired | ClientCopied | None = None
    answer: dict[str, Any] = {}
    with transaction.atomic():
        lock_row(Client.objects.filter(pk=request.client, user=user.pk))
        try:
            with healing_what_was_lost(request.receipt):
                client = require_current(user, request.client, schema=request.schema, cursor=request.cursor)
            require_not_overtaken(client, request.cursor)
            require_chain(client, request.receipt, request.cursor)
            answer = _apply(client, user, request, received)
        except (ClientResetRequired, ClientCopied) as order:
            required = order
    if required is not None:
        # Raised once what it orders is committed.
        raise required
    return answer | {"server_time": now()}


def _apply(client: Client, user: SyncUser, request: PushRequest, received: int) -> dict[str, Any]:
    digests = {
        change.seq or 0: _digest(raw) for change, raw in zip(request.changes, request.raw, strict=True)
    }
    scopes = scopes_of(user)
    fresh = [change for change in request.changes if (change.seq or 0) > client.acked]
    results = {} if len(fresh) == len(digests) else _repeated(client, request, digests, scopes)
    if fresh:
        require_room_for_parked(user)
        context = Context(
            client=client,
            user=user,
            scopes=scopes,
            seen=request.cursor,
            shown=request.cursor,
            received=received,
            again=request.again,
            offset=received - request.client_time,
        )
        applied = apply_changes(fresh, context)
        results |= _record(client, applied)
        close_deleted(client, applied)
        cure(context, applied)
    ordered = [results[seq] for seq in digests]
    if fresh:
        keep_answer(client, digests, ordered)
        note_told(client.pk)
    _advance(client, request, received=received)
    return {"acked": client.acked, "receipt": client.receipt, "results": ordered}


def _repeated(
    client: Client, request: PushRequest, digests: Mapping[int, str], scopes: frozenset[str]
) -> dict[int, dict[str, Any]]:
    """What was answered to changes of the last push, whose answer was lost: all of it again that the user may see.

    Raises ClientCopied for a number that is used up and was not answered just now, or for another change.
    """
    known = answered_before(client)
    results: dict[int, dict[str, Any]] = {}
    for seq, digest in digests.items():
        if seq > client.acked:
            continue
        before, result = known.get(seq, ("", {}))
        if before != digest:
            raise copied(client, request.cursor)
        results[seq] = result
    answered = {change.seq: change.row_key for change in request.changes if change.seq in results}
    seen = seen_now(answered.values(), scopes)
    return {
        seq: {name: value for name, value in result.items() if name != "row" or answered[seq] in seen}
        for seq, result in results.items()
    }


def _record(client: Client, applied: Sequence[Applied]) -> dict[int, dict[str, Any]]:
    results: dict[int, dict[str, Any]] = {}
    items = []
    for result in applied:
        seq = result.change.seq or 0
        wire: dict[str, Any] = {"seq": seq, "state": result.outcome.state, **_clocks(result)}
        if result.notes:
            wire["notes"] = [note.as_wire() for note in result.notes]
        if result.outcome.problem is not None:
            wire["problem"] = result.outcome.problem.as_wire()
        if result.outcome.state not in ("applied", "identical") or _restored(result):
            item = item_for(client, result)
            items.append(item)
            wire["item"] = str(item.pk)
        elif result.outcome.overwrites:
            # Whose value lost finds it in the history of the row; this client is told of nothing.
            items.append(item_for(client, result))
        if result.after is not None:
            row = result.after
            wire["row"] = {"fields": row.fields, "updated": row.updated, "clocks": row.clocks}
        results[seq] = wire
    save_items(items)
    return results


def _restored(result: Applied) -> bool:
    """Whether an edit has brought back a row that was deleted: what a person may want to know of later."""
    return result.change.base is not None and result.before is None and result.outcome.row is not None


def _clocks(result: Applied) -> dict[str, Any]:
    row = result.outcome.row or (result.before if result.outcome.state == "identical" else None)
    if row is None or result.change.op != "put":
        return {}
    if result.change.base is None and result.before is None:
        return {"clocks": row.clocks, "updated": row.updated}
    return {"clocks": {name: row.clock(name) for name in result.change.fields}, "updated": row.updated}


def _advance(client: Client, request: PushRequest, *, received: int) -> None:
    client.acked = max([client.acked, *(change.seq or 0 for change in request.changes)])
    client.clock_offset = received - request.client_time
    Client.objects.filter(pk=client.pk).update(
        acked=client.acked,
        pushes=client.pushes,
        receipt=client.receipt,
        receipt_before=client.receipt_before,
        clock_offset=client.clock_offset,
        last_seen=received,
        schema=request.schema,
    )


def _digest(raw: Any) -> str:
    return hashlib.sha256(dumps(raw).encode("ascii")).hexdigest()[:16]
