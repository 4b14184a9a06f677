"""What a page brings from the tables themselves: the rows of scopes that are gained, and the keys of those lost."""

from collections.abc import Callable, Collection
from dataclasses import replace

from ..feed.entries import gone_after
from ..wire.model import WireModel, wire_models
from ..wire.rows import keys_after, stored_rows
from ..wire.sizes import count_rows, sizes_after
from .page import Page, put, removed

#: Puts the next rows of a model after a key on the page. Returns the last key, and whether the table is through.
_Take = Callable[[Page, WireModel, Collection[str], str], tuple[str, bool]]


def drop(page: Page) -> None:
    """Rows of lost scopes are removed, never deleted. What moved to a scope still held comes with that one's feed."""
    if _walk(page, page.cursor.lost, _take_keys):
        page.cursor = replace(page.cursor, phase="gone", last=0)


def drop_gone(page: Page) -> None:
    """What is gone from lost scopes since the client's checkpoint, and which it may still hold."""
    while not page.full:
        cursor, wanted = page.cursor, page.slice
        entries = gone_after(cursor.last, cursor.lost, number=cursor.number, entry=cursor.entry, limit=wanted)
        for entry in entries:
            if not page.take(removed(entry.model, entry.pk_text)):
                return
            page.cursor = replace(page.cursor, last=entry.pk)
        if len(entries) < wanted:
            kept = tuple(sorted(set(cursor.scopes) - set(cursor.lost)))
            page.cursor = replace(page.cursor, phase="load", scopes=kept, lost=(), last=0)
            return


def load(page: Page, scopes: frozenset[str]) -> None:
    """Rows of gained scopes are read from the tables themselves, parents first."""
    gained = scopes.intersection(page.cursor.gained)
    if page.cursor.remaining is None:
        page.cursor = replace(page.cursor, remaining=count_all(gained))
    before, counted = len(page.changes), page.cursor.remaining or 0
    through = _walk(page, gained, _take_rows)
    page.remaining = 0 if through else max(0, counted - (len(page.changes) - before))
    page.cursor = replace(page.cursor, remaining=page.remaining)
    if through:
        held = tuple(sorted({*page.cursor.scopes, *page.cursor.gained}))
        page.cursor = replace(page.cursor, phase="feed", scopes=held, gained=(), remaining=None)


def count_all(scopes: Collection[str]) -> int:
    """How many rows there are within the scopes."""
    return sum(count_rows(model, scopes) for model in wire_models())


def _walk(page: Page, scopes: Collection[str], take: _Take) -> bool:
    """The next rows of the scopes over all tables. Returns whether all are through; the cursor's model is "" then."""
    order = wire_models()
    labels = [model.label for model in order]
    position = labels.index(page.cursor.model) if page.cursor.model in labels else 0
    after = page.cursor.pk
    while position < len(order):
        if page.full:
            page.cursor = replace(page.cursor, model=labels[position], pk=after)
            return False
        after, through = take(page, order[position], scopes, after)
        if through:
            position, after = position + 1, ""
    page.cursor = replace(page.cursor, model="", pk="")
    return True


def _take_keys(page: Page, model: WireModel, scopes: Collection[str], after: str) -> tuple[str, bool]:
    wanted = page.slice
    keys = keys_after(model, scopes, after, wanted)
    for key in keys:
        if not page.take(removed(model.label, key)):
            return after, False
        after = key
    return after, len(keys) < wanted


def _take_rows(page: Page, model: WireModel, scopes: Collection[str], after: str) -> tuple[str, bool]:
    wanted = page.slice
    sized = sizes_after(model, scopes, after, wanted)
    if not sized:
        return after, True
    keys = page.fitting(sized)
    rows = stored_rows(model, scopes, keys)
    for key in keys:
        # A row that is gone by now, where one state cannot be read, comes with the feed.
        if key in rows and not page.take(put(model, rows[key])):
            return after, False
        after = key
    return after, len(keys) == len(sized) < wanted
