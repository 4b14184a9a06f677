"""Reading one page: what lies between a client's checkpoint and now, scopes won and lost included."""

from dataclasses import replace

from django.db import connection, transaction

from .. import conf
from ..clients.client import Client
from ..feed.checkpoints import Checkpoint, continuation, feed_state, stamp_portions
from ..feed.cursor import Cursor, towards
from ..feed.entries import has_unstamped
from .follow import follow
from .page import Page
from .tables import count_all, drop, drop_gone, load


def read_page(
    cursor: Cursor | None,
    client: Client,
    scopes: frozenset[str],
    *,
    limit: int,
    size: int | None = None,
    reset_id: str | None = None,
) -> Page | None:
    """The next page after a cursor, or the first one of a bootstrap; None where the feed no longer goes on from there.

    It has at most ``limit`` rows and ``size`` bytes of changes, but one row if there is any. Everything on the last
    page is read in one snapshot, together with what is committed and not stamped yet, so that the client ends on a
    consistent state.
    """
    newest, whole = stamp_portions()
    with transaction.atomic():
        _read_one_snapshot()
        if cursor is not None and continuation(cursor) != "possible":
            return None
        page = Page(
            cursor=_start(newest, client, scopes, reset_id) if cursor is None else cursor,
            limit=limit,
            room=conf.get("PAGE_BYTES_LIMIT") if size is None else size,
        )
        page.newest = None if has_unstamped() else Checkpoint.objects.order_by("-number").first()
        if _holds_nothing(page.cursor):
            page.cursor = replace(page.cursor, number=newest.number)
            if not whole and has_unstamped(scopes):
                # What is stamped after the tables were read would come a second time.
                page.remaining = count_all(scopes)
                return page
        while not page.full:
            if _step(page, scopes, whole=whole):
                page.more = False
                break
    return page


def _step(page: Page, scopes: frozenset[str], *, whole: bool) -> bool:
    """Put on the page what comes next. Returns whether nothing is left."""
    page.cursor = towards(page.cursor, scopes)
    if page.cursor.phase == "drop":
        drop(page)
    elif page.cursor.phase == "gone":
        drop_gone(page)
    elif page.cursor.phase == "load":
        load(page, scopes)
    else:
        return follow(page, scopes, whole=whole)
    return False


def _read_one_snapshot() -> None:
    if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0 and _outermost():
        with connection.cursor() as database:
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _outermost() -> bool:
    """Whether this transaction has just begun: inside another one its isolation can no longer be chosen."""
    return len(connection.atomic_blocks) == 1


def _start(newest: Checkpoint, client: Client, scopes: frozenset[str], reset_id: str | None) -> Cursor:
    return Cursor(
        client=str(client.pk),
        epoch=feed_state().epoch,
        number=newest.number,
        proof=newest.number,
        salt=newest.salt,
        phase="load",
        gained=tuple(sorted(scopes)),
        reset=reset_id,
    )


def _holds_nothing(cursor: Cursor) -> bool:
    """Whether it is a bootstrap's that has not brought a row yet: it may begin at any point of the feed."""
    return cursor.phase == "load" and not cursor.scopes and not cursor.model and not cursor.pk
