"""The page on strategies: its table is what recoveries do, and its own strategy recovers what it says."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test.utils import isolate_apps

from syncreset.ledger.item import Item
from syncreset.models import SyncTrackedModel
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from syncreset.rules.strategies import STRATEGIES
from syncreset.sdk import Replica
from syncreset.tracking.options import parse_options
from tests.docs.strategies_story import DOGS, Played, play
from tests.shelters.models import Dog, Shelter
from tests.support.commands import command, data_of
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.pages import ROOT, blocks, page
from tests.support.snapshots import edited, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "docs/how-to/choose-a-strategy.md"
BEGIN = "<!-- the table below is held by a test; SYNCRESET_WRITE_STRATEGIES=1 writes it anew -->\n"
END = "<!-- here ends what the test writes -->\n"
ORDER = ("by_base", "by_object", "by_field", "by_update_log", "overwrite")


def written() -> dict[str, Played]:
    """The table of the page: strategy to dog to cell."""
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in page(PAGE).partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    ]
    return {
        name: {row[0]: row[column] for row in rows[2:]}
        for column, name in enumerate(rows[0][3:] if rows else (), 3)
    }


def write(strategy: str, played: Played) -> None:
    table = written() | {strategy: played}
    lines = ["| dog | on the phone | by others | " + " | ".join(f"`{name}`" for name in ORDER) + " |"]
    lines.append("|---" * (3 + len(ORDER)) + "|")
    for told in DOGS:
        cells = (table.get(name, {}).get(told.name, "") for name in ORDER)
        lines.append(f"| {told.name} | {told.phone} | {told.others} | " + " | ".join(cells) + " |")
    before, _, rest = page(PAGE).partition(BEGIN)
    after = rest.partition(END)[2]
    (ROOT / PAGE).write_text(
        before + BEGIN + "\n" + "\n".join(lines) + "\n\n" + END + after, encoding="utf-8"
    )


def test_the_table_has_all_strategies_and_tells_the_story_that_is_played() -> None:
    assert sorted(written()) == sorted(STRATEGIES)
    for told in DOGS:
        assert f"| {told.name} | {told.phone} | {told.others} |" in page(PAGE)


@pytest.mark.parametrize("strategy", ORDER)
def test_a_recovery_ends_as_the_table_says(
    device: Callable[..., Device], shelter: Shelter, strategy: str
) -> None:
    recovery, played = play(device, shelter, strategy)

    if os.environ.get("SYNCRESET_WRITE_STRATEGIES"):
        write(strategy, played)
    assert recovery.state == "done", recovery.problem
    assert played == written()[strategy]


@pytest.fixture
def shown_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's own strategy as a module that can be imported. Gives its dotted path."""
    (shown,) = (block for block in blocks(page(PAGE)) if block.path == "shelters/strategies.py")
    (tmp_path / "strategies_of_the_page.py").write_text(shown.text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "strategies_of_the_page.drafts_whole"
    sys.modules.pop("strategies_of_the_page", None)


def offline_edits(device: Callable[..., Device], shelter: Shelter) -> Recovery:
    """Two dogs, one of them with an intake number, that phone and server edited in different fields."""
    for name, number in (("Draft", ""), ("Admitted", "17")):
        Dog.objects.create(shelter=shelter, name=name, intake_no=number, age=3, weight=10)
    phone = device(shelter)
    phone.pull()
    lines = [edited(row, age=4) for (model, _), row in phone.rows.items() if model == DOG]
    Dog.objects.update(weight=12)
    return recover(phone, forced(phone), lines)


def weights() -> dict[str, int]:
    return {dog.name: int(dog.weight or 0) for dog in Dog.objects.filter(age=4)}


def test_the_pages_own_strategy_takes_drafts_as_a_whole_by_setting(
    device: Callable[..., Device], shelter: Shelter, settings: Any, shown_strategy: str
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": shown_strategy}

    offline_edits(device, shelter)

    assert weights() == {"Draft": 10, "Admitted": 12}
    overwritten = Item.objects.get(change__contains='"overrides":true')
    assert overwritten.fields["weight"]["server"] == "12.00"


def test_the_pages_own_strategy_may_be_chosen_when_recovering_again(
    device: Callable[..., Device], shelter: Shelter, shown_strategy: str
) -> None:
    first = offline_edits(device, shelter)
    assert weights() == {"Draft": 12, "Admitted": 12}

    again = data_of("recover", str(first.pk), "--strategy", shown_strategy, "--wait")

    assert (again["state"], again["strategy"]) == ("done", shown_strategy)
    assert weights() == {"Draft": 10, "Admitted": 12}


def test_what_the_page_says_goes_first_goes_first(
    device: Callable[..., Device], shelter: Shelter, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": "by_object"}
    first = offline_edits(device, shelter)
    assert weights() == {"Draft": 10, "Admitted": 10}

    Dog.objects.update(weight=13)
    chosen = recover_again(first, strategy="by_base")
    run(chosen.pk)

    assert weights() == {"Draft": 13, "Admitted": 13}


def test_the_commands_of_the_page_run(device: Callable[..., Device], shelter: Shelter) -> None:
    recovery, _ = play(device, shelter, "by_base")
    (console,) = (block.text for block in blocks(page(PAGE)) if block.language == "console")

    for line in console.splitlines():
        assert line.startswith("$ python manage.py syncreset ")
        command(*line.replace("RECOVERY_ID", str(recovery.pk)).split()[4:])

    assert list(Recovery.objects.order_by("created").values_list("kind", "strategy", "state")) == [
        ("merge", "by_base", "done"),
        ("preview", "by_object", "done"),
        ("merge", "by_object", "queued"),
    ]


@isolate_apps("tests.shelters")
def test_the_blocks_of_the_page_declare_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {block.path: block.text for block in blocks(page(PAGE)) if block.language == "python"}
    monkeypatch.chdir(tmp_path)
    model: dict[str, Any] = {"SyncTrackedModel": SyncTrackedModel, "__name__": "tests.shelters.models"}
    project: dict[str, Any] = {}
    device: dict[str, Any] = {"Replica": Replica, "token": "secret"}

    exec(shown["shelters/models.py"], model)
    exec(shown["project/settings.py"], project)
    exec(shown["device.py"], device)

    assert parse_options(model["IntakeForm"]).recovery == "by_object"
    assert project["SYNCRESET"]["STRATEGY"] in STRATEGIES
    with device["replica"] as replica:
        assert replica.pending() == 0
