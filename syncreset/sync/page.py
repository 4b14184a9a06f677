"""One page of a pull: what is on it, and how much more it has room for."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..feed.checkpoints import Checkpoint
from ..feed.cursor import Cursor, encode_cursor
from ..wire.model import WireModel
from ..wire.rows import StoredRow

T = TypeVar("T")

#: How many rows or entries are looked at together. What is read of them has room on the page.
SLICE = 250


@dataclass(kw_only=True)
class Page:
    """Wire changes, the cursor behind them, and whether more is to come.

    It has room for ``limit`` more rows or entries and for ``room`` more bytes. The first change is taken whatever its
    size. ``newest`` is a checkpoint that proves all of it; None where what was read is newer than any.
    """

    cursor: Cursor
    limit: int
    room: int
    changes: list[dict[str, Any]] = field(default_factory=list)
    newest: Checkpoint | None = None
    more: bool = True
    #: How many rows are to be loaded after this page; None where none are being loaded.
    remaining: int | None = None
    #: Nothing more is to be put on it.
    closed: bool = False

    @property
    def full(self) -> bool:
        return self.closed or self.limit <= 0 or self.room <= 0

    @property
    def slice(self) -> int:
        """How many rows or entries to look at next."""
        return min(SLICE, self.limit)

    def take(self, change: dict[str, Any]) -> bool:
        """Put a change on the page. Returns whether it had room; else the page is closed."""
        size = wire_size(change)
        if size > self.room and self.changes:
            self.closed = True
            return False
        self.changes.append(change)
        self.limit -= 1
        self.room -= size
        return True

    def skip(self) -> None:
        """An entry was looked at that brings nothing."""
        self.limit -= 1

    def fitting(self, sized: Iterable[tuple[T, int]]) -> list[T]:
        """The first of the sized things that there is room for. Where there are none, the page is closed."""
        fitting: list[T] = []
        room = self.room
        for thing, size in sized:
            if size > room and (fitting or self.changes):
                break
            fitting.append(thing)
            room -= size
        self.closed = self.closed or not fitting
        return fitting

    def proven_by(self, checkpoint: Checkpoint) -> None:
        """Let the cursor have a checkpoint that was committed after the page was read as its proof."""
        self.cursor = replace(self.cursor, proof=checkpoint.number, salt=checkpoint.salt)

    @property
    def checkpoint(self) -> str:
        return encode_cursor(self.cursor)


def wire_size(change: dict[str, Any]) -> int:
    """The bytes of a change in an answer, with the comma after it."""
    text = json.dumps(change, separators=(",", ":"), ensure_ascii=False)
    if text.isascii():
        return len(text) + 1
    escaped = text.count("\u2028") + text.count("\u2029")  # three bytes each, and six as escapes
    return len(text.encode("utf-8", "surrogatepass")) + 3 * escaped + 1


def put(model: WireModel, stored: StoredRow) -> dict[str, Any]:
    """The change that brings a row."""
    return {
        "model": model.label,
        "pk": stored.pk,
        "fields": stored.row.fields,
        "updated": stored.row.updated,
        "clocks": stored.row.clocks,
    }


def removed(model: str, pk: str) -> dict[str, Any]:
    """The change that says of a row that it is no longer the user's."""
    return {"model": model, "pk": pk, "removed": True}
