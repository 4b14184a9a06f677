"""The table of outcomes in the documentation is what recoveries do, on every database."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shelters.models import Shelter
from tests.support.factories import DeviceFactory
from tests.support.outcomes import CHANGES, ON_DELETE, POLICIES, SERVER, STRATEGIES, Case, play

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "outcomes.md"
BEGIN = "<!-- the tables below are held by a test; SYNCRESET_WRITE_OUTCOMES=1 writes them anew -->\n"


def written(strategy: str, on_delete: str) -> dict[str, dict[Case, str]]:
    """The cells of one table of the page, by policy."""
    heading = title(strategy, on_delete)
    lines = PAGE.read_text().split(BEGIN)[1].splitlines()
    start = lines.index(heading) + 4
    table: dict[str, dict[Case, str]] = {policy: {} for policy in POLICIES}
    for line in lines[start : start + len(CHANGES) * len(SERVER)]:
        change, server, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for policy, cell in zip(POLICIES, cells, strict=True):
            table[policy][change, server] = cell
    return table


def title(strategy: str, on_delete: str) -> str:
    return f'## `{strategy}`, `on_delete = "{on_delete}"`'


@pytest.mark.parametrize("on_delete", ON_DELETE)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_recovery_ends_as_the_table_says(
    device: DeviceFactory,
    shelter: Shelter,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    policy: str,
    on_delete: str,
) -> None:
    played = play(device(shelter), shelter, monkeypatch, strategy, policy, on_delete)

    if os.environ.get("SYNCRESET_WRITE_OUTCOMES"):
        note(strategy, policy, on_delete, played)
    assert played == written(strategy, on_delete)[policy]


def note(strategy: str, policy: str, on_delete: str, played: dict[Case, str]) -> None:
    """Write one column of the page."""
    head, _, body = PAGE.read_text().partition(BEGIN)
    tables: dict[tuple[str, str], dict[str, dict[Case, str]]] = {
        (kind, way): written(kind, way) if title(kind, way) in body else {name: {} for name in POLICIES}
        for kind in STRATEGIES
        for way in ON_DELETE
    }
    tables[strategy, on_delete][policy] = played
    PAGE.write_text(head + BEGIN + "\n".join(rendered(tables)) + "\n")


def rendered(tables: dict[tuple[str, str], dict[str, dict[Case, str]]]) -> Iterator[str]:
    for (strategy, on_delete), table in tables.items():
        yield ""
        yield title(strategy, on_delete)
        yield ""
        yield "| client | server | " + " | ".join(POLICIES) + " |"
        yield "|---|---|" + "---|" * len(POLICIES)
        for change in CHANGES:
            for server in SERVER:
                cells = (table[policy].get((change, server), "") for policy in POLICIES)
                yield f"| {change} | {server} | " + " | ".join(cells) + " |"
