"""Unique values handed on in one push: the work grows with the rows, not with their square."""

from typing import Any

import pytest

from syncreset.apply.batch import merge_and_write
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 40


@pytest.fixture
def dogs(shelter: Shelter) -> list[Dog]:
    return [
        Dog.objects.create(shelter=shelter, name=f"Dog {number}", chip=f"{number:02}")
        for number in range(ROWS)
    ]


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dogs: list[Dog]) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that are merged."""
    sizes: list[int] = []

    def counted(batch: list[Any], *arguments: Any, **more: Any) -> Any:
        sizes.append(len(batch))
        return merge_and_write(batch, *arguments, **more)

    monkeypatch.setattr("syncreset.apply.changes.merge_and_write", counted)
    return sizes


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
def test_a_chain_of_values_is_handed_on(
    phone: Device, dogs: list[Dog], batches: list[int], order: int
) -> None:
    puts = [phone.put(DOG, str(dog.pk), {"chip": f"{number + 1:02}"}) for number, dog in enumerate(dogs)][
        ::order
    ]

    told = phone.push(*puts)

    assert {result["state"] for result in told} == {"applied"}
    assert [dog.chip for dog in Dog.objects.order_by("name")] == sorted(
        (f"{number + 1:02}" for number in range(ROWS)), key=lambda chip: f"Dog {int(chip) - 1}"
    )
    assert sum(batches) < 20 * ROWS


def test_a_chain_that_ends_at_somebody_elses_value_is_parked_and_stops_nothing_else(
    phone: Device, dogs: list[Dog], shelter: Shelter, batches: list[int]
) -> None:
    Dog.objects.create(shelter=shelter, name="Holder", chip=f"{ROWS:02}")
    puts = [phone.put(DOG, str(dog.pk), {"chip": f"{number + 1:02}"}) for number, dog in enumerate(dogs)]
    other = phone.put(DOG, str(dogs[0].pk), {"age": 9})

    told = phone.push(*puts, other)

    assert [result["state"] for result in told] == ["parked"] * ROWS + ["applied"]
    assert {result["problem"]["code"] for result in told[:-1]} == {"unique"}
    assert sum(batches) < 60 * ROWS
