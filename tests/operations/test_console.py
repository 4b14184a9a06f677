"""Tables, moments and progress as operators see them."""

import io
import time

import pytest
from django.core.management.base import OutputWrapper

from syncreset.management.console import Console, counted, facts, moment, table
from syncreset.protocol.clock import now
from syncreset.protocol.printable import printable
from tests.support.commands import DAY


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_written_over_one_line() -> None:
    stream = Terminal()
    console = Console(errors=OutputWrapper(stream))

    for done in range(101):
        console.progress("rows", done, 100)

    text = stream.getvalue()
    assert text.startswith("\r[                        ] rows: 0 of 100\x1b[K")
    assert text.endswith("\r[########################] rows: 100 of 100\x1b[K\n")
    assert text.count("\n") == 1
    assert text.count("\r") < 20


def test_elsewhere_progress_is_told_only_where_work_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    stream = io.StringIO()
    console = Console(errors=OutputWrapper(stream))

    console.progress("rows", 0, 9)
    clock += 1
    console.progress("rows", 1, 9)
    assert stream.getvalue() == ""
    for done in (2, 3):
        clock += 6
        console.progress("rows", done, 9)

    assert stream.getvalue() == "rows: 2 of 9\nrows: 3 of 9\n"


def test_quiet_is_quiet() -> None:
    stream = Terminal()
    console = Console(errors=OutputWrapper(stream), quiet=True)

    console.progress("rows", 1, 1)
    console.close()

    assert stream.getvalue() == ""


def test_a_table_aligns_numbers_to_the_right_and_cuts_long_texts() -> None:
    lines = list(table(["name", "count", "why"], [["a", 1, None], ["bb", 1234, "x" * 90]], more=2))

    assert lines == [
        f"name  count  {'why':<60}".rstrip(),
        f"----  -----  {'-' * 60}",
        "a         1  —",
        f"bb    1,234  {'x' * 59}…",
        "… and 2 more",
    ]
    assert list(table(["name"], [])) == ["name", "----"]
    assert list(facts([("a", True), ("bbb", 1000)])) == ["a    yes", "bbb  1,000"]


def test_what_does_not_print_is_escaped() -> None:
    assert printable("Ådå\x1b[2J\ud800\n") == "Ådå\\u001b[2J\\ud800\\n"


def test_moments_say_how_far_away_they_are() -> None:
    assert moment(None) == moment(0) == "never"
    assert moment(now()).endswith(" (now)")
    assert moment(now() - 3 * DAY).endswith(" (3 days ago)")
    assert moment(now() + 3 * DAY + DAY // 24).endswith(" (in 3 days)")
    assert moment(2**63 - 1) == "beyond the calendar"


def test_nouns_follow_their_number() -> None:
    assert [counted(count, "client") for count in (0, 1, 1500)] == ["0 clients", "1 client", "1,500 clients"]
    assert counted(2, "thing is wrong", "things are wrong") == "2 things are wrong"
