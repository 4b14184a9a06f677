"""What was decided holds while it is acted upon: requests that hang, purges between a question and its answer."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import get_resolver

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed import checkpoints
from syncreset.sync.read import read_page
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, forced

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


@pytest.mark.parametrize("meanwhile", [0, 1])
def test_a_push_that_a_reset_has_overtaken_is_not_applied(
    phone: Device, shelter: Shelter, meanwhile: int
) -> None:
    hanging = phone.body(phone.create(DOG, dog_fields(shelter)))
    for number in range(meanwhile):
        Dog.objects.create(shelter=shelter, name=f"Meanwhile {number}")
    bootstrap(phone, forced(phone))

    problem = phone.post("/push", hanging, 409)

    assert problem["code"] == "overtaken"
    assert not Dog.objects.filter(name="Rex").exists()
    assert phone.get(f"/resets/{Reset.objects.get().pk}")["state"] == "bootstrapped"


def test_what_is_sent_after_the_bootstrap_is_applied(phone: Device, shelter: Shelter) -> None:
    bootstrap(phone, forced(phone))

    (told,) = phone.push(phone.create(DOG, dog_fields(shelter)))

    assert told["state"] == "applied"


def test_an_order_given_while_a_push_waits_for_the_clients_row_holds_it(
    phone: Device, shelter: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = phone.body(phone.create(DOG, dog_fields(shelter)))

    def ordered_meanwhile(records: Any) -> bool:
        Reset.objects.force(Client.objects.filter(pk=phone.client))
        return bool(records.exists())

    monkeypatch.setattr("syncreset.sync.push.lock_row", ordered_meanwhile)

    assert phone.post("/push", body, 409)["code"] == "client_reset"
    assert not Dog.objects.exists()
    assert Reset.objects.open().count() == 1


@pytest.fixture
def purge_in_between(phone: Device, shelter: Shelter, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The next pull is asked whether it may go on, and then everything up to now is purged before its page is read."""
    purged: list[str] = []

    def late(*arguments: Any, **more: Any) -> Any:
        if not purged:
            purged.append("once")
            dog = Dog.objects.create(shelter=shelter, name="Gone")
            checkpoints.stamp()
            dog.delete()
            checkpoints.stamp()
            checkpoints.purge(2**60)
        return read_page(*arguments, **more)

    monkeypatch.setattr("syncreset.sync.pull.read_page", late)
    return purged


def test_no_page_is_read_from_a_feed_that_was_purged_meanwhile(
    phone: Device, purge_in_between: list[str]
) -> None:
    problem = phone.pull(status=409)

    assert purge_in_between == ["once"]
    assert (problem["code"], problem["reason"]) == ("client_reset", "checkpoint_expired")


def test_no_view_runs_within_a_transaction_of_djangos(
    phone: Device, shelter: Shelter, user_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[bool] = []
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def watched(*arguments: Any, **more: Any) -> Any:
        within.append(connection.in_atomic_block)
        return read_page(*arguments, **more)

    monkeypatch.setattr("syncreset.sync.pull.read_page", watched)
    phone.pull()

    assert within == [False]
    views: list[Any] = [pattern.callback for pattern in get_resolver("syncreset.api.urls").url_patterns]
    assert all("default" in view._non_atomic_requests for view in views)
    assert User.objects.exists()
