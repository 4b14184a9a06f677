"""A row that two devices make under one key, where the one is reset several times, each reset cut off once."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.rules.strategies import BY_VALUE, STRATEGIES
from syncreset.sdk import Replica
from syncreset.tracking import registry
from tests.shelters.models import Shelter, Vet
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

VET = "shelters.vet"

#: Seconds between two writes: more than the clocks of two devices differ by, which is measured over the network.
APART = 0.5


@pytest.fixture
def server(user_factory: UserFactory, shelter: Shelter) -> RealServer:
    return RealServer(user_factory(shelter))


@pytest.fixture
def devices(server: RealServer, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    with ExitStack() as stack:
        ada, ben = (
            stack.enter_context(Replica(tmp_path / f"{name}.db", URL, "token", client=online(server)))
            for name in ("ada", "ben")
        )
        ada.sync()
        ben.sync()
        yield ada, ben


def known_of(key: str) -> str:
    """All that the server has of the row: itself, and what the ledger keeps of both sides."""
    row = Vet.objects.filter(pk=key).values_list("name", "phone").first()
    items = Item.objects.filter(model=VET, pk_text=key)
    return repr([row, *items.values_list("change", "fields", "before", "after")])


@pytest.mark.parametrize("later", ["the one that is reset", "the other"])
@pytest.mark.parametrize("written", [{}, {"phone": "again"}])
@pytest.mark.parametrize("resets", [2, 3])
def test_the_newest_value_stands_and_none_is_lost(
    devices: tuple[Replica, Replica], server: RealServer, later: str, written: dict[str, Any], resets: int
) -> None:
    ada, ben = devices
    for replica in (ben, ada) if later == "the one that is reset" else (ada, ben):
        name = "by ada" if replica is ada else "by ben"
        replica.create(VET, code="T3", name=name, phone=f"of {name}")
        sleep(APART)
    ben.sync()
    for number in range(resets):
        Reset.objects.force(Client.objects.filter(pk=ada.client_id))
        if number < resets - 1:
            server.lose(ada, "/snapshot", seen=False)
            if number == 0 and written:
                ada.update(VET, "T3", **written)
    for _ in range(3):
        ada.sync()

    known = known_of("T3")
    for value in ("by ada", "of by ada", "by ben", "of by ben", *written.values()):
        assert repr(value) in known
    assert {recovery.state for recovery in Recovery.objects.all()} <= {"done", "review"}
    assert not ada.sync().pending
    ben.sync()
    row = Vet.objects.get(pk="T3")
    newest = "by ada" if later == "the one that is reset" else "by ben"
    assert (row.name, row.phone) == (written.get("name", newest), written.get("phone", f"of {newest}"))
    held = [replica.get(VET, "T3") or {} for replica in (ada, ben)]
    assert [(vet.get("name"), vet.get("phone")) for vet in held] == [(row.name, row.phone)] * 2


#: What Ada writes between her two resets, into the row that her new store has from the server.
EDITS: dict[str, dict[str, str]] = {
    "phone": {"phone": "again"},
    "name": {"name": "again"},
    "her own": {"name": "by ada", "phone": "again"},
}
MADE_ANEW = {"name": "anew", "phone": "of anew"}
ADA_WRITES = ("", *EDITS, "deletes", "anew")
BEN_WRITES = ("", "phone", "deletes")


def write_between(ada: Replica, ben: Replica, key: str, hers: str, his: str) -> set[str]:
    """Write into the row of both stores, and return the values that were written."""
    if hers in ("deletes", "anew"):
        ada.delete(VET, key)
    if hers == "anew":
        ada.create(VET, code=key, **MADE_ANEW)
    if hers in EDITS:
        ada.update(VET, key, **EDITS[hers])
    if his == "deletes":
        ben.delete(VET, key)
    if his == "phone":
        ben.update(VET, key, phone="of ben again")
    written = MADE_ANEW if hers == "anew" else EDITS.get(hers, {})
    return {*written.values(), *(["of ben again"] if his == "phone" else ())}


@pytest.mark.parametrize(
    ("rule", "strategy"),
    [*((rule, None) for rule in ("client", "server", "review")), *(("newest", name) for name in STRATEGIES)],
)
def test_whatever_the_rules_and_whatever_is_written_between_the_resets_none_is_lost(
    devices: tuple[Replica, Replica],
    server: RealServer,
    settings: Any,
    monkeypatch: Any,
    rule: Any,
    strategy: Any,
) -> None:
    options = registry.options_for
    monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), conflicts={"*": rule}))
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": strategy}
    ada, ben = devices
    cases = {" ".join(case): case for case in product(("ada", "ben"), ADA_WRITES, BEN_WRITES)}
    for second in (False, True):
        for key, (later, _, _) in cases.items():
            name = later if second else {"ada": "ben", "ben": "ada"}[later]
            maker = ada if name == "ada" else ben
            maker.create(VET, code=key, name=f"by {name}", phone=f"of {name}")
        sleep(APART)
    ben.sync()
    hers = Client.objects.filter(pk=ada.client_id)
    Reset.objects.force(hers)
    server.lose(ada, "/snapshot", seen=False)
    values = {key: write_between(ada, ben, key, *case[1:]) for key, case in cases.items()}
    ben.sync()
    Reset.objects.force(hers)

    for _ in range(3):
        ada.sync()
        ben.sync()

    for key, (_, _, his) in cases.items():
        # What Ben himself has written over or deleted is his to lose.
        made = {"by ada", "of ada", *(() if his else ("by ben", "of ben"))}
        assert [value for value in values[key] | made if repr(value) not in known_of(key)] == [], key
    names = dict(Vet.objects.values_list("pk", "name"))
    if rule == "newest" and strategy not in BY_VALUE:
        assert (names["ada  "], names["ben  "]) == ("by ada", "by ben")
    else:
        assert {names["ada  "], names["ben  "]} == {"by ben" if rule in ("server", "review") else "by ada"}
    for replica in (ada, ben):
        assert {row["code"]: row["name"] for row in replica.all(VET)} == names
        assert replica.pending() == 0
