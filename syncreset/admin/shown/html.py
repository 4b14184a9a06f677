"""How the admin shows what machines wrote: times in µs, wire values, states, and links between records.

Everything that came from a client is untrusted: it is escaped by Django, cut where it is long, and characters that do
not print (NUL, lone surrogates, turns of the direction) are shown as JSON escapes. What is written from the right is
isolated, so that no value breaks or disguises a page.
"""

import json
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from ...ledger.item import ItemState
from ...protocol.printable import cut, printable

logger = logging.getLogger(__name__)

#: Characters of a row's name; the whole is on the row's own page.
NAME_SHOWN = 200
#: The directions of characters by which the words around them could change places.
_FROM_THE_RIGHT = frozenset({"R", "AL", "AN"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The tone of each state of an item, a recovery, a reset, an upload and a client. The stylesheet has its colours.
_TONES = {
    "applied": "good", "done": "good", "bootstrapped": "good", "recovered": "good", "current": "good",
    "merged": "info", "merging": "info", "recovering": "info", "receiving": "info", "queued": "info",
    "discarded": "info", "expired": "warn",
    "parked": "warn", "review": "warn", "ordered": "warn", "scheduled": "info", "old": "warn", "waiting": "warn",
    "rejected": "bad", "failed": "bad", "refused": "bad",
    "reset": "warn", "old_schema": "warn", "behind": "info",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table below a record's fields. Cells are text, which the template escapes, or safe HTML.

    ``more`` is the address of the whole list where the table shows its beginning; ``marked`` are the places of the
    rows that want attention.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "None."
    note: str = ""
    more: str = ""
    marked: frozenset[int] = frozenset()

    @property
    def body(self) -> list[tuple[bool, Sequence[str]]]:
        """The rows, each with whether it is marked."""
        return [(place in self.marked, row) for place, row in enumerate(self.rows)]


def moment(microseconds: int | None, *, missing: str = "never") -> str:
    """A time (µs) for lists: date, minute and how long ago. None and 0 are no time."""
    local = _local(microseconds)
    if not microseconds:
        return missing
    if local is None:
        return "beyond the calendar"
    return format_html(
        '<time datetime="{}" title="{}" class="syncreset-time">{} <small>{}</small></time>',
        local.isoformat(),
        _exact(local),
        local.strftime("%Y-%m-%d %H:%M"),
        _distance(local),
    )


def instant(microseconds: int | None, *, missing: str = "—") -> str:
    """A time (µs) to its last digit, for comparing clocks. None and 0 are no time."""
    local = _local(microseconds)
    if not microseconds:
        return missing
    if local is None:
        return "beyond the calendar"
    return format_html(
        '<time datetime="{}" title="{}" class="syncreset-time">{}</time>',
        local.isoformat(),
        _distance(local),
        _exact(local),
    )


def _local(microseconds: int | None) -> datetime | None:
    try:
        return timezone.localtime(_EPOCH + timedelta(microseconds=microseconds or 0))
    except (OverflowError, ValueError):
        return None


def _exact(local: datetime) -> str:
    return f"{local.replace(tzinfo=None).isoformat(' ', 'microseconds')} {local.tzname()}"


def _distance(local: datetime) -> str:
    now = datetime.now(UTC)
    if abs(now - local) < timedelta(minutes=1):
        return "just now"
    return f"{timesince(local, now, depth=1)} ago" if local < now else f"in {timeuntil(local, now, depth=1)}"


def wire_text(value: Any, *, limit: int = 1000, indent: int | None = None) -> str:
    """A wire value as JSON that can be read, cut behind ``limit`` characters with a word on how long it is."""
    return cut(json.dumps(value, ensure_ascii=False, indent=indent), limit)


def isolated(text: str, *, limit: int = 1000) -> str:
    """Text that somebody wrote, cut where it is long: whatever direction it is written in, the words around it stay."""
    written = cut(text, limit)
    if written.isascii() or not any(unicodedata.bidirectional(char) in _FROM_THE_RIGHT for char in written):
        return written
    return format_html("<bdi>{}</bdi>", written)


def row_name(row: Model) -> str:
    """What a row of the application calls itself, or its key where its values are more than its ``__str__`` expects."""
    try:
        name = str(row)
    except Exception:
        logger.exception("%s %s has no name", row._meta.label_lower, printable(str(row.pk)))
        name = f"{row._meta.verbose_name} {row.pk}"
    return isolated(name, limit=NAME_SHOWN)


def code(text: str) -> SafeString:
    """Text in the type of code, which the stylesheet isolates."""
    return format_html('<code class="syncreset-wire">{}</code>', printable(text, lines=True))


def tone(state: str) -> str:
    """The name that the stylesheet has for the colours of a state."""
    return _TONES.get(state, "muted")


def badge(state: str, text: str = "", *, url: str = "") -> SafeString:
    """A state as a small coloured word, as a link where an address is given."""
    if url:
        return format_html(
            '<a href="{}" class="syncreset-badge syncreset-{}">{}</a>', url, tone(state), text or state
        )
    return format_html('<span class="syncreset-badge syncreset-{}">{}</span>', tone(state), text or state)


def count_link(count: int, url: str) -> str:
    """How many there are, leading to them where there are any."""
    return format_html('<a href="{}">{}</a>', url, f"{count:,}") if count else "0"


def totals_badges(totals: Mapping[str, int], filters: Mapping[str, str]) -> str:
    """How many items are in each state that has any, each leading to these items."""
    counted = [(state, totals.get(state.value, 0)) for state in ItemState]
    badges = [
        badge(
            state.value,
            f"{count:,} {state.label}",
            url=changelist_url("syncreset_item", **filters, state__exact=state.value),
        )
        for state, count in counted
        if count
    ]
    return format_html_join(" ", "{}", ((made,) for made in badges)) or "—"


def progress_bar(done: int, total: int) -> SafeString:
    """How far something has got, as a bar and in numbers."""
    return format_html(
        '<span class="syncreset-progress"><progress max="{}" value="{}"></progress> {} of {}</span>',
        max(total, 1),
        done if total else 1,
        f"{done:,}",
        f"{total:,}",
    )


def change_link(record: Model | None, text: str = "") -> str:
    """A link to the page of one of syncreset's own records."""
    if record is None:
        return "—"
    return format_html('<a href="{}">{}</a>', change_url(record), isolated(text or str(record)))


def change_url(record: Model) -> str:
    """The address of the page of one of syncreset's own records."""
    return reverse(f"admin:syncreset_{record._meta.model_name}_change", args=[record.pk])


def changelist_url(name: str, **filters: Any) -> str:
    """The address of a list in the admin (``app_model``), filtered."""
    url = reverse(f"admin:{name}_changelist")
    return f"{url}?{urlencode(filters)}" if filters else url
