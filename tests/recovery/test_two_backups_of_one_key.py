"""A row that two devices make under one key, where two backups of the one are laid over each other.

The first reset of Ada's device fills its new store, which then holds Ben's row, and the connection is lost. A second
reset sets that store aside as well, before anything of the first backup was sent.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.rules.strategies import BY_VALUE, STRATEGIES
from syncreset.sdk import Replica, Request, Response, ServerUnavailable
from syncreset.tracking import registry
from tests.shelters.models import Shelter, Vet
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online, sync
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

VET = "shelters.vet"

#: Seconds between two writes: more than the clocks of two devices differ by, which is measured over the network.
APART = 0.3

#: What Ada writes into the row that her new store has from the server.
EDITS = {
    "phone": {"phone": "again"},
    "name": {"name": "again"},
    "the same name": {"name": "by ada", "phone": "again"},
    "the name that it has": {"name": "by ben", "phone": "again"},
}
MADE_ANEW = {"name": "anew", "phone": "of anew"}
ADA_WRITES = ("nothing", *EDITS, "deletes", "makes it anew")
BEN_WRITES = ("nothing", "phone", "deletes")


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


def force(replica: Replica) -> None:
    Reset.objects.force(Client.objects.filter(pk=replica.client_id))


def cut_off_after_the_bootstrap(server: RealServer, replica: Replica) -> None:
    """Lose the connection once the new store is filled, before the device has noted that it is."""

    def answer(request: Request) -> Response:
        if request.path.startswith("resets/"):
            raise ServerUnavailable("no answer")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(replica, answer)
    assert {row["code"] for row in replica.all(VET)} == set(Vet.objects.values_list("code", flat=True))
    assert not Recovery.objects.exists()


def write_between(ada: Replica, ben: Replica, key: str, hers: str, his: str) -> set[str]:
    """Write into the row of both stores, Ben last, and return the values that were new there."""
    held = {*(ada.get(VET, key) or {}).values()}
    if hers in ("deletes", "makes it anew"):
        ada.delete(VET, key)
    if hers == "makes it anew":
        ada.create(VET, code=key, **MADE_ANEW)
    if hers in EDITS:
        ada.update(VET, key, **EDITS[hers])
    if his == "deletes":
        ben.delete(VET, key)
    if his == "phone":
        ben.update(VET, key, phone="of ben again")
    written = MADE_ANEW if hers == "makes it anew" else EDITS.get(hers, {})
    return {*written.values(), *(["of ben again"] if his == "phone" else ())} - held


def known_of(key: str) -> str:
    """All that the server has of the row: itself, and what the ledger keeps of both sides."""
    row = Vet.objects.filter(pk=key).values_list("name", "phone").first()
    items = Item.objects.filter(model=VET, pk_text=key)
    return repr([row, *items.values_list("change", "fields", "before", "after")])


def newest_name(later: str, hers: str) -> str:
    """The one that was written last. To write what the row of the new store has already is no edit."""
    if hers in EDITS:
        written = EDITS[hers].get("name", "by ben")
        return f"by {later}" if written == "by ben" else written
    return MADE_ANEW["name"] if hers == "makes it anew" else f"by {later}"


@pytest.mark.parametrize(
    ("rule", "strategy"),
    [*((rule, None) for rule in ("client", "server", "review")), *(("newest", name) for name in STRATEGIES)],
)
def test_both_rows_are_merged_and_none_of_their_values_is_lost(
    devices: tuple[Replica, Replica],
    server: RealServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    rule: Any,
    strategy: str | None,
) -> None:
    options = registry.options_for
    monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), conflicts={"*": rule}))
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": strategy}
    ada, ben = devices
    cases = {
        f"T{number}": case
        for number, case in enumerate(product(("ada", "ben"), ADA_WRITES, BEN_WRITES), start=1)
    }
    for second in (False, True):
        for key, (later, _, _) in cases.items():
            name = later if second else {"ada": "ben", "ben": "ada"}[later]
            (ada if name == "ada" else ben).create(VET, code=key, name=f"by {name}", phone=f"of {name}")
        sleep(APART)
    ben.sync()
    force(ada)
    cut_off_after_the_bootstrap(server, ada)
    values = {key: write_between(ada, ben, key, *case[1:]) for key, case in cases.items()}
    ben.sync()
    force(ada)

    ada.sync()

    assert Recovery.objects.count() == 1
    assert [backup.state for backup in ada.backups()] == ["receipted"] * 2
    for _ in range(2):
        ben.sync()
        ada.sync()
    items = Item.objects.count()
    for key, (_, _, his) in cases.items():
        # What Ben himself has written over or deleted is his to lose.
        made = {"by ada", "of ada", *(() if his != "nothing" else ("by ben", "of ben"))}
        lost = [value for value in values[key] | made if repr(value) not in known_of(key)]
        assert not lost, (key, cases[key])
        assert Item.objects.filter(model=VET, pk_text=key).exists()
    names = dict(Vet.objects.values_list("pk", "name"))
    if rule == "newest" and strategy not in BY_VALUE:
        for key, (later, hers, his) in cases.items():
            if his != "deletes" and hers != "deletes":
                assert names[key] == newest_name(later, hers), cases[key]
    for replica in (ada, ben):
        assert {row["code"]: row["name"] for row in replica.all(VET)} == names
        assert replica.pending() == 0
    ada.sync()
    assert Item.objects.count() == items
