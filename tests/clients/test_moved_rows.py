"""What is shown of a row that has moved to another scope: nothing, whatever was kept of it before."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from syncreset.admin.deciding.form import decide
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import undo
from syncreset.recovery.run import MAX_ATTEMPTS, run
from tests.shelters.models import Dog, Membership, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "known to the other shelter alone"


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    return device(shelter)


def parked(phone: Device, shelter: Shelter, **fields: Any) -> tuple[Dog, Recovery, Item]:
    """An item of a recovery, parked over the notes of a dog."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes="the server's")
    reset = forced(phone)
    line = edited(phone.rows[DOG, str(dog.pk)], notes="the client's", **fields)
    recovery = recover(phone, reset, [line])
    return dog, recovery, Item.objects.get(recovery=recovery, state="parked")


def shown(phone: Device, recovery: Recovery) -> dict[str, Any]:
    (item,) = phone.get(f"/recoveries/{recovery.pk}/items")["items"]
    return item  # type: ignore[no-any-return]


def test_the_ledger_withholds_the_servers_side_of_a_row_that_has_moved(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog, recovery, item = parked(phone, shelter)
    assert shown(phone, recovery)["fields"]["notes"]["server"] == "the server's"
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter, notes=SECRET)

    decide(item, {"notes": "another, by the operator"}, User.objects.create_superuser("operator"))

    told = shown(phone, recovery)["fields"]["notes"]
    assert (told["client"], told["server"], told["server_clock"]) == ("the client's", None, None)
    Dog.objects.filter(pk=dog.pk).update(shelter=shelter)
    assert SECRET not in json.dumps(shown(phone, recovery)["fields"]["notes"]["client"])


def test_keeping_the_clients_side_shows_nothing_and_moves_nothing(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog, recovery, item = parked(phone, shelter)
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter, name=SECRET, notes=SECRET)
    item.refresh_from_db()
    operator = User.objects.create_superuser("operator")

    decide(item, {"notes": "kept", "shelter": str(shelter.pk)}, operator)
    assert (item.state, item.code) == ("parked", "forbidden")
    decide(item, "client", operator, seen={"notes": Dog.objects.get(pk=dog.pk).field_timestamps["notes"]})
    assert item.state == "applied"

    assert Dog.objects.get(pk=dog.pk).shelter == other_shelter
    assert SECRET not in json.dumps(shown(phone, recovery))


def test_a_decision_moves_a_row_where_its_author_holds_both_scopes(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog, _, item = parked(phone, shelter)
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter)
    Membership.objects.create(user=item.client.user, shelter=other_shelter)

    decide(item, {"shelter": str(shelter.pk)}, User.objects.create_superuser("operator"))

    assert Dog.objects.get(pk=dog.pk).shelter == shelter


def test_the_answer_to_a_decision_withholds_as_the_ledger_does(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog, _, item = parked(phone, shelter)
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter, notes=SECRET)

    answer = phone.post(f"/items/{item.pk}/resolve", {"keep": "server"})

    assert (answer["fields"]["notes"]["server"], answer["fields"]["notes"]["server_clock"]) == (None, None)


def test_an_undoing_shows_neither_side_of_a_row_that_has_moved(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog, recovery, _ = parked(phone, shelter, age=7)
    Dog.objects.filter(pk=dog.pk).update(age=8)
    undoing = undo(recovery)
    run(undoing.pk)
    assert shown(phone, undoing)["fields"]["age"]["server"] == 8
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter)

    told = shown(phone, undoing)["fields"]["age"]

    assert (told["client"], told["server"]) == (None, None)


def test_a_repeated_answer_leaves_out_a_row_that_has_moved(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes="the server's")
    body = phone.body(phone.put(DOG, str(dog.pk), {"notes": "the client's"}))
    (first,) = phone.post("/push", body)["results"]
    assert first["row"]["fields"]["notes"] == "the server's"
    Dog.objects.filter(pk=dog.pk).update(shelter=other_shelter)

    (again,) = phone.post("/push", {**body, "again": True})["results"]

    assert again == {name: value for name, value in first.items() if name != "row"}


def test_a_crash_tells_a_device_nothing_of_what_an_exception_holds(
    phone: Device, shelter: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dog.objects.create(shelter=shelter, name="Rex")
    phone.pull()
    reset = forced(phone)
    recovery = phone.upload(reset, phone.snapshot(reset, []))

    def fail(*_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("syncreset.recovery.run.merge_snapshot", fail)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(RuntimeError):
            run(recovery)

    told = phone.get(f"/recoveries/{recovery}")
    assert (told["state"], told["problem"]["code"]) == ("failed", "crashed")
    assert SECRET not in json.dumps(told)
    kept = Recovery.objects.get(pk=recovery).problem
    assert kept is not None
    assert SECRET in kept["detail"]
