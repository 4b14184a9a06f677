"""What one user may have kept, and what is said to those who want more."""

import uuid
from typing import Any

import pytest
from django.test import override_settings
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced
from tests.support.wire import create_upload, patch, problem_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


def quota(settings: Settings, **quotas: int) -> Any:
    return override_settings(SYNCRESET={**settings.SYNCRESET, **quotas})


def exceeded(response: Any, name: str) -> None:
    problem = problem_of(response, 429, "quota_exceeded")
    assert name in problem["detail"]
    assert int(response["Retry-After"]) > 0


def test_no_road_makes_more_clients_than_the_quota(
    phone: Device, device: DeviceFactory, other_shelter: Shelter, settings: Settings
) -> None:
    for name in ("Rex", "Bella"):
        phone.push(phone.create(DOG, dog_fields(Shelter.objects.get(name="North"), name=name)))
    with quota(settings, CLIENTS_QUOTA=1):
        exceeded(phone.api.post("/sync/v1/clients", {"client": str(uuid.uuid4())}), "CLIENTS_QUOTA")
        stranger = {**phone.body(), "client": str(uuid.uuid4()), "checkpoint": None, "receipt": ""}
        exceeded(phone.api.post("/sync/v1/pull", stranger), "CLIENTS_QUOTA")
        exceeded(phone.api.post("/sync/v1/push", {**phone.body(), "receipt": ""}), "CLIENTS_QUOTA")
        assert phone.api.post("/sync/v1/clients", {"client": phone.client}).status_code == 201
        device(other_shelter)
    assert Client.objects.count() == 2


def test_unfinished_uploads_have_a_quota(phone: Device, settings: Settings) -> None:
    reset = forced(phone)
    data = phone.snapshot(reset, [])
    with quota(settings, UPLOADS_QUOTA=1):
        location = create_upload(phone, reset, data)["Location"]
        exceeded(create_upload(phone, reset, data), "UPLOADS_QUOTA")
        assert patch(phone, location, data).status_code == 204
        assert create_upload(phone, reset, data).status_code == 201


def test_refused_snapshots_have_a_quota(phone: Device, settings: Settings) -> None:
    reset = forced(phone)
    with quota(settings, REFUSED_QUOTA=1):
        phone.upload(reset, b"no snapshot", status=422)
        exceeded(create_upload(phone, reset, b"neither"), "REFUSED_QUOTA")
    Upload.objects.all().delete()
    with quota(settings, REFUSED_QUOTA=1):
        assert create_upload(phone, reset, b"neither").status_code == 201


def test_bytes_have_a_quota(
    phone: Device, device: DeviceFactory, shelter: Shelter, settings: Settings
) -> None:
    reset = forced(phone)
    other = device(shelter)
    other.pull()
    with quota(settings, BYTES_QUOTA=100):
        assert create_upload(phone, reset, b"", length=60).status_code == 201
        exceeded(create_upload(phone, reset, b"", length=41), "BYTES_QUOTA")
        assert create_upload(phone, reset, b"", length=40).status_code == 201
        assert create_upload(other, forced(other), b"", length=100).status_code == 201


def test_parked_items_have_a_quota_until_they_are_decided(
    phone: Device, shelter: Shelter, settings: Settings
) -> None:
    dogs = [Dog.objects.create(shelter=shelter, name=name, notes="old") for name in ("Rex", "Bella")]
    phone.pull()
    Dog.objects.update(notes="the server's")
    (result,) = phone.push(phone.put(DOG, str(dogs[0].pk), {"notes": "the phone's"}))
    assert result["state"] == "parked"
    with quota(settings, PARKED_QUOTA=1):
        body = phone.body(phone.put(DOG, str(dogs[1].pk), {"age": 3}))
        exceeded(phone.api.post("/sync/v1/push", body), "PARKED_QUOTA")
        phone.pull()
        phone.post(f"/items/{result['item']}/resolve", {"keep": "server"})
        assert not Item.objects.filter(state="parked").exists()
        (taken,) = phone.send({**body, "checkpoint": phone.checkpoint})
    assert taken["state"] == "applied"
