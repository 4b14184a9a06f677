"""What a page brings from the feed: entries after the client's position, and at its end what has no number yet."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..feed.checkpoints import Checkpoint
from ..feed.cursor import WHOLE
from ..feed.entries import (
    Entry,
    EntryKind,
    count_unstamped,
    entries_after,
    mark_of_unstamped,
    unstamped_after,
)
from ..wire.model import wire_models
from ..wire.rows import stored_rows
from ..wire.sizes import sizes_of
from .page import Page, put, removed

Key = tuple[str, str]

#: Bytes of a change that brings no row, about.
_GONE = 150


def follow(page: Page, scopes: frozenset[str], *, whole: bool) -> bool:
    """Entries after the cursor. True where nothing is left: the client ends on a consistent state then.

    ``whole``: all was stamped that could be, so that what has no number yet is held by a writer, or younger.
    """
    start = len(page.changes)
    ended = _take_stamped(page, scopes) and _take_unstamped(page, scopes, whole=whole)
    order = {model.label: place for place, model in enumerate(wire_models())}
    page.changes[start:] = sorted(page.changes[start:], key=lambda change: order[change["model"]])
    return ended


def _take_stamped(page: Page, scopes: frozenset[str]) -> bool:
    """Put entries on the page in the feed's order. Returns whether all are on it, with room left."""
    while not page.full:
        wanted = page.slice
        entries = entries_after(page.cursor.number, page.cursor.entry, scopes, limit=wanted)
        taken = _take(page, entries, scopes)
        if taken:
            last = entries[taken - 1]
            page.cursor = replace(page.cursor, number=last.checkpoint or 0, entry=last.pk)
        if taken == len(entries) < wanted:
            return not page.full
    return False


def _take_unstamped(page: Page, scopes: frozenset[str], *, whole: bool) -> bool:
    """Put on the page what has no number yet, if it has room for all of it. It comes again once it is stamped.

    Where it has not, the next page has more that is stamped. What a writer holds is not stamped meanwhile: it is walked
    by id, and once more if any of it was written again before the end.
    """
    newest = Checkpoint.objects.order_by("-number")[:1].get()
    page.cursor = here = replace(page.cursor, number=newest.number, entry=WHOLE)
    before = page.changes[:]
    if not whole and count_unstamped(scopes, most=page.limit + 1) > page.limit:
        page.closed = True
        return False
    last = here.last if here.last and mark_of_unstamped(scopes, here.last) == here.mark else 0
    while not page.full:
        wanted = page.slice
        entries = unstamped_after(last, scopes, limit=wanted)
        taken = _take(page, entries, scopes)
        if taken == len(entries) < wanted:
            page.cursor = replace(here, reset=None, last=0, mark="")
            return True
        last = entries[taken - 1].pk if taken else last
    if whole:
        page.cursor = replace(here, last=last, mark=mark_of_unstamped(scopes, last))
    else:
        page.changes, page.cursor = before, replace(here, last=0, mark="")
    return False


def _take(page: Page, entries: Sequence[Entry], scopes: frozenset[str]) -> int:
    """Put what the first of the entries say on the page, each row once. Returns how many entries there was room for."""
    if not entries:
        return 0
    fitting = page.fitting(_sized(entries, scopes))
    found = _found(fitting, scopes)
    told = {(change["model"], change["pk"]) for change in page.changes if "fields" in change}
    for taken, entry in enumerate(fitting):
        key = (entry.model, entry.pk_text)
        change = None if key in told else found.get(key)
        told.add(key)
        if change is None:
            page.skip()
        elif not page.take(change):
            return taken
    return len(fitting)


def _sized(entries: Sequence[Entry], scopes: frozenset[str]) -> Iterator[tuple[Entry, int]]:
    """The entries, each with the bytes of what it brings, about; a row counts with the first of its entries."""
    sizes: dict[Key, int] = {}
    for model in wire_models():
        touched = {entry.pk_text for entry in entries if entry.model == model.label}
        if touched:
            sizes |= {(model.label, pk): size for pk, size in sizes_of(model, scopes, touched).items()}
    for entry in entries:
        yield entry, sizes.pop((entry.model, entry.pk_text), _GONE)


def _found(entries: Sequence[Entry], scopes: frozenset[str]) -> dict[Key, dict[str, Any]]:
    """What the entries come to, by key. What is gone from one held scope may stand in another."""
    kinds: dict[Key, dict[int, int]] = {}
    for entry in entries:
        kinds.setdefault((entry.model, entry.pk_text), {})[entry.kind] = entry.at
    changes: dict[Key, dict[str, Any]] = {}
    for model in wire_models():
        label = model.label
        touched = {pk: times for (kind, pk), times in kinds.items() if kind == label}
        rows = stored_rows(model, scopes, touched) if touched else {}
        for pk, times in touched.items():
            if pk in rows:
                changes[label, pk] = put(model, rows[pk])
            elif EntryKind.DELETED in times:
                changes[label, pk] = {"model": label, "pk": pk, "deleted": times[EntryKind.DELETED]}
            elif EntryKind.DEPARTED in times:
                changes[label, pk] = removed(label, pk)
    return changes
