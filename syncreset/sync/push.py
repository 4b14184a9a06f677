"""Push: a client's changes, each applied on its own."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q

from ..apply.changes import apply_changes
from ..apply.context import Context
from ..apply.slots import Applied
from ..clients.client import REMEMBERED, Client, SyncUser
from ..clients.gate import ClientResetRequired, require_current, require_not_overtaken
from ..clients.scopes import scopes_of
from ..feed.cursor import Cursor
from ..ledger.item import Item, ItemState
from ..ledger.record import item_for, save_items
from ..locks import lock_row
from ..protocol.changes import Change, Row
from ..protocol.clock import now
from ..protocol.errors import ProtocolError
from ..protocol.strict_json import dumps
from ..wire.model import model_labelled
from ..wire.rows import stored_rows
from .cure import cure


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What a push brings (protocol, "POST /push"): parsed changes and the raw objects they were parsed from."""

    client: uuid.UUID
    schema: str
    cursor: Cursor | None
    client_time: int
    changes: Sequence[Change]
    raw: Sequence[Any]


class SeqReused(ProtocolError):
    """A sequence number came again with another change: the client's queue is not what it was."""

    status = 409
    code = "seq_reused"


def push(user: SyncUser, request: PushRequest) -> dict[str, Any]:
    """Apply a client's changes, each on its own.

    Whether the client may go on is decided under the lock of its row, so that nothing overtakes the answer. Raises
    ClientResetRequired, ClientForbidden, Overtaken and SeqReused.
    """
    received = now()
    required: ClientResetRequired | None = None
    answer: dict[str, Any] = {}
    with transaction.atomic():
        lock_row(Client.objects.filter(pk=request.client, user=user.pk))
        try:
            client = require_current(user, request.client, schema=request.schema, cursor=request.cursor)
        except ClientResetRequired as order:
            required = order
        else:
            require_not_overtaken(client, request.cursor)
            answer = _apply(client, user, request, received)
    if required is not None:
        # Raised once the order to reset is committed.
        raise required
    return answer | {"server_time": now()}


def _apply(client: Client, user: SyncUser, request: PushRequest, received: int) -> dict[str, Any]:
    digests = dict(client.recent)
    fresh, results = _sort_out(request, client.acked, digests)
    context = Context(
        client=client,
        user=user,
        scopes=scopes_of(user),
        seen=0 if request.cursor is None else request.cursor.number,
        received=received,
        offset=received - request.client_time,
    )
    applied = apply_changes([request.changes[index] for index in fresh], context)
    results |= _record(client, applied) | _answers_to_replays(client, context.scopes, request, results)
    cure(context, applied)
    _advance(client, request, digests, received=received)
    ordered = [results[change.seq] for change in request.changes if change.seq is not None]
    return {"acked": client.acked, "results": ordered}


def _sort_out(
    request: PushRequest, acked: int, digests: dict[int, str]
) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """Which changes are new, and the results of those that are not. Raises SeqReused."""
    fresh: list[int] = []
    results: dict[int, dict[str, Any]] = {}
    for index, change in enumerate(request.changes):
        seq = change.seq or 0
        digest = _digest(request.raw[index])
        if seq > acked:
            fresh.append(index)
            digests[seq] = digest
        elif digests.get(seq, digest) != digest:
            raise SeqReused(f"sequence number {seq} was used before, for another change")
        else:
            results[seq] = {"seq": seq, "state": "duplicate"}
    return fresh, results


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
            if result.after is not None:
                wire["row"] = {
                    "fields": result.after.fields,
                    "updated": result.after.updated,
                    "clocks": result.after.clocks,
                }
        elif result.outcome.overwrites:
            # Whose value lost finds it in the history of the row; this client is told of nothing.
            items.append(item_for(client, result))
        results[seq] = wire
    save_items(items)
    return results


def _answers_to_replays(
    client: Client, scopes: frozenset[str], request: PushRequest, replays: Mapping[int, Mapping[str, Any]]
) -> dict[int, dict[str, Any]]:
    """The answers to replays of changes that were not simply applied: what became of them, and the row as it is now."""
    answers: dict[int, dict[str, Any]] = {}
    changes = {change.seq: change for change in request.changes}
    simply_applied = Q(state=ItemState.APPLIED, before__isnull=False)
    for item in Item.objects.filter(client=client, recovery=None, seq__in=replays).exclude(simply_applied):
        result = {**replays[item.seq or 0], "outcome": item.state, "item": str(item.pk)}
        if item.problem is not None:
            result["problem"] = item.problem
        row = _row_now(changes[item.seq], scopes)
        if row is not None:
            result["row"] = {"fields": row.fields, "updated": row.updated, "clocks": row.clocks}
        answers[item.seq or 0] = result
    return answers


def _row_now(change: Change, scopes: frozenset[str]) -> Row | None:
    model = model_labelled(change.model)
    if model is None:
        return None
    found = stored_rows(model, scopes, model.canonical_keys([change.pk]))
    return next((stored.row for stored in found.values()), None)


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


def _advance(client: Client, request: PushRequest, digests: dict[int, str], *, received: int) -> None:
    client.acked = max([client.acked, *(change.seq or 0 for change in request.changes)])
    client.recent = [[seq, digests[seq]] for seq in sorted(digests)[-REMEMBERED:]]
    client.clock_offset = offset = received - request.client_time
    Client.objects.filter(pk=client.pk).update(
        acked=client.acked,
        recent=client.recent,
        clock_offset=offset,
        last_seen=received,
        schema=request.schema,
    )


def _digest(raw: Any) -> str:
    return hashlib.sha256(dumps(raw).encode("ascii")).hexdigest()[:16]
