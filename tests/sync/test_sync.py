"""A device's ordinary life: bootstrap, push, pull."""

from dataclasses import replace

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.cursor import decode_cursor
from tests.shelters.models import Dog, Membership, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_bootstrap_brings_the_rows_of_the_users_scopes_parents_first(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3, weight="12.5", born="2020-02-29")
    Dog.objects.create(shelter=other_shelter, name="Hidden")

    phone = device(shelter)
    phone.pull()

    assert [(change["model"], change["pk"]) for change in phone.told] == [
        ("shelters.shelter", str(shelter.pk)),
        (DOG, str(dog.pk)),
    ]
    row = phone.rows[DOG, str(dog.pk)]
    assert row["fields"] == {**dog_fields(shelter), "intake_no": ""}
    assert row["updated"] == row["clocks"]["*"] == Dog.objects.get(pk=dog.pk).last_updated


def test_what_is_pushed_reaches_another_device_at_its_next_pull(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()

    change = phone.create(DOG, dog_fields(shelter))
    (result,) = phone.push(change)
    tablet.pull()

    assert result["state"] == "applied"
    assert result["clocks"] == change["clocks"]
    assert tablet.rows[DOG, change["pk"]]["fields"]["name"] == "Rex"
    assert tablet.rows[DOG, change["pk"]]["clocks"] == change["clocks"]


def test_different_fields_of_one_row_merge_and_the_later_write_of_one_field_wins(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3)
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    pk = str(dog.pk)

    early = phone.put(DOG, pk, {"name": "Early", "age": 4})
    late = tablet.put(DOG, pk, {"name": "Late", "weight": "9.00"})
    assert tablet.push(late)[0]["state"] == "applied"
    (result,) = phone.push(early)

    assert result["state"] == "merged"
    assert result["row"]["fields"]["name"] == "Late"
    dog.refresh_from_db()
    assert (dog.name, dog.age, str(dog.weight)) == ("Late", 4, "9.00")


def test_an_edit_beats_a_delete_both_ways(device: DeviceFactory, shelter: Shelter) -> None:
    kept, restored = (Dog.objects.create(shelter=shelter, name=name) for name in ("Kept", "Restored"))
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()

    tablet.push(tablet.put(DOG, str(kept.pk), {"age": 1}))
    (deleted,) = phone.push(phone.delete(DOG, str(kept.pk)))
    phone.push(phone.delete(DOG, str(restored.pk)))
    (edited,) = tablet.push(tablet.put(DOG, str(restored.pk), {"age": 2}))

    assert deleted["state"] == "superseded"
    assert deleted["row"]["fields"]["age"] == 1
    assert edited["state"] == "applied"
    assert Dog.objects.get(pk=restored.pk).name == "Restored"
    assert Dog.objects.get(pk=restored.pk).age == 2


def test_a_delete_reaches_the_other_device_as_a_deletion(device: DeviceFactory, shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()

    phone.push(phone.delete(DOG, str(dog.pk)))
    tablet.pull()

    assert [set(change) for change in tablet.told] == [{"model", "pk", "deleted"}]


def test_a_repeated_push_changes_nothing(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    body = phone.body(phone.create(DOG, dog_fields(shelter)))

    first = phone.post("/push", body)
    second = phone.post("/push", body)

    assert [result["state"] for result in first["results"]] == ["applied"]
    assert {**second, "server_time": 0} == {**first, "server_time": 0}
    assert Dog.objects.count() == 1


def test_a_push_whose_answer_was_lost_may_come_with_more(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    one, two = phone.create(DOG, dog_fields(shelter)), phone.create(DOG, dog_fields(shelter))
    lost = phone.post("/push", phone.body(one))
    body = phone.body(two)
    body["changes"].insert(0, {"seq": 1, **one})

    results = phone.send(body)

    assert results[0] == lost["results"][0]
    assert [result["state"] for result in results] == ["applied", "applied"]
    assert phone.receipt != lost["receipt"]
    assert Dog.objects.count() == 2
    # That answer is lost as well: all of it is repeated.
    body["receipt"] = lost["receipt"]
    assert phone.send(body) == results


def test_a_copy_of_a_store_goes_on_as_a_client_of_its_own(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    copy = Device(phone.api, phone.client)
    copy.checkpoint, copy.rows, copy.receipt = phone.checkpoint, dict(phone.rows), phone.receipt
    for name in ("One", "Two"):
        phone.push(phone.create(DOG, dog_fields(shelter, name=name)))
    theirs = copy.create(DOG, dog_fields(shelter, name="Of the copy"))

    problem = copy.push(theirs, status=409)

    assert problem["code"] == "client_copied"
    given, held = decode_cursor(problem["checkpoint"]), decode_cursor(copy.checkpoint)
    assert given == replace(held, client=problem["client"])
    assert copy.pull(status=409)["code"] == "client_copied"
    copy.client, copy.seq, copy.checkpoint = problem["client"], 0, problem["checkpoint"]
    assert copy.push(theirs)[0]["state"] == "applied"
    copy.pull()
    phone.pull()
    assert {row["fields"]["name"] for row in phone.rows.values()} == {
        shelter.name,
        "One",
        "Two",
        "Of the copy",
    }
    assert copy.rows.keys() == phone.rows.keys()


def test_a_server_that_has_lost_a_push_orders_a_reset(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    phone.push(phone.create(DOG, dog_fields(shelter)))
    known = (
        Client.objects.filter(pk=phone.client).values("acked", "pushes", "receipt", "receipt_before").get()
    )
    phone.push(phone.create(DOG, dog_fields(shelter)))
    Client.objects.filter(pk=phone.client).update(**known)

    problems = [phone.pull(status=409), phone.push(phone.create(DOG, dog_fields(shelter)), status=409)]

    assert {(problem["code"], problem["reason"]) for problem in problems} == {
        ("client_reset", "history_diverged")
    }
    assert Dog.objects.count() == 2


def test_a_reset_that_is_ordered_already_heals_a_server_that_has_lost_a_push(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    client = Client.objects.filter(pk=phone.client)
    known = client.values("acked", "pushes", "receipt", "receipt_before").get()
    phone.push(phone.create(DOG, dog_fields(shelter)))
    client.update(**known)
    Reset.objects.force(client)

    problems = [
        phone.pull(status=409),
        phone.push(phone.create(DOG, dog_fields(shelter)), status=409),
        phone.pull(status=409),
    ]

    assert {(problem["reason"], problem["recovery"]["full"]) for problem in problems} == {
        ("admin_forced", True)
    }
    assert len({problem["reset"] for problem in problems}) == 1


def test_one_bad_change_never_fails_the_others(device: DeviceFactory, shelter: Shelter) -> None:
    Dog.objects.create(shelter=shelter, name="Chipped", chip="c-1")
    phone = device(shelter)
    phone.pull()
    good = [phone.create(DOG, dog_fields(shelter, name=f"Good {number}")) for number in range(7)]
    clash = phone.create(DOG, dog_fields(shelter, chip="c-1"))
    orphan = phone.create(DOG, dog_fields(shelter, mother="0190a5b4-0000-7000-8000-000000000000"))

    results = phone.push(*good[:3], clash, *good[3:5], orphan, *good[5:])

    assert [result["state"] for result in results] == [
        "applied",
        "applied",
        "applied",
        "parked",
        "applied",
        "applied",
        "parked",
        "applied",
        "applied",
    ]
    assert results[3]["problem"] == {
        "code": "unique",
        "detail": "another row already has this value",
        "field": "chip",
    }
    assert results[6]["problem"]["code"] == "invalid_reference"
    assert Dog.objects.count() == 8


def test_children_may_stand_before_their_parents_and_cycles_close(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    one, two = phone.create(DOG, dog_fields(shelter)), phone.create(DOG, dog_fields(shelter))
    one["fields"]["mother"], two["fields"]["mother"] = two["pk"], one["pk"]
    visit = phone.create(
        "shelters.visit",
        {
            "shelter": str(shelter.pk),
            "dog": one["pk"],
            "vet": None,
            "at": "2026-01-02T03:04:05.000006Z",
            "kind": "check",
            "remarks": "",
        },
    )

    results = phone.push(visit, one, two)

    assert [result["state"] for result in results] == ["applied"] * 3
    assert str(Dog.objects.get(pk=one["pk"]).mother_id) == two["pk"]


def test_members_of_a_group_are_written_together_or_not_at_all(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    alone = phone.create(DOG, dog_fields(shelter))
    fine = phone.create(DOG, dog_fields(shelter), group="g")
    bad = phone.create(DOG, dog_fields(shelter, age="three"), group="g")

    results = phone.push(fine, alone, bad)

    assert [result["state"] for result in results] == ["rejected", "applied", "rejected"]
    assert results[0]["problem"]["code"] == "group"
    assert list(Dog.objects.values_list("pk", flat=True)) == [Dog.objects.get(pk=alone["pk"]).pk]


def test_a_group_is_not_written_where_the_database_refuses_a_member(
    device: DeviceFactory, shelter: Shelter
) -> None:
    Dog.objects.create(shelter=shelter, name="Holder", chip="7")
    phone = device(shelter)
    phone.pull()
    fine = phone.create(DOG, dog_fields(shelter), group="g")
    bad = phone.create(DOG, dog_fields(shelter, chip="7"), group="g")

    results = phone.push(fine, bad)

    assert [(result["state"], result["problem"]["code"]) for result in results] == [
        ("parked", "group"),
        ("parked", "unique"),
    ]
    assert Dog.objects.count() == 1


def test_pages_of_one_row_bring_the_same_as_one_page(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    Dog.objects.bulk_create(Dog(shelter=shelter, name=f"Dog {number}") for number in range(5))

    phone.pull(limit=1)
    assert len(phone.rows) == 6
    Dog.objects.update(age=1)
    Dog.objects.filter(name="Dog 0").delete()
    phone.pull(limit=1)

    assert len(phone.rows) == 5
    assert all(row["fields"].get("age", 1) == 1 for row in phone.rows.values())


def test_a_scope_gained_is_loaded_and_a_scope_lost_is_removed(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, user_factory: object
) -> None:
    Dog.objects.create(shelter=shelter, name="North dog")
    moving = Dog.objects.create(shelter=other_shelter, name="South dog")
    phone = device(shelter)
    phone.pull()
    user = Membership.objects.get(shelter=shelter).user

    Membership.objects.create(user=user, shelter=other_shelter)
    phone.pull()
    assert (DOG, str(moving.pk)) in phone.rows
    assert len(phone.told) == 2

    Membership.objects.filter(shelter=other_shelter).delete()
    moving.name = "Changed unseen"
    moving.save()
    phone.pull()
    assert {key for change in phone.told for key in change} == {"model", "pk", "removed"}
    assert set(phone.rows) == {
        ("shelters.shelter", str(shelter.pk)),
        (DOG, str(Dog.objects.get(shelter=shelter).pk)),
    }


def test_registering_again_tells_what_has_been_processed(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)

    def acked() -> int:
        return int(phone.post("/clients", {"client": phone.client}, 201)["acked"])

    before = acked()
    phone.pull()
    phone.push(*(phone.create(DOG, dog_fields(shelter)) for _ in range(3)))

    assert (before, acked()) == (0, 3)
