"""`syncreset status`."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import feed_state, purge, stamp
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.uploads import Upload, create_upload
from syncreset.tracking.triggers import install as triggers
from syncreset.wire.schema import current_schema
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.commands import client_of, command, data_of, days_ago
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, forced, made_here, recover
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_empty_server_is_told_of_in_the_same_shape() -> None:
    told = data_of("status")

    assert told["clients"] == {
        "total": 0,
        "silent_days": 30,
        "states": {
            "reset": 0,
            "scheduled": 0,
            "silent": 0,
            "never": 0,
            "old_schema": 0,
            "behind": 0,
            "current": 0,
        },
    }
    assert told["unsynced"] == {"clients": 0, "changes": 0, "oldest": []}
    assert told["resets"] == {}
    assert set(told["recoveries"]["states"].values()) == {0}
    assert told["uploads"] == {"receiving": 0, "expired": 0, "refused": 0, "waiting": 0}
    assert told["triggers"] == {"ok": True, "wrong": []}
    assert told["schema"]["hash"] == current_schema()["hash"]
    assert told["at"] <= now()


def test_each_client_is_in_one_state(device: DeviceFactory, shelter: Shelter) -> None:
    behind, old, silent, resetting, current, waiting, _ = (device(shelter) for _ in range(7))
    for each in (behind, old, silent, resetting):
        each.pull()
    Dog.objects.create(shelter=shelter, name="Rex")
    for each in (current, waiting):
        each.pull()
    client_of(old, schema="0" * 32)
    client_of(silent, last_seen=days_ago(31))
    Reset.objects.force([client_of(resetting, last_seen=days_ago(50))])
    Reset.objects.force([client_of(waiting)], not_before=now() + 10**9)

    told = data_of("status")

    assert told["clients"]["total"] == 7
    assert told["clients"]["states"] == {
        "reset": 1,
        "scheduled": 1,
        "silent": 1,
        "never": 1,
        "old_schema": 1,
        "behind": 1,
        "current": 1,
    }
    assert told["resets"] == {"admin_forced": {"ordered": 1, "scheduled": 1}}
    assert data_of("status", "--silent-days", "40")["clients"]["states"]["silent"] == 0


def test_the_oldest_unsynced_come_first(device: DeviceFactory, shelter: Shelter) -> None:
    young, old, synced = (device(shelter) for _ in range(3))
    client_of(young, pending=2)
    client_of(old, pending=5, last_seen=days_ago(9))
    client_of(synced, pending=0, last_seen=days_ago(90))

    told = data_of("status")["unsynced"]

    assert (told["clients"], told["changes"]) == (2, 7)
    assert [client["client"] for client in told["oldest"]] == [old.client, young.client]
    assert [len(data_of("status", "--limit", n)["unsynced"]["oldest"]) for n in ("0", "1")] == [0, 1]


def test_the_feed_is_told_of(shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    number = stamp().number
    dog.delete()
    Vet.objects.create(code="A1", name="Dr. A")

    told = data_of("status")["feed"]
    assert told["checkpoint"] == number
    assert told["unstamped"] == 2
    assert told["epoch"] == feed_state().epoch
    assert told["horizon"] == 0

    purge(now() + 10**9)
    told = data_of("status")["feed"]
    assert told["horizon"] == told["checkpoint"] == number + 1
    assert told["unstamped"] == 0


def test_recoveries_that_want_a_person_are_named_until_a_later_one_is_done(
    device: DeviceFactory, shelter: Shelter
) -> None:
    Dog.objects.create(shelter=shelter, name="Old", chip="1")
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    clash = made_here(DOG, "0190a5b4-0000-7000-8000-000000000001", dog_fields(shelter, chip="1"))
    recovery = recover(phone, reset, [clash])
    bootstrap(phone, reset)
    assert recovery.state == "review"

    told = data_of("status")
    assert told["parked"] == 1
    assert [each["recovery"] for each in told["recoveries"]["attention"]] == [str(recovery.pk)]
    assert told["recoveries"]["states"]["review"] == 1
    assert told["resets"] == {"admin_forced": {"done": 1}}

    again = recover_again(recovery)
    assert data_of("status")["resets"] == {"admin_forced": {"done": 1}}
    Recovery.objects.filter(pk=again.pk).update(state="done")
    assert data_of("status")["recoveries"]["attention"] == []


def test_uploads_are_counted_by_what_becomes_of_them(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    client = client_of(phone)
    [reset] = Reset.objects.force([client])
    told = {"sha256": "0" * 64}
    uploads = [create_upload(reset, length=10, metadata=told) for _ in range(4)]
    Upload.objects.filter(pk=uploads[1].pk).update(expires=now() - 1)
    Upload.objects.filter(pk=uploads[2].pk).update(offset=10)
    Upload.objects.filter(pk=uploads[3].pk).update(offset=10, refused="invalid_snapshot: broken")

    assert data_of("status")["uploads"] == {"receiving": 1, "expired": 1, "refused": 1, "waiting": 1}


def test_missing_triggers_and_old_schemas_are_told(device: DeviceFactory, shelter: Shelter) -> None:
    client_of(device(shelter), schema="0" * 32)
    drop_triggers(Vet)

    try:
        told = data_of("status")
        text = command("status")
    finally:
        triggers.install(connection, [Vet])

    assert told["triggers"] == {"ok": False, "wrong": ["shelters_vet"]}
    assert told["schema"]["old_clients"] == 1
    assert "WRONG on shelters_vet: run `audit`" in text


def test_the_text_is_for_people_and_obeys_no_name(
    device: DeviceFactory, shelter: Shelter, user_factory: Callable[..., Any]
) -> None:
    phone = device(shelter)
    client_of(phone, pending=1234, name="\x1b[2Jphone", last_seen=days_ago(3))
    phone.pull(status=200, pending=1234)
    reset = forced(phone)
    recover(phone, reset, [TombstoneLine(model=DOG, pk="x", at=now(), base=1, pulled=False)])

    text = command("status")

    assert re.search(r"Unsynced: 1,234 changes on 1 client\n", text)
    assert "\x1b" not in text
    assert re.search(r"admin_forced +1", text)
    assert Client.objects.count() == 1
