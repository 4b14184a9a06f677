"""Rows that come back from a tombstone while a row they refer to stays deleted."""

from pathlib import Path
from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import RowLine
from syncreset.sdk import Replica
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.restoring import copy_database
from tests.support.snapshots import edited, forced, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)


class Family:
    """A phone that holds a mother and her puppies, all deleted on the server since."""

    def __init__(self, device: DeviceFactory, shelter: Shelter, puppies: int = 1) -> None:
        self.mother = Dog.objects.create(shelter=shelter, name="Mother")
        self.mother_key = str(self.mother.pk)
        self.puppies = [
            Dog.objects.create(shelter=shelter, name=f"Puppy {number}", mother=self.mother)
            for number in range(puppies)
        ]
        self.phone: Device = device(shelter)
        self.phone.pull()

    def delete_all(self) -> None:
        """By SQL: Django would empty the references before it deletes, and the tombstones would know of none."""
        dogs = Dog.objects.all()
        dogs._raw_delete(dogs.db)

    def row(self, dog: Dog) -> dict[str, Any]:
        return self.phone.rows[DOG, str(dog.pk)]


@pytest.fixture
def family(device: DeviceFactory, shelter: Shelter) -> Family:
    return Family(device, shelter)


def assert_came_back_alone(told: dict[str, Any], dog: Dog, name: str) -> None:
    back = Dog.objects.get(pk=dog.pk)
    assert (back.name, back.mother_id) == (name, None)
    assert told["state"] == "merged"
    assert told["problem"]["code"] == "reference_deleted"
    assert told["problem"]["field"] == "mother"


def test_an_edit_brings_a_row_back_without_its_deleted_parent(family: Family) -> None:
    (puppy,) = family.puppies
    change = family.phone.put(DOG, str(puppy.pk), {"name": "Edited"})
    family.delete_all()

    (told,) = family.phone.push(change)

    assert_came_back_alone(told, puppy, "Edited")
    assert told["row"]["fields"]["mother"] is None
    family.phone.pull()
    assert family.row(puppy)["fields"]["mother"] is None


def test_the_parent_may_have_been_emptied_before_the_deletion(family: Family) -> None:
    (puppy,) = family.puppies
    change = family.phone.put(DOG, str(puppy.pk), {"name": "Edited"})
    family.mother.delete()
    Dog.objects.filter(pk=puppy.pk).delete()

    (told,) = family.phone.push(change)

    assert told["state"] == "applied"
    assert Dog.objects.get(pk=puppy.pk).mother_id is None


def test_every_row_of_a_chain_comes_back(device: DeviceFactory, shelter: Shelter) -> None:
    family = Family(device, shelter, puppies=3)
    first, second, third = family.puppies
    Dog.objects.filter(pk=second.pk).update(mother=first)
    Dog.objects.filter(pk=third.pk).update(mother=second)
    family.phone.pull()
    changes = [family.phone.put(DOG, str(dog.pk), {"name": "Edited"}) for dog in (third, second, first)]
    family.delete_all()

    told = family.phone.push(*changes)

    assert_came_back_alone(told[2], first, "Edited")
    assert [result["state"] for result in told[:2]] == ["applied", "applied"]
    assert Dog.objects.get(pk=second.pk).mother_id == first.pk
    assert Dog.objects.get(pk=third.pk).mother_id == second.pk


def test_a_row_that_is_its_own_parent_comes_back_with_itself(family: Family) -> None:
    (puppy,) = family.puppies
    Dog.objects.filter(pk=puppy.pk).update(mother=puppy)
    family.phone.pull()
    change = family.phone.put(DOG, str(puppy.pk), {"name": "Edited"})
    family.delete_all()

    family.phone.push(change)

    assert Dog.objects.get(pk=puppy.pk).mother_id == puppy.pk


@pytest.mark.parametrize("strategy", ["by_base", "by_field", "by_object", "overwrite"])
def test_a_recovery_brings_a_row_back_without_its_deleted_parent(family: Family, strategy: str) -> None:
    (puppy,) = family.puppies
    line = edited(family.row(puppy), name="Edited")
    family.delete_all()
    reset = forced(family.phone)

    recovery = recover(family.phone, reset, [line], strategy=strategy, last_synced={})

    item = recovery.items.get(pk_text=str(puppy.pk))
    assert (item.state, item.problem["code"]) == ("merged", "reference_deleted")
    assert Dog.objects.get(pk=puppy.pk).mother_id is None
    assert item.fields["mother"]["client"] == family.mother_key


def test_a_row_made_on_the_device_loses_a_parent_that_was_deleted(family: Family) -> None:
    clock = now()
    fields = {**family.row(family.puppies[0])["fields"], "name": "New", "mother": family.mother_key}
    made = RowLine(
        model=DOG,
        pk="0190a5b4-0000-7000-8000-000000000001",
        row=Row(fields=fields, updated=clock, clocks={"*": clock}),
        base=None,
    )
    untouched = row_line(family.row(family.puppies[0]), {})
    family.delete_all()
    reset = forced(family.phone)

    recovery = recover(family.phone, reset, [made, untouched], last_synced={})

    assert Dog.objects.get(name="New").mother_id is None
    assert recovery.items.get(pk_text=made.pk).problem["code"] == "reference_deleted"


def test_a_reference_to_a_row_that_could_not_be_made_waits_and_is_not_emptied(
    family: Family, shelter: Shelter
) -> None:
    holder = Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    family.phone.pull()
    mother, puppy = (f"0190a5b4-0000-7000-8000-00000000000{number}" for number in (1, 2))
    fields = {**family.row(holder)["fields"], "mother": None}
    changes = [
        family.phone.create(DOG, {**fields, "name": "Mother"}, mother),
        family.phone.create(DOG, {**fields, "name": "Puppy", "chip": None, "mother": mother}, puppy),
    ]

    told = family.phone.push(*changes)
    family.phone.push(family.phone.put(DOG, str(holder.pk), {"chip": None}))

    assert [result["state"] for result in told] == ["parked", "parked"]
    assert str(Dog.objects.get(pk=puppy).mother_id) == mother


def test_a_row_that_heals_a_restored_server_comes_back_without_its_deleted_parent(
    user_factory: UserFactory, shelter: Shelter, tmp_path: Path
) -> None:
    """The whole row is made from the device's, which still has the parent."""
    mother = Dog.objects.create(shelter=shelter, name="Mother")
    server = RealServer(user_factory(shelter))
    with Replica(tmp_path / "phone.db", URL, "token", client=online(server)) as phone:
        phone.sync()
        restore = copy_database()
        puppy = Dog.objects.create(shelter=shelter, name="Puppy", mother=mother)
        phone.sync()
        restore()
        Dog.objects.filter(pk=mother.pk).delete()

        phone.sync()

        assert Dog.objects.get().pk == puppy.pk
        assert Dog.objects.get().mother_id is None
        item = Item.objects.get(pk_text=str(puppy.pk))
        assert (item.state, item.problem["code"], item.problem["field"]) == (
            "merged",
            "reference_deleted",
            "mother",
        )
        assert (phone.get(DOG, puppy.pk) or {"mother": "no row"})["mother"] is None
        assert phone.get(DOG, mother.pk) is None
