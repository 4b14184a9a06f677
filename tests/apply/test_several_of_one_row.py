"""Several changes of one row in one push: a bad one is out, and the others are what they would be without it."""

from typing import Any

import pytest

from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import ABSENT
from tests.support.device import Device, steps
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory

PRODUCT = "market.product"
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"mother": ABSENT}, "parked", "invalid_reference"),
    ({"shelter": ABSENT}, "rejected", "invalid_reference"),
    ({"chip": "taken"}, "parked", "unique"),
    ({"age": "x"}, "rejected", "invalid"),
    ({"name": None}, "rejected", "null"),
    ({"intake_no": "N-1"}, "rejected", "forbidden_field"),
]


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    Dog.objects.create(shelter=shelter, name="Chipped", chip="taken")
    return Dog.objects.create(shelter=shelter, name="Rex", notes="old")


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dog: Dog) -> Device:
    made = device(shelter)
    made.pull()
    return made


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("bad", "state", "code"), BAD, ids=[next(iter(bad)) for bad, _, _ in BAD])
def test_a_bad_change_takes_no_other_change_of_its_row_with_it(
    phone: Device, dog: Dog, bad: dict[str, Any], state: str, code: str, place: int
) -> None:
    good = [{"weight": "7.00"}, {"notes": "new"}]
    several = [*good[:place], bad, *good[place:]]

    results = phone.push(*(phone.put(DOG, str(dog.pk), fields) for fields in several))

    refused = results.pop(place)
    assert (refused["state"], refused["problem"]["code"]) == (state, code)
    assert [result["state"] for result in results] == ["applied", "applied"]
    dog.refresh_from_db()
    assert (str(dog.weight), dog.notes, dog.mother_id) == ("7.00", "new", None)


def test_each_of_several_bad_references_of_a_row_is_told_of(phone: Device, dog: Dog) -> None:
    pk = str(dog.pk)
    same, again, other, good = phone.push(
        phone.put(DOG, pk, {"mother": ABSENT}),
        phone.put(DOG, pk, {"mother": ABSENT}),
        phone.put(DOG, pk, {"shelter": ABSENT}),
        phone.put(DOG, pk, {"age": 4}),
    )

    assert [result["problem"]["field"] for result in (same, again, other)] == ["mother", "mother", "shelter"]
    assert good["state"] == "applied"


def test_a_reference_to_a_deleted_row_is_emptied_by_the_change_that_made_it(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    gone = Dog.objects.create(shelter=shelter, name="Gone")
    phone.pull()
    absent = str(gone.pk)
    gone.delete()

    emptied, good = phone.push(
        phone.put(DOG, str(dog.pk), {"mother": absent}), phone.put(DOG, str(dog.pk), {"age": 4})
    )

    assert emptied["problem"]["code"] == "reference_deleted"
    assert good["state"] == "applied"
    dog.refresh_from_db()
    assert (dog.mother_id, dog.age) == (None, 4)


def test_an_element_that_is_not_there_takes_no_step_of_another_field_with_it(device: DeviceFactory) -> None:
    Tag.objects.create(name="red")
    apples = Product.objects.create(name="Apples", stock=10)
    phone = device()
    phone.pull()
    pk = str(apples.pk)

    bad, added, sold = phone.push(
        phone.put(PRODUCT, pk, {"tags": steps({"add": ["none"]})}),
        phone.put(PRODUCT, pk, {"tags": steps({"add": ["red"]})}),
        phone.put(PRODUCT, pk, {"stock": steps({"delta": -1})}),
    )

    assert (bad["state"], bad["problem"]["code"]) == ("parked", "invalid_reference")
    assert [added["state"], sold["state"]] == ["applied", "applied"]
    apples.refresh_from_db()
    assert (apples.stock, [tag.pk for tag in apples.tags.all()]) == (9, ["red"])


def test_changes_of_a_row_that_cannot_be_made_yet_wait_with_it(phone: Device, shelter: Shelter) -> None:
    pk = "0190a5b4-0000-7000-8000-000000000099"
    made = phone.create(DOG, dog_fields(shelter, mother=ABSENT), pk)
    phone.rows[DOG, pk] = {"clocks": made["clocks"], "updated": made["clocks"]["*"]}

    waiting = phone.push(made, phone.put(DOG, pk, {"age": 9}))
    assert [result["state"] for result in waiting] == ["parked", "parked"]
    phone.push(phone.create(DOG, dog_fields(shelter, name="Mother"), ABSENT))

    dog = Dog.objects.get(pk=pk)
    assert (str(dog.mother_id), dog.age) == (ABSENT, 9)
