"""The Python SDK against the real server: HTTP, Redis and a worker in a process of its own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import Checkpoint
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.sdk import Replica, ResetEvent
from tests.market.models import Basket, Product, Tag
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory, WorkerFactory

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]

DOG = "shelters.dog"
PRODUCT = "market.product"

ReplicaFactory = Callable[..., Replica]


@pytest.fixture
def replica(
    live_server: Any, user_factory: UserFactory, shelter: Shelter, tmp_path: Path
) -> Iterator[ReplicaFactory]:
    """Makes replicas of new users of the shelter."""
    with contextlib.ExitStack() as stack:

        def make(name: str, **options: Any) -> Replica:
            user: User = user_factory(shelter, name=name)
            token = Token.objects.create(user=user)
            directory = tmp_path / name
            directory.mkdir()
            url = f"{live_server.url}/sync/v1/"
            return stack.enter_context(Replica(directory / "field.db", url, token.key, name=name, **options))

        yield make


def test_a_row_made_with_defaults_left_out_is_pushed_once_and_completed_by_the_server(
    replica: ReplicaFactory, shelter: Shelter
) -> None:
    phone = replica("ada")
    phone.sync()

    pk = phone.create(DOG, shelter=shelter.pk, name="Rex")
    first, second = phone.sync(), phone.sync()

    assert dict(first.results) == {"applied": 1}
    assert second.pushed == 0
    assert phone.unresolved() == []
    row = phone.get(DOG, pk)
    assert row is not None
    assert row["notes"] == ""


def test_unsynced_work_survives_a_forced_reset(
    replica: ReplicaFactory, shelter: Shelter, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    worker(concurrency=1)
    kept = Dog.objects.create(shelter=shelter, name="Kept", age=1)
    doomed = Dog.objects.create(shelter=shelter, name="Doomed")
    events: list[ResetEvent] = []
    phone = replica("ada", on_reset=events.append)
    phone.sync()
    phone.connection.execute("UPDATE shelters_dog SET age = 2 WHERE id = ?", (str(kept.pk),))
    phone.create(DOG, shelter=shelter.pk, name="New")
    phone.delete(DOG, doomed.pk)
    Dog.objects.filter(pk=kept.pk).update(name="Renamed meanwhile")

    Reset.objects.force(Client.objects.all())
    report = phone.sync(wait=True)

    assert report.reset is not None
    assert (report.reset.reason, report.reset.state) == ("admin_forced", "recovered")
    assert dict(report.reset.totals)["applied"] == 3, list(
        Item.objects.values_list("op", "state", "problem", "fields")
    )
    assert dict(Dog.objects.values_list("name", "age")) == {"Renamed meanwhile": 2, "New": None}
    assert {row["name"] for row in phone.all(DOG)} == {"Renamed meanwhile", "New"}
    assert [event.stage for event in events if event.stage not in ("uploaded", "recovering")] == [
        "noted",
        "backed_up",
        "downloaded",
        "recovered",
        "done",
    ]
    (backup,) = phone.backups()
    assert backup.state == "receipted"
    with phone.open_backup(backup) as before:
        assert {row["name"] for row in before.all(DOG)} == {"Kept", "New"}


def test_a_restored_server_is_healed_by_the_device_that_knows_more(
    replica: ReplicaFactory, shelter: Shelter, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    worker(concurrency=1)
    old = Dog.objects.create(shelter=shelter, name="Old", age=1)
    clocks = {"last_updated": old.last_updated, "field_timestamps": old.field_timestamps}
    phone = replica("ada")
    phone.sync()
    kept_checkpoints = list(Checkpoint.objects.values_list("number", flat=True))
    phone.update(DOG, old.pk, age=9)
    phone.create(DOG, shelter=shelter.pk, name="Acknowledged")
    assert dict(phone.sync().results) == {"applied": 2}

    # What a restore does: rows, entries and checkpoints are again what they were.
    Dog.objects.filter(name="Acknowledged").delete()
    Dog.objects.filter(pk=old.pk).update(age=1, **clocks)
    Entry.objects.all().delete()
    Checkpoint.objects.exclude(number__in=kept_checkpoints).delete()
    phone.update(DOG, old.pk, notes="made after the restore")
    report = phone.sync(wait=True)

    assert report.reset is not None
    assert (report.reset.reason, report.reset.state) == ("history_diverged", "recovered")
    assert dict(Dog.objects.values_list("name", "age")) == {"Old": 9, "Acknowledged": None}
    assert Dog.objects.get(pk=old.pk).notes == "made after the restore"
    assert set(Item.objects.values_list("state", flat=True)) == {"applied"}
    assert {row["name"] for row in phone.all(DOG)} == {"Old", "Acknowledged"}


def test_parked_items_are_listed_and_decided_on_the_device(
    replica: ReplicaFactory, shelter: Shelter, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    worker(concurrency=1)
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone = replica("ada")
    phone.sync()
    phone.update(DOG, dog.pk, notes="the phone's")
    Dog.objects.update(notes="the server's")
    Reset.objects.force(Client.objects.all())
    phone.sync(wait=True)

    (parked,) = phone.items()
    assert (parked.model, parked.pk, parked.fields["notes"]["server"]) == (DOG, str(dog.pk), "the server's")
    decided = phone.resolve(parked, {"notes": "both"})
    phone.sync()

    assert decided.state == "applied"
    assert phone.items() == []
    row = phone.get(DOG, dog.pk)
    assert row is not None
    assert row["notes"] == "both"


def test_a_change_parked_when_pushed_is_decided_on_the_device(
    replica: ReplicaFactory, shelter: Shelter
) -> None:
    Dog.objects.create(shelter=shelter, name="Chipped", chip="taken")
    phone = replica("ada")
    phone.sync()
    pk = phone.create(DOG, shelter=shelter.pk, name="New", chip="taken")
    phone.sync()
    (parked,) = phone.unresolved()
    assert (parked.state, parked.code) == ("parked", "unique")

    decided = phone.resolve(parked, {"chip": "free"})
    phone.sync()

    assert decided.state == "applied"
    assert phone.unresolved() == []
    row = phone.get(DOG, pk)
    assert row is not None
    assert (row["name"], row["chip"]) == ("New", "free")


def test_what_two_devices_count_offline_adds_up_over_the_reset_of_one(
    replica: ReplicaFactory, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    worker(concurrency=1)
    red, green, _ = (Tag.objects.create(name=name) for name in ("red", "green", "ripe"))
    apples = Product.objects.create(name="Apples", stock=10, sold=2**53, weight="1.50")
    apples.tags.set([red, green])
    phone, tablet = replica("ada"), replica("ben")
    phone.sync()
    tablet.sync()
    for _ in range(3):
        phone.connection.execute("UPDATE market_product SET stock = stock - 1")
    phone.update(PRODUCT, apples.pk, sold=2**53 + 3, weight="0.75", tags=["red", "green", "ripe"])
    tablet.update(PRODUCT, apples.pk, stock=15, sold=2**53 - 1, weight="2.00", tags=["red"])
    assert dict(tablet.sync().results) == {"applied": 1}

    Reset.objects.force(Client.objects.filter(name="ada"))
    report = phone.sync(wait=True)
    phone.update(PRODUCT, apples.pk, stock=(phone.get(PRODUCT, apples.pk) or {})["stock"] + 1)
    phone.sync()
    tablet.sync()

    assert report.reset is not None
    assert (report.reset.state, dict(report.reset.totals)["applied"]) == ("recovered", 1)
    apples.refresh_from_db()
    assert (apples.stock, apples.sold, str(apples.weight)) == (10 - 3 + 5 + 1, 2**53 + 2, "1.25")
    assert sorted(tag.pk for tag in apples.tags.all()) == ["red", "ripe"]
    ours = phone.get(PRODUCT, apples.pk)
    assert ours == tablet.get(PRODUCT, apples.pk)
    assert ours is not None
    assert (ours["stock"], ours["sold"], ours["weight"]) == (13, str(2**53 + 2), "1.25")
    assert ours["tags"] == ["red", "ripe"]
    assert (phone.unresolved(), tablet.unresolved()) == ([], [])


def test_a_tracked_through_table_is_synced_as_rows(replica: ReplicaFactory) -> None:
    apples = Product.objects.create(name="Apples")
    pears = Product.objects.create(name="Pears")
    phone, tablet = replica("ada"), replica("ben")
    phone.sync()
    basket = phone.create("market.basket")
    portions = {
        product: phone.create("market.portion", basket=basket, product=product.pk, amount=2)
        for product in (apples, pears)
    }
    assert dict(phone.sync().results) == {"applied": 3}
    tablet.sync()

    phone.delete("market.portion", portions[apples])
    tablet.update("market.portion", portions[pears], amount=5)
    phone.sync()
    tablet.sync()

    assert list(Basket.objects.get().products.all()) == [pears]
    (portion,) = tablet.all("market.portion", basket=basket)
    assert (portion["product"], portion["amount"]) == (str(pears.pk), 5)
