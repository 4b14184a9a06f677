"""However the same changes are cut into pushes, the server ends in the same state."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from syncreset.ledger.item import Item
from syncreset.locks import lock_row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from syncreset.sdk import Replica
from tests.shelters.models import Dog, Shelter, Visit
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.snapshots import bootstrap, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

MOTHER = "0190a5b4-0000-7000-8000-00000000000a"
PUPPIES = [f"0190a5b4-0000-7000-8000-00000000000{number}" for number in range(1, 5)]


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


def litter(phone: Device, shelter: Shelter) -> list[dict[str, Any]]:
    """Puppies, each of which names the one before, and the mother of the first one last."""
    before = [MOTHER, *PUPPIES]
    puppies = [
        phone.create(DOG, dog_fields(shelter, name=pk, mother=mother), pk)
        for pk, mother in zip(PUPPIES, before, strict=False)
    ]
    return [*reversed(puppies), phone.create(DOG, dog_fields(shelter, name="Mother"), MOTHER)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_rows_that_come_before_what_they_refer_to_are_there_in_the_end(
    phone: Device, shelter: Shelter, size: int
) -> None:
    changes = litter(phone, shelter)
    for start in range(0, len(changes), size):
        phone.push(*changes[start : start + size])

    assert {str(dog.pk): str(dog.mother_id) for dog in Dog.objects.exclude(mother=None)} == dict(
        zip(PUPPIES, [MOTHER, *PUPPIES], strict=False)
    )
    assert not Item.objects.filter(state="parked").exists()


def test_a_value_is_taken_once_a_later_push_has_freed_it(phone: Device, shelter: Shelter) -> None:
    holder = Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    phone.pull()

    (told,) = phone.push(phone.create(DOG, dog_fields(shelter, name="Heir", chip="7")))
    phone.push(phone.put(DOG, str(holder.pk), {"chip": "8"}))

    assert told["state"] == "parked"
    assert set(Dog.objects.values_list("name", "chip")) == {("Holder", "8"), ("Heir", "7")}
    assert Item.objects.get(pk=told["item"]).state == "applied"


def test_a_deletion_frees_a_value_as_well(phone: Device, shelter: Shelter) -> None:
    holder = Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    phone.pull()

    phone.push(phone.create(DOG, dog_fields(shelter, name="Heir", chip="7")))
    phone.push(phone.delete(DOG, str(holder.pk)))

    assert set(Dog.objects.values_list("name", "chip")) == {("Heir", "7")}


@pytest.mark.parametrize("road", ["push", "snapshot"])
def test_a_row_that_its_device_has_deleted_does_not_come_back_with_what_was_parked_of_it(
    phone: Device, shelter: Shelter, road: str
) -> None:
    holder = Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    heir = Dog.objects.create(shelter=shelter, name="Heir")
    phone.pull()

    (told,) = phone.push(phone.put(DOG, str(heir.pk), {"chip": "7"}))
    assert told["state"] == "parked"
    if road == "push":
        phone.push(phone.delete(DOG, str(heir.pk)))
    else:
        updated = phone.rows[DOG, str(heir.pk)]["updated"]
        tombstone = TombstoneLine(model=DOG, pk=str(heir.pk), at=now(), base=updated, pulled=False)
        reset = forced(phone)
        recover(phone, reset, [tombstone], full=False)
        bootstrap(phone, reset)
    phone.push(phone.delete(DOG, str(holder.pk)))

    assert not Dog.objects.exists()
    item = Item.objects.get(pk=told["item"])
    assert (item.state, item.code) == ("superseded", "replaced")
    assert item.change["fields"] == {"chip": "7"}


def test_a_row_that_is_made_again_after_its_deletion_takes_what_it_waited_for(
    phone: Device, shelter: Shelter
) -> None:
    holder = Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    heir = Dog.objects.create(shelter=shelter, name="Heir")
    phone.pull()
    again = phone.create(DOG, dog_fields(shelter, name="Heir again", chip="7"), str(heir.pk))

    (deleted, parked) = phone.push(phone.delete(DOG, str(heir.pk)), again)
    assert (deleted["state"], parked["state"]) == ("applied", "parked")
    phone.push(phone.delete(DOG, str(holder.pk)))

    assert set(Dog.objects.values_list("name", "chip")) == {("Heir again", "7")}


def test_what_waits_for_something_else_goes_on_waiting(phone: Device, shelter: Shelter) -> None:
    (told,) = phone.push(phone.create(DOG, dog_fields(shelter, name="Orphan", mother=MOTHER)))
    phone.push(phone.create(DOG, dog_fields(shelter, name="Stranger")))

    item = Item.objects.get(pk=told["item"])
    assert (item.state, item.code) == ("parked", "invalid_reference")
    assert Item.objects.count() == 1


def test_nobody_elses_parked_changes_are_touched(
    phone: Device, device: DeviceFactory, shelter: Shelter
) -> None:
    other = device(shelter)
    other.pull()
    (told,) = other.push(other.create(DOG, dog_fields(shelter, name="Theirs", mother=MOTHER)))

    phone.push(phone.create(DOG, dog_fields(shelter, name="Mother"), MOTHER))

    assert Item.objects.get(pk=told["item"]).state == "parked"


def test_a_survey_larger_than_a_push_arrives_whole(
    user_factory: UserFactory, shelter: Shelter, tmp_path: Path, settings: Settings
) -> None:
    """The device puts rows into the order of its models; those that refer to later ones need the next push."""
    settings.SYNCRESET = {**settings.SYNCRESET, "CHANGES_LIMIT": 7}
    server = RealServer(user_factory(shelter))
    with Replica(tmp_path / "field.db", URL, "token", client=online(server)) as replica:
        replica.sync()
        mother = None
        for number in range(30):
            dog = replica.create("shelters.dog", shelter=shelter.pk, name=f"Dog {number}")
            replica.create(
                "shelters.visit", shelter=shelter.pk, dog=dog, at="2026-01-01T10:00:00Z", kind="check"
            )
            if mother is not None:
                replica.update("shelters.dog", mother, mother=dog)
            mother = dog
        replica.sync()
        replica.sync()

        assert replica.pending() == 0
        assert len(replica.all("shelters.dog")) == Dog.objects.count() == 30
    assert Visit.objects.count() == 30
    assert Dog.objects.filter(mother=None).count() == 1


def test_what_a_person_has_decided_in_part_is_that_persons(phone: Device, shelter: Shelter) -> None:
    """A part of it was written already: the change as a whole must not be merged a second time."""
    (told,) = phone.push(phone.create(DOG, dog_fields(shelter, name="Heir", mother=MOTHER)))
    Item.objects.update(wrote=True)

    phone.push(phone.create(DOG, dog_fields(shelter, name="Mother"), MOTHER))

    assert Item.objects.get(pk=told["item"]).state == "parked"
    assert not Dog.objects.filter(name="Heir").exists()


def test_a_row_whose_key_is_a_reference_waits_for_its_row(device: DeviceFactory) -> None:
    phone = device()
    phone.pull()
    key = "0190a5b4-0000-7000-8000-00000000000b"

    (told,) = phone.push(phone.create("zoo.onetoonekeyed", {"note": "second"}, key))
    phone.push(phone.create("zoo.uuidkeyed", {"note": "first"}, key))

    assert told["state"] == "parked"
    assert Item.objects.get(pk=told["item"]).state == "applied"


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one writer: nobody decides beside it"
)
def test_an_item_that_somebody_is_deciding_is_left_to_them(phone: Device, shelter: Shelter) -> None:
    (told,) = phone.push(phone.create(DOG, dog_fields(shelter, name="Heir", mother=MOTHER)))
    deciding, pushed = threading.Event(), threading.Event()

    def decide() -> None:
        try:
            with transaction.atomic():
                lock_row(Item.objects.filter(pk=told["item"]))
                deciding.set()
                assert pushed.wait(20)
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        decision = pool.submit(decide)
        assert deciding.wait(20)
        (made,) = phone.push(phone.create(DOG, dog_fields(shelter, name="Mother"), MOTHER))
        pushed.set()
        decision.result()

    assert made["state"] == "applied"
    assert Item.objects.get(pk=told["item"]).state == "parked"
