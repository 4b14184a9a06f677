"""Serving a pull: what lies between a client's checkpoint and now, page by page, scopes won and lost included."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connection, transaction

from .. import conf
from ..clients.client import Client, SyncUser, note_covered
from ..clients.gate import require_current
from ..clients.resets import mark_bootstrapped
from ..clients.scopes import scopes_of
from ..feed.checkpoints import Checkpoint, continuation, feed_state, prove, stamp
from ..feed.cursor import WHOLE, Cursor, encode_cursor
from ..feed.entries import Entry, EntryKind, entries_after, has_unstamped
from ..protocol.clock import now
from ..signals import synced
from ..wire.model import WireModel, wire_models
from ..wire.rows import StoredRow, load_page, stored_rows
from .receipts import require_chain


@dataclass(kw_only=True)
class Page:
    """One page of a pull: wire changes, the cursor behind them, and whether more is to come.

    ``newest`` is a checkpoint that proves all of it; None where what was read is newer than any.
    """

    changes: list[dict[str, Any]] = field(default_factory=list)
    cursor: Cursor
    newest: Checkpoint | None = None
    more: bool = False

    def proven_by(self, checkpoint: Checkpoint) -> None:
        """Let the cursor have a checkpoint that was committed after the page was read as its proof."""
        self.cursor = replace(self.cursor, proof=checkpoint.number, salt=checkpoint.salt)

    @property
    def checkpoint(self) -> str:
        return encode_cursor(self.cursor)


def read_page(
    cursor: Cursor | None, scopes: frozenset[str], *, limit: int, reset_id: str | None = None
) -> Page | None:
    """The next page after a cursor, or the first one of a bootstrap; None where the feed no longer goes on from there.

    Everything on the last page is read in one snapshot, together with what is committed and not stamped yet, so that
    the client ends on a consistent state.
    """
    newest = stamp()
    with transaction.atomic():
        _read_one_snapshot()
        if cursor is not None and continuation(cursor) != "possible":
            return None
        page = Page(cursor=_start(newest, scopes, reset_id) if cursor is None else _noticing(cursor, scopes))
        page.newest = None if has_unstamped() else Checkpoint.objects.order_by("-number").first()
        while len(page.changes) < limit:
            step = {"drop": _drop, "load": _load, "feed": _feed}[page.cursor.phase]
            if step(page, scopes, limit - len(page.changes)):
                page.more = False
                return page
    page.more = True
    return page


def _read_one_snapshot() -> None:
    if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0 and _outermost():
        with connection.cursor() as database:
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _outermost() -> bool:
    """Whether this transaction has just begun: inside another one its isolation can no longer be chosen."""
    return len(connection.atomic_blocks) == 1


def _start(newest: Checkpoint, scopes: frozenset[str], reset_id: str | None) -> Cursor:
    return Cursor(
        epoch=feed_state().epoch,
        number=newest.number,
        proof=newest.number,
        salt=newest.salt,
        phase="load",
        gained=tuple(sorted(scopes)),
        reset=reset_id,
    )


def _noticing(cursor: Cursor, scopes: frozenset[str]) -> Cursor:
    """The cursor, about to drop scopes that the user has lost and to load those gained."""
    if cursor.phase != "feed":
        return cursor
    lost, gained = set(cursor.scopes) - scopes, scopes - set(cursor.scopes)
    if not lost and not gained:
        return cursor
    return replace(
        cursor,
        phase="drop" if lost else "load",
        lost=tuple(sorted(lost)),
        gained=tuple(sorted(gained)),
        model="",
        pk="",
    )


def _drop(page: Page, scopes: frozenset[str], limit: int) -> bool:
    """Rows of lost scopes are removed, never deleted. What moved to a scope still held comes with that one's feed."""
    cursor = page.cursor
    rows, page.cursor = _walk_tables(cursor, cursor.lost, limit)
    page.changes += [_removed(model, row.pk) for model, row in rows]
    if page.cursor.model == "":
        gone = entries_after(cursor.number, cursor.entry, cursor.lost, limit=WHOLE)
        gone = [*gone, *entries_after(0, 0, cursor.lost, limit=WHOLE, unstamped=True)]
        page.changes += [
            {"model": entry.model, "pk": entry.pk_text, "removed": True}
            for entry in gone
            if entry.kind != EntryKind.ROW
        ]
        page.cursor = replace(
            page.cursor, phase="load", scopes=tuple(sorted(set(cursor.scopes) - set(cursor.lost))), lost=()
        )
    return False


def _load(page: Page, scopes: frozenset[str], limit: int) -> bool:
    """Rows of gained scopes are read from the tables themselves, parents first."""
    cursor = page.cursor
    rows, page.cursor = _walk_tables(cursor, scopes.intersection(cursor.gained), limit)
    page.changes += [_put(model, row) for model, row in rows]
    if page.cursor.model == "":
        page.cursor = replace(
            page.cursor, phase="feed", scopes=tuple(sorted({*cursor.scopes, *cursor.gained})), gained=()
        )
    return False


def _walk_tables(
    cursor: Cursor, scopes: Collection[str], limit: int
) -> tuple[list[tuple[WireModel, StoredRow]], Cursor]:
    """The next rows of the scopes over all tables. The cursor's model is empty again when all have been walked."""
    order = wire_models()
    labels = [model.label for model in order]
    position = labels.index(cursor.model) if cursor.model in labels else 0
    after = cursor.pk
    walked: list[tuple[WireModel, StoredRow]] = []
    while position < len(order):
        wanted = limit - len(walked)
        rows = load_page(order[position], scopes, after, wanted) if wanted else []
        walked += [(order[position], row) for row in rows]
        if len(rows) == wanted:
            after = rows[-1].pk if rows else after
            return walked, replace(cursor, model=labels[position], pk=after)
        position, after = position + 1, ""
    return walked, replace(cursor, model="", pk="")


def _feed(page: Page, scopes: frozenset[str], limit: int) -> bool:
    """Entries after the cursor. True on the last page, which holds what is unstamped as well."""
    cursor = page.cursor
    held = scopes.intersection(cursor.scopes)
    if held != scopes or set(cursor.scopes) - scopes:
        page.cursor = _noticing(cursor, scopes)
        return False
    entries = entries_after(cursor.number, cursor.entry, held, limit=limit)
    if len(entries) == limit:
        last = entries[-1]
        page.changes += _changes(entries, held)
        page.cursor = replace(cursor, number=last.checkpoint or 0, entry=last.pk)
        return False
    unstamped = entries_after(0, 0, held, limit=WHOLE, unstamped=True)
    page.changes += _changes([*entries, *unstamped], held)
    newest = Checkpoint.objects.order_by("-number")[:1].get()
    page.cursor = replace(cursor, number=newest.number, entry=WHOLE, reset=None)
    return True


def _changes(entries: Sequence[Entry], scopes: frozenset[str]) -> list[dict[str, Any]]:
    """The wire changes of entries, each row read once. What is gone from one held scope may stand in another."""
    kinds: dict[tuple[str, str], dict[int, int]] = {}
    for entry in entries:
        kinds.setdefault((entry.model, entry.pk_text), {})[entry.kind] = entry.at
    changes = []
    for model in wire_models():
        label = model.label
        touched = {pk: times for (kind, pk), times in kinds.items() if kind == label}
        if not touched:
            continue
        rows = stored_rows(model, scopes, touched)
        for pk, times in touched.items():
            if pk in rows:
                changes.append(_put(model, rows[pk]))
            elif EntryKind.DELETED in times:
                changes.append({"model": label, "pk": pk, "deleted": times[EntryKind.DELETED]})
            elif EntryKind.DEPARTED in times:
                changes.append(_removed(model, pk))
    return changes


def _put(model: WireModel, stored: StoredRow) -> dict[str, Any]:
    return {
        "model": model.label,
        "pk": stored.pk,
        "fields": stored.row.fields,
        "updated": stored.row.updated,
        "clocks": stored.row.clocks,
    }


def _removed(model: WireModel, pk: str) -> dict[str, Any]:
    return {"model": model.label, "pk": pk, "removed": True}


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
    pending: int = 0
    reset: str | None = None


def pull(user: SyncUser, request: PullRequest) -> dict[str, Any]:
    """Serve one page. Raises ClientResetRequired, ClientCopied and ClientForbidden."""
    scopes = scopes_of(user)
    limit = min(request.limit, conf.get("PAGE_LIMIT"))
    page = None
    while page is None:
        # At most twice: what a purge or a new epoch took away in between stays away, and the gate says so then.
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
        page = read_page(request.cursor, scopes, limit=limit, reset_id=request.reset)
    _prove(client, page)
    reported: dict[str, Any] = {
        "last_seen": now(),
        "pending": request.pending,
        "schema": request.schema,
        "scopes": sorted(scopes),
    }
    if not page.more:
        reported["checkpoint"] = page.cursor.number
        if request.reset is not None:
            mark_bootstrapped(client, request.reset, page.cursor.number)
        _send_synced(client, page.cursor.number)
    Client.objects.filter(pk=client.pk).update(**reported)
    return {
        "changes": page.changes,
        "checkpoint": page.checkpoint,
        "more": page.more,
        "scopes": sorted(scopes),
        "acked": client.acked,
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
