"""Client resets and what a recovery makes of the uploaded snapshot."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from syncreset.clients.client import Client, LastSynced
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, edited, forced, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_forced_reset_holds_every_call_until_the_client_has_bootstrapped(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)

    assert phone.push(phone.create(DOG, dog_fields(shelter)), status=409)["reset"] == reset
    assert phone.get(f"/resets/{reset}")["state"] == "ordered"
    bootstrap(phone, reset)
    assert phone.get(f"/resets/{reset}")["state"] == "bootstrapped"
    phone.pull()
    assert not Dog.objects.exists()


def test_a_recovery_applies_what_was_unsynced_and_its_ledger_has_every_change(
    device: DeviceFactory, shelter: Shelter
) -> None:
    names = ("Edited", "Same", "Deleted", "Clash", "Gone")
    dogs = {name: Dog.objects.create(shelter=shelter, name=name, age=1, chip=name) for name in names}
    phone = device(shelter)
    phone.pull()
    rows = {name: phone.rows[DOG, str(dog.pk)] for name, dog in dogs.items()}
    Dog.objects.filter(name="Clash").update(age=9)
    Dog.objects.filter(name="Gone").delete()
    reset = forced(phone)

    recovery = recover(
        phone,
        reset,
        [
            edited(rows["Edited"], age=2),
            row_line(rows["Same"], {}),
            edited({**rows["Clash"], "clocks": {"*": 1}}, age=1),
            edited(rows["Gone"], age=3),
            made_here(DOG, "0190a5b4-0000-7000-8000-000000000001", dog_fields(shelter, name="New")),
            made_here(DOG, "0190a5b4-0000-7000-8000-000000000002", dog_fields(shelter, chip="Same")),
            made_here(DOG, "0190a5b4-0000-7000-8000-000000000003", dog_fields(shelter, age="x")),
            TombstoneLine(
                model=DOG, pk=rows["Deleted"]["pk"], at=now(), base=rows["Deleted"]["updated"], pulled=False
            ),
        ],
    )

    assert recovery.state == "review"
    assert recovery.totals == {
        "applied": 5,
        "merged": 0,
        "identical": 0,
        "superseded": 0,
        "parked": 1,
        "rejected": 1,
    }
    assert (recovery.changes, recovery.unchanged, recovery.total) == (7, 1, 8)
    ages = dict(Dog.objects.values_list("name", "age"))
    assert ages == {"Edited": 2, "Same": 1, "Clash": 1, "Gone": 3, "New": 3}
    bootstrap(phone, reset)
    assert phone.get(f"/resets/{reset}")["state"] == "done"
    (parked,) = phone.get(f"/recoveries/{recovery.pk}/items?state=parked")["items"]
    assert parked["problem"]["code"] == "unique"
    assert phone.get(f"/recoveries/{recovery.pk}")["receipt"]["rows"] == 7


def test_the_same_snapshot_recovered_again_is_identical(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    lines: list[Line] = [made_here(DOG, "0190a5b4-0000-7000-8000-000000000001", dog_fields(shelter))]
    data = phone.snapshot(reset, lines)
    first = phone.upload(reset, data)
    run(first)

    assert phone.upload(reset, data) == first
    run(first)

    assert Item.objects.count() == 1
    assert Dog.objects.count() == 1


def test_rows_of_one_cycle_meet_over_chunks(device: DeviceFactory, shelter: Shelter, settings: Any) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "RECOVERY_CHUNK": 1}
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    one, two = "0190a5b4-0000-7000-8000-000000000001", "0190a5b4-0000-7000-8000-000000000002"

    recovery = recover(
        phone,
        reset,
        [
            made_here(DOG, one, dog_fields(shelter, mother=two)),
            made_here(DOG, two, dog_fields(shelter, mother=one)),
        ],
    )

    assert recovery.state == "done", recovery.problem
    assert recovery.totals["applied"] == 2
    assert str(Dog.objects.get(pk=one).mother_id) == two


def rewound(action: Callable[[], None]) -> None:
    """The database as it would be had a backup been restored from before the action: its transaction is undone."""
    with transaction.atomic():
        action()
        transaction.set_rollback(True)


def test_acknowledged_work_comes_back_after_the_server_was_restored(
    device: DeviceFactory, shelter: Shelter
) -> None:
    kept = Dog.objects.create(shelter=shelter, name="Kept", age=1)
    doomed = Dog.objects.create(shelter=shelter, name="Doomed")
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    made = tablet.create(DOG, dog_fields(shelter, name="Made"))

    def work() -> None:
        tablet.push(tablet.put(DOG, str(kept.pk), {"age": 5}), made, tablet.delete(DOG, str(doomed.pk)))
        phone.pull()

    rewound(work)
    assert not Dog.objects.filter(name="Made").exists()
    deletion = next(change for change in phone.told if "deleted" in change)

    problem = phone.pull(status=409)
    assert (problem["reason"], problem["recovery"]["full"]) == ("history_diverged", True)
    lines: list[Line] = [row_line(row, {}) for row in phone.rows.values()]
    lines.append(TombstoneLine(model=DOG, pk=deletion["pk"], at=deletion["deleted"], base=None, pulled=True))
    recovery = recover(phone, problem["reset"], lines)

    assert recovery.state == "done", list(Item.objects.values("state", "problem"))
    assert recovery.totals["applied"] == 3, list(
        Item.objects.values("op", "state", "problem", "fields", "pk_text")
    )
    assert dict(Dog.objects.values_list("name", "age")) == {"Kept": 5, "Made": 3}


def test_a_restored_server_that_has_overtaken_the_number_is_found_out(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()

    def work() -> None:
        Dog.objects.create(shelter=shelter, name="Forgotten")
        phone.pull()

    rewound(work)
    for number in range(5):
        Dog.objects.create(shelter=shelter, name=f"Later {number}")
        tablet.pull()

    assert phone.pull(status=409)["reason"] == "history_diverged"


def test_an_unknown_client_is_adopted_and_heals_the_server(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    made = phone.create(DOG, dog_fields(shelter, name="Made"))
    phone.pull()
    phone.push(made)
    phone.pull()
    Dog.objects.all().delete()
    Entry.objects.filter(kind=1).delete()
    Client.objects.all().delete()

    problem = phone.pull(status=409)
    assert (problem["reason"], problem["recovery"]["full"]) == ("client_unknown", True)
    recovery = recover(phone, problem["reset"], [row_line(row, {}) for row in phone.rows.values()])

    assert recovery.totals["applied"] == 1, list(Item.objects.values("op", "state", "problem", "fields"))
    assert Dog.objects.get().name == "Made"


def test_last_synced_is_kept_per_client_and_model(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    assert not LastSynced.objects.exists()
    phone.pull()
    first = LastSynced.objects.get(client_id=phone.client, model=DOG).at

    Dog.objects.create(shelter=shelter, name="Rex")
    phone.pull()

    assert LastSynced.objects.get(client_id=phone.client, model=DOG).at > first


@pytest.mark.parametrize("broken", ["cut", "not gzip", "counts", "schema", "client"])
def test_a_snapshot_broken_as_a_whole_is_refused_and_another_may_be_tried(
    device: DeviceFactory, shelter: Shelter, broken: str
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    good = phone.snapshot(reset, [])
    data = {
        "cut": good[:-10],
        "not gzip": b"hello",
        "counts": phone.snapshot(reset, []).replace(b"\x1f\x8b", b"\x1f\x8a"),
        "schema": phone.snapshot(reset, [], schema="0" * 32),
        "client": phone.snapshot(reset, [], client="0190a5b4-0000-7000-8000-000000000009"),
    }[broken]
    status = 403 if broken == "client" else 422

    problem = phone.upload(reset, data, status=status)

    expected = {"schema": "unsupported_schema", "client": "client_forbidden"}
    assert problem["code"] == expected.get(broken, "invalid_snapshot")
    assert not Recovery.objects.exists()
    assert phone.upload(reset, good)


def test_a_client_that_comes_back_after_the_deadline_is_given_another(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    Reset.objects.filter(pk=reset).update(deadline=now() - 1)

    problem = phone.pull(status=409)

    assert problem["reset"] == reset
    assert problem["recovery"]["deadline"] > now()
    recovery = recover(phone, reset, [made_here(DOG, str(uuid.uuid4()), dog_fields(shelter))])
    assert recovery.totals["applied"] == 1
