"""A reset that is cut off, and a server that is restored to before it: what the new store had pulled is known to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.sdk import Replica
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.restoring import copy_database

pytestmark = pytest.mark.django_db(transaction=True)

DOG = "shelters.dog"


@pytest.fixture
def server(user_factory: UserFactory, shelter: Shelter) -> RealServer:
    return RealServer(user_factory(shelter))


@pytest.fixture
def phone(server: RealServer, tmp_path: Path) -> Iterator[Replica]:
    with ExitStack() as stack:
        yield stack.enter_context(Replica(tmp_path / "field.db", URL, "token", client=online(server)))


def test_a_value_that_only_the_new_store_had_pulled_is_told_where_an_edit_of_the_old_one_goes_before_it(
    server: RealServer, phone: Replica, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone.sync()
    phone.update(DOG, dog.pk, age=2)
    put_back: Callable[[], None] = copy_database()
    Reset.objects.force(Client.objects.all())
    Dog.objects.update(age=3)
    server.lose(phone, "/snapshot", seen=False)
    put_back()

    for _ in range(3):
        phone.sync()

    assert Dog.objects.get().age == 2
    told = Item.objects.get(code="replaced")
    assert (told.state, told.change["fields"]) == ("superseded", {"age": 3})


def test_so_it_is_where_a_deletion_goes_before_it(
    server: RealServer, phone: Replica, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone.sync()
    phone.delete(DOG, dog.pk)
    put_back: Callable[[], None] = copy_database()
    Reset.objects.force(Client.objects.all())
    Dog.objects.update(age=3)
    server.lose(phone, "/snapshot", seen=False)
    put_back()

    for _ in range(3):
        phone.sync()

    assert not Dog.objects.exists()
    told = Item.objects.get(code="replaced")
    assert (told.state, told.change["fields"]) == ("superseded", {"age": 3})
