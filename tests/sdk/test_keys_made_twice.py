"""A row that two devices make under one key, where the backups of the one are laid over each other."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.sdk import Replica
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
