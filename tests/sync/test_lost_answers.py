"""A push whose answer was lost is sent again: it does not win over what was written with it in view."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.sdk import Replica
from syncreset.tracking import registry
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

FAST = 40_000_000


@pytest.fixture
def server(user_factory: UserFactory, shelter: Shelter) -> RealServer:
    return RealServer(user_factory(shelter))


@pytest.fixture
def stores(server: RealServer, tmp_path: Path) -> Iterator[dict[str, Replica]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Replica(tmp_path / f"{name}.db", URL, "token", client=online(server)))
            for name in ("ada", "ben")
        }


@pytest.mark.parametrize("fast", [0, FAST], ids=["exact", "fast"])
@pytest.mark.parametrize("rule", ["newest", "client"])
def test_a_repeated_push_does_not_undo_what_was_written_on_top_of_it(
    stores: dict[str, Replica],
    server: RealServer,
    shelter: Shelter,
    monkeypatch: pytest.MonkeyPatch,
    rule: Any,
    fast: int,
) -> None:
    options = registry.options_for
    monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), conflicts={"*": rule}))
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    ada, ben = stores["ada"], stores["ben"]
    for replica in stores.values():
        replica.sync()
    ada.connection.execute('UPDATE _syncreset_clock SET "offset" = "offset" + ?', (fast,))
    ada.update(DOG, dog.pk, name="1 by ada")
    server.lose(ada, "push", seen=True)
    ben.sync()
    assert (ben.get(DOG, dog.pk) or {})["name"] == "1 by ada"
    ben.update(DOG, dog.pk, name="2 by ben, who saw 1")
    ben.sync()
    ada.update(DOG, dog.pk, age=2)

    for replica in (ada, ben):
        replica.sync()

    dog.refresh_from_db()
    assert (dog.name, dog.age) == ("2 by ben, who saw 1", 2)
    for replica in stores.values():
        assert (replica.get(DOG, dog.pk) or {})["name"] == "2 by ben, who saw 1"
        assert (replica.pending(), replica.unresolved()) == (0, [])
    assert not Item.objects.exists()
