"""Unique values that rows hand on to each other: swaps, rings and chains, of which each row alone would be a clash."""

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.recovery.orders import undo
from syncreset.recovery.run import run
from tests.market.models import Locker, Product
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, recover

pytestmark = pytest.mark.django_db

DOG, LOCKER = "shelters.dog", "market.locker"


@pytest.fixture
def dogs(shelter: Shelter) -> list[str]:
    """Three dogs with the chips c-0, c-1 and c-2."""
    made = [Dog.objects.create(shelter=shelter, name=f"Dog {place}", chip=f"c-{place}") for place in range(3)]
    return [str(dog.pk) for dog in made]


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dogs: list[str]) -> Device:
    phone = device(shelter)
    phone.pull()
    return phone


def chips(*dogs: str) -> list[str | None]:
    return [Dog.objects.get(pk=pk).chip for pk in dogs]


def states(results: list[dict[str, Any]]) -> list[str]:
    return [result["state"] for result in results]


def test_two_rows_swap_a_unique_value(phone: Device, dogs: list[str]) -> None:
    one, two, _ = dogs

    results = phone.push(phone.put(DOG, one, {"chip": "c-1"}), phone.put(DOG, two, {"chip": "c-0"}))

    assert states(results) == ["applied", "applied"]
    assert chips(one, two) == ["c-1", "c-0"]
    phone.pull()
    assert phone.rows[DOG, one]["clocks"]["chip"] == results[0]["clocks"]["chip"]


def test_a_ring_is_closed_whatever_else_clashes_beside_it(
    phone: Device, shelter: Shelter, dogs: list[str]
) -> None:
    taken = Dog.objects.create(shelter=shelter, name="Taken", chip="taken")
    clash = phone.create(DOG, {**phone.rows[DOG, dogs[0]]["fields"], "chip": "taken"})
    ring = [phone.put(DOG, pk, {"chip": f"c-{(place + 1) % 3}"}) for place, pk in enumerate(dogs)]

    results = phone.push(ring[0], clash, *ring[1:])

    assert states(results) == ["applied", "parked", "applied", "applied"]
    assert chips(*dogs) == ["c-1", "c-2", "c-0"]
    taken.refresh_from_db()
    assert taken.chip == "taken"


def test_a_chain_is_followed_in_any_order(phone: Device, dogs: list[str]) -> None:
    one, two, three = dogs

    results = phone.push(
        phone.put(DOG, one, {"chip": "c-1"}),
        phone.put(DOG, two, {"chip": "c-2"}),
        phone.put(DOG, three, {"chip": "new"}),
    )

    assert states(results) == ["applied"] * 3
    assert chips(one, two, three) == ["c-1", "c-2", "new"]


def test_a_new_row_takes_the_value_of_one_that_is_deleted(
    phone: Device, shelter: Shelter, dogs: list[str]
) -> None:
    heir = phone.create(DOG, {**phone.rows[DOG, dogs[0]]["fields"], "name": "Heir"})

    results = phone.push(heir, phone.delete(DOG, dogs[0]))

    assert states(results) == ["applied", "applied"]
    assert Dog.objects.get(chip="c-0").name == "Heir"


def test_a_ring_with_a_value_of_somebody_else_is_left_alone(
    phone: Device, shelter: Shelter, dogs: list[str]
) -> None:
    Dog.objects.create(shelter=shelter, name="Other", chip="other")
    one, two, three = dogs

    results = phone.push(
        phone.put(DOG, one, {"chip": "c-1"}),
        phone.put(DOG, two, {"chip": "other"}),
        phone.put(DOG, three, {"name": "Renamed"}),
    )

    assert states(results) == ["parked", "parked", "applied"]
    assert {result.get("problem", {}).get("code") for result in results[:2]} == {"unique"}
    assert chips(one, two) == ["c-0", "c-1"]


def test_the_halves_of_a_swap_meet_over_the_chunks_of_a_recovery_and_are_undone(
    phone: Device, dogs: list[str], settings: Any
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "RECOVERY_CHUNK": 1}
    one, two, _ = dogs
    rows = {pk: phone.rows[DOG, pk] for pk in (one, two)}
    (reset,) = Reset.objects.force([Client.objects.get(pk=phone.client)])

    recovery = recover(phone, str(reset.pk), [edited(rows[one], chip="c-1"), edited(rows[two], chip="c-0")])

    assert recovery.totals["applied"] == 2
    assert chips(one, two) == ["c-1", "c-0"]
    undoing = undo(recovery)
    run(undoing.pk)
    assert chips(one, two) == ["c-0", "c-1"]


def locker(place: int) -> dict[str, Any]:
    return {
        "number": place,
        "letter": "AB"[place],
        "seal": f"0190a5b4-0000-7000-8000-00000000000{place}",
        "weight": f"{place}.5",
        "rented": f"2026-01-0{place + 1}",
        "checked": f"2026-01-0{place + 1}T12:00:00.000000Z",
        "corridor": "north",
        "shelf": str(place),
        "product": str(Product.objects.create(name=f"Product {place}").pk),
    }


def test_values_of_any_type_are_swapped_without_a_null_to_take_refuge_in(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    one, two = "0190a5b4-0000-7000-8000-0000000000aa", "0190a5b4-0000-7000-8000-0000000000bb"
    fields = {one: locker(0), two: locker(1)}
    assert states(phone.push(*(phone.create(LOCKER, fields[pk], pk) for pk in fields))) == ["applied"] * 2
    phone.pull()

    results = phone.push(phone.put(LOCKER, one, fields[two]), phone.put(LOCKER, two, fields[one]))

    assert states(results) == ["applied", "applied"]
    swapped = Locker.objects.get(pk=one)
    assert (swapped.number, swapped.letter, swapped.shelf, swapped.weight) == (1, "B", 1, Decimal("1.5"))
    assert swapped.seal == uuid.UUID(fields[two]["seal"])
    assert swapped.rented == datetime.date(2026, 1, 2)
    phone.pull()
    assert {pk: phone.rows[LOCKER, pk]["fields"] for pk in fields} == {one: fields[two], two: fields[one]}
