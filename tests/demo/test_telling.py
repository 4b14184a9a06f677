"""The walk-through checks what it tells: a fact that does not hold ends it."""

import pytest

from demo_project.telling import StoryFailed, check, console, ledger


def test_facts_that_hold_are_shown() -> None:
    with console.capture() as shown:
        check({"the first": True, "the [second]": True})

    assert [line.split() for line in shown.get().splitlines()] == [
        ["✓", "the", "first"],
        ["✓", "the", "[second]"],
    ]


def test_all_facts_are_shown_before_one_that_does_not_hold_ends_it() -> None:
    with console.capture() as shown, pytest.raises(StoryFailed, match=r"^not true: the first$"):
        check({"the first": False, "the second": True})

    assert [line.split()[0] for line in shown.get().splitlines()] == ["✗", "✓"]


def test_a_ledger_has_every_state_and_the_sum() -> None:
    with console.capture() as shown:
        ledger("Ledgers", {"ben": {"applied": 2, "parked": 1}, "ada": {}})

    rows = [line.split() for line in shown.get().splitlines() if line.strip().startswith(("ben", "ada"))]
    assert rows == [
        ["ben", "2", "0", "0", "0", "1", "0", "3"],
        ["ada", "0", "0", "0", "0", "0", "0", "0"],
    ]
