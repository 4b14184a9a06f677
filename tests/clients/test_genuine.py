"""What a client presents is believed where this server has given it, and has given it to this client."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset, has_ordered
from syncreset.feed.checkpoints import begin_epoch
from syncreset.feed.cursor import decode_cursor, encode_cursor
from syncreset.ledger.item import Item
from syncreset.recovery.context import context_of
from syncreset.recovery.job import Recovery
from syncreset.sdk import Replica
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import SPECIMEN
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.snapshots import forced, recover, row_line
from tests.zoo.models import Specimen

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    Dog.objects.create(shelter=shelter, name="Rex")
    made = device(shelter)
    made.pull()
    return made


def tampered(device: Device, **changes: Any) -> str:
    """A checkpoint of this epoch that says something else, under the old signature."""
    assert device.checkpoint is not None
    text, _, _ = encode_cursor(replace(decode_cursor(device.checkpoint), **changes)).partition(".")
    return f"{text}.{device.checkpoint.partition('.')[2]}"


@pytest.mark.parametrize("path", ["/pull", "/push"])
@pytest.mark.parametrize(
    "changes", [{"salt": "0" * 16}, {"proof": 10**6}, {"number": 0}, {"epoch": "another"}, {"entry": 0}]
)
def test_a_forged_checkpoint_is_no_proof_of_a_restore(
    phone: Device, path: str, changes: dict[str, Any]
) -> None:
    problem = phone.post(path, {**phone.body(), "checkpoint": tampered(phone, **changes)}, 409)

    assert (problem["reason"], problem["recovery"]["full"]) == ("not_genuine", False)


@pytest.mark.parametrize("member", ["checkpoint", "held"])
def test_another_clients_checkpoint_is_refused(phone: Device, device: DeviceFactory, member: str) -> None:
    other = device(user=Client.objects.get(pk=phone.client).user)
    other.pull()
    body = {**phone.body(), "checkpoint": None, member: other.checkpoint}

    assert phone.post("/pull", body, 400)["code"] == "invalid_checkpoint"
    assert phone.post("/push", {**phone.body(), "checkpoint": other.checkpoint}, 400)["code"] == (
        "invalid_checkpoint"
    )
    assert not Reset.objects.exists()


def test_a_forged_checkpoint_of_a_client_that_nobody_knows_heals_nothing(phone: Device) -> None:
    forged = tampered(phone, salt="0" * 16)
    phone.client = str(uuid.uuid4())

    problem = phone.post("/pull", {**phone.body(), "checkpoint": forged}, 409)

    assert (problem["reason"], problem["recovery"]["full"]) == ("client_unknown", False)


def test_a_key_that_is_lost_resets_without_healing(phone: Device, settings: Settings) -> None:
    settings.SECRET_KEY = "another"

    problem = phone.pull(status=409)

    assert (problem["reason"], problem["recovery"]["full"]) == ("not_genuine", False)


def test_a_key_that_was_rotated_is_noticed_by_nobody(phone: Device, settings: Settings) -> None:
    phone.push(phone.create(DOG, dog_fields(Shelter.objects.get(), name="Bella")))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]

    phone.pull()
    phone.push(phone.create(DOG, dog_fields(Shelter.objects.get(), name="Luna")))

    assert Dog.objects.count() == 3
    begin_epoch()
    assert phone.pull(status=409)["reason"] == "history_diverged"


def rewound(action: Callable[[], Any]) -> Any:
    with transaction.atomic():
        result = action()
        transaction.set_rollback(True)
    return result


def test_a_reset_that_was_lost_in_a_restore_heals_and_one_made_up_does_not(
    phone: Device, device: DeviceFactory
) -> None:
    lost = rewound(lambda: str(Reset.objects.force(Client.objects.filter(pk=phone.client))[0].pk))
    other = device(user=Client.objects.get(pk=phone.client).user)
    body = {**phone.body(), "checkpoint": None}

    made_up = phone.post("/pull", {**body, "reset": str(uuid.uuid4())}, 409)
    assert (made_up["reason"], made_up["recovery"]["full"]) == ("not_genuine", False)
    assert not has_ordered(Client.objects.get(pk=other.client), lost)
    known = phone.post("/pull", {**body, "reset": lost}, 409)
    assert (known["reason"], known["recovery"]["full"]) == ("history_diverged", True)


def test_a_snapshot_that_names_a_checkpoint_of_another_client_has_seen_nothing(
    phone: Device, device: DeviceFactory
) -> None:
    other = device(user=Client.objects.get(pk=phone.client).user)
    other.pull()
    reset = forced(phone)
    lines = [row_line(row, {}) for row in phone.rows.values()]

    seen = {}
    for name, checkpoint in {
        "own": phone.checkpoint,
        "other": other.checkpoint,
        "forged": tampered(phone, number=10**6),
    }.items():
        snapshot = phone.snapshot(reset, lines, checkpoint=checkpoint)
        seen[name] = context_of(Recovery.objects.get(pk=phone.upload(reset, snapshot))).seen

    assert seen["own"] is not None
    assert (seen["other"], seen["forged"]) == (None, None)


def test_a_copy_of_a_store_is_given_the_checkpoint_anew(phone: Device) -> None:
    phone.push(phone.create(DOG, dog_fields(Shelter.objects.get(), name="Bella")))
    phone.push(phone.create(DOG, dog_fields(Shelter.objects.get(), name="Luna")))
    phone.receipt = ""

    told = phone.pull(status=409)

    assert told["code"] == "client_copied"
    phone.client, phone.checkpoint = told["client"], told["checkpoint"]
    phone.pull()
    assert decode_cursor(phone.checkpoint).is_of(told["client"])


@pytest.mark.parametrize("checkpoint", ["damaged", "another's"])
def test_the_sdk_bootstraps_from_a_checkpoint_that_is_refused_and_keeps_its_work(
    user_factory: UserFactory, shelter: Shelter, device: DeviceFactory, tmp_path: Path, checkpoint: str
) -> None:
    user = user_factory(shelter)
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    other = device(user=user)
    other.pull()
    with Replica(tmp_path / "field.db", URL, "token", client=online(RealServer(user))) as replica:
        replica.sync()
        replica.update(DOG, dog.pk, age=9)
        store = replica._device.store
        with store.transaction():
            store.put(checkpoint="damaged" if checkpoint == "damaged" else other.checkpoint)

        report = replica.sync()

        assert (report.pending, report.resets) == (0, ())
        row = replica.get(DOG, dog.pk)
        assert row is not None
        assert row["age"] == 9
    assert Dog.objects.get().age == 9
    assert not Reset.objects.exists()


def test_a_snapshot_of_a_reset_that_a_forged_checkpoint_brought_is_held_to_every_rule(
    device: DeviceFactory, shelter: Shelter
) -> None:
    specimen = Specimen.objects.create(label="Held", float=1.5, checklist={"a": 1})
    phone = device(shelter)
    phone.pull()
    held = phone.rows[SPECIMEN, str(specimen.pk)]
    forged = {**phone.body(), "checkpoint": tampered(phone, salt="0" * 16)}
    reset = phone.post("/pull", forged, 409)["reset"]
    for name, value in (("float", "Infinity"), ("label", None), ("checklist", None)):
        recovery = recover(phone, reset, [row_line(held, {}, **{name: value})], full=True)
        assert not recovery.healing
        assert not Item.objects.filter(recovery=recovery, state__in=("applied", "merged")).exists()

    specimen.refresh_from_db()
    assert (specimen.label, specimen.float, specimen.checklist) == ("Held", 1.5, {"a": 1})
