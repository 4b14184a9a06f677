"""What operators read: tables, moments, progress and questions. Nothing here knows what is told."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.timesince import timesince, timeuntil

from ..protocol.printable import printable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDEST = 60
_BAR = 24


class Errors(Protocol):
    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> Any: ...

    def isatty(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a subcommand has to say: ``data`` for ``--json``, ``lines`` for people.

    ``failure``: what is wrong and what to do, where the command ends with another status than 0.
    """

    data: dict[str, Any]
    lines: Sequence[str]
    failure: str = ""


@dataclass(kw_only=True)
class Console:
    """Where progress and questions go: the error stream, so that the output stays what was asked for.

    On a terminal progress is one line that is written over; elsewhere a line now and then, where work takes long.
    """

    errors: Errors
    quiet: bool = False
    _shown: float | None = field(default=None, init=False)
    _open: bool = field(default=False, init=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far ``what`` has got."""
        if self.quiet:
            return
        text = f"{what}: {done:,} of {total:,}"
        if not self.errors.isatty():
            if self._is_time(5.0):
                self.errors.write(text)
            return
        if not self._open or done >= total or self._is_time(0.1):
            filled = _BAR if not total else _BAR * done // total
            self.errors.write(f"\r[{'#' * filled:<{_BAR}}] {text}\x1b[K", ending="")
            self._open = True
        if done >= total:
            self.close()

    def _is_time(self, seconds: float) -> bool:
        """Whether that much time has gone by since this was last true, or first asked."""
        at = time.monotonic()
        if self._shown is None:
            self._shown = at
        if at - self._shown < seconds:
            return False
        self._shown = at
        return True

    def close(self) -> None:
        """End the line of progress, if one is open."""
        if self._open:
            self.errors.write("")
            self._open = False

    def confirm(self, question: str) -> bool:
        """Ask for the word yes. Raises CommandError where nobody can answer."""
        self.errors.write(f"{question}\nType 'yes' to go on: ", ending="")
        answer = sys.stdin.readline()
        if not answer:
            raise CommandError("Nobody is there to answer; give --yes if you mean it.")
        return answer.strip().lower() == "yes"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, more: int = 0) -> Iterator[str]:
    """Lines of a table; numbers stand to the right, long texts are cut. ``more`` rows are not shown."""
    body = [list(row) for row in rows]
    texts = [[_cell(value) for value in row] for row in body]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    numeric = [
        bool(body) and all(isinstance(row[place], int) for row in body) for place in range(len(columns))
    ]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numeric, strict=True)
        )
        return "  ".join(aligned).rstrip()

    yield line(columns)
    yield "  ".join("-" * width for width in widths)
    yield from map(line, texts)
    if more > 0:
        yield f"… and {more:,} more"


def facts(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Lines of names and values."""
    text = [(name, _cell(value)) for name, value in pairs]
    width = max(len(name) for name, _ in text)
    yield from (f"{name.ljust(width)}  {value}" for name, value in text)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def moment(microseconds: int | None, *, missing: str = "never") -> str:
    """A time (µs) as date, minute and distance from now. None and 0 are no time."""
    if not microseconds:
        return missing
    try:
        local = timezone.localtime(_EPOCH + timedelta(microseconds=microseconds))
    except (OverflowError, ValueError):
        return "beyond the calendar"
    now = timezone.now()
    if abs(now - local) < timedelta(minutes=1):
        distance = "now"
    elif local < now:
        distance = f"{timesince(local, now, depth=1)} ago"
    else:
        distance = f"in {timeuntil(local, now, depth=1)}"
    return f"{local:%Y-%m-%d %H:%M} ({distance})".replace("\xa0", " ")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = "—" if value is None or value == "" else printable(str(value))
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
