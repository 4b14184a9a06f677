"""What a user may not write for now waits: one decision lets it in once the right is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from syncreset.apply.context import Context
from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.recovery.review import resolve
from syncreset.sdk import Replica
from syncreset.tracking.registry import options_for
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

Change = Callable[[Device, Dog], dict[str, Any]]

CHANGES: dict[str, Change] = {
    "add": lambda phone, dog: phone.create(DOG, dog_fields(dog.shelter, name="New")),
    "change": lambda phone, dog: phone.put(DOG, str(dog.pk), {"age": 9}),
    "delete": lambda phone, dog: phone.delete(DOG, str(dog.pk)),
}


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


@pytest.fixture
def user(user_factory: Any, shelter: Shelter) -> User:
    made: User = user_factory(shelter)
    return made


def permission(action: str) -> Permission:
    return Permission.objects.get(codename=f"{action}_dog")


def dogs() -> set[tuple[str, int | None]]:
    return set(Dog.objects.values_list("name", "age"))


AFTER: dict[str, set[tuple[str, int | None]]] = {
    "add": {("Rex", 1), ("New", None)},
    "change": {("Rex", 9)},
    "delete": set(),
}


def names(found: set[tuple[str, int | None]]) -> set[str]:
    return {name for name, _ in found}


@pytest.mark.parametrize("action", CHANGES)
@pytest.mark.parametrize("who", ["user", "operator"])
def test_what_a_right_was_missing_for_is_let_in_by_one_decision(
    device: DeviceFactory, user: User, dog: Dog, action: str, who: str, admin_user: User
) -> None:
    phone = device(user=user)
    phone.pull()
    user.user_permissions.remove(permission(action))

    (result,) = phone.push(CHANGES[action](phone, dog))

    assert (result["state"], result["problem"]["code"]) == ("parked", "forbidden")
    assert dogs() == {("Rex", 1)}
    refused = phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})
    assert (refused["state"], refused["problem"]["code"]) == ("parked", "forbidden")
    assert dogs() == {("Rex", 1)}
    if who == "user":
        user.user_permissions.add(permission(action))
        assert phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})["state"] == "applied"
    else:
        item = Item.objects.get()
        context = Context(
            client=Client.objects.get(pk=phone.client),
            user=admin_user,
            scopes=frozenset(),
            seen=None,
            received=now(),
            operator=True,
        )
        assert resolve(item, "client", context).state == "applied"
    assert names(dogs()) == names(AFTER[action])
    if action == "change":
        assert Dog.objects.get().age == 9


def test_what_somebody_else_changed_meanwhile_is_asked_of(
    device: DeviceFactory, user: User, dog: Dog
) -> None:
    phone = device(user=user)
    phone.pull()
    user.user_permissions.remove(permission("change"))
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"age": 9}))
    Dog.objects.update(age=5)
    user.user_permissions.add(permission("change"))

    item = phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})

    assert item["state"] == "parked"
    assert Dog.objects.get().age == 5


def test_a_row_that_the_user_may_not_write_waits_too(
    device: DeviceFactory, user: User, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[bool] = [False]
    monkeypatch.setattr(Dog.SyncMeta, "can_write", staticmethod(lambda *_: allowed[0]), raising=False)
    options_for.cache_clear()
    phone = device(user=user)
    phone.pull()

    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"age": 9}))
    assert (result["state"], result["problem"]["code"]) == ("parked", "forbidden")
    allowed[0] = True
    phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})

    assert Dog.objects.get().age == 9
    options_for.cache_clear()


def test_the_device_shows_what_waits_and_its_user_lets_it_in(user: User, dog: Dog, tmp_path: Path) -> None:
    server = RealServer(user)
    with Replica(tmp_path / "field.db", URL, "token", client=online(server)) as replica:
        replica.sync()
        user.user_permissions.remove(permission("change"))
        replica.update(DOG, dog.pk, age=9)
        assert replica.sync().results == {"parked": 1}
        (waiting,) = replica.unresolved()
        assert (replica.get(DOG, dog.pk) or {})["age"] == 1

        user.user_permissions.add(permission("change"))
        replica.resolve(waiting, "client")
        replica.sync()

        assert (replica.get(DOG, dog.pk) or {})["age"] == 9
    assert Dog.objects.get().age == 9
