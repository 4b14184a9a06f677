"""Resets that are not due yet, and the advice to clients that are told to reset together."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from syncreset import conf
from syncreset.clients.client import Client
from syncreset.clients.gate import retry_after
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import begin_epoch
from syncreset.protocol.clock import now
from tests.shelters.models import Dog, Shelter
from tests.support.commands import DAY, client_of
from tests.support.device import PREFIX, Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = DAY // 24


def scheduled(device: Device, not_before: int) -> Reset:
    [reset] = Reset.objects.force([client_of(device)], not_before=not_before)
    return reset


def test_a_reset_that_is_not_due_does_not_hold_the_client(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    reset = scheduled(phone, now() + HOUR)

    phone.push(phone.create(DOG, dog_fields(shelter, name="Rex")))
    phone.pull()

    assert Dog.objects.get().name == "Rex"
    Reset.objects.filter(pk=reset.pk).update(not_before=now())
    assert phone.pull(status=409)["reset"] == str(reset.pk)


def test_a_client_that_diverges_does_not_wait_for_its_wave(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    reset = scheduled(phone, now() + HOUR)
    begin_epoch()

    assert phone.pull(status=409)["reason"] == "history_diverged"
    reset.refresh_from_db()
    assert reset.replaced is not None


def test_forcing_again_brings_a_reset_forward_and_never_puts_it_off(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    later, sooner = now() + 2 * HOUR, now() + HOUR

    reset = scheduled(phone, later)
    assert scheduled(phone, sooner).pk == reset.pk
    assert scheduled(phone, later).not_before == sooner

    reset.refresh_from_db()
    assert reset.not_before == sooner
    assert reset.deadline == sooner + conf.get("RESET_DEADLINE") * 1_000_000


def test_the_time_to_upload_begins_when_the_reset_falls_due(device: DeviceFactory, shelter: Shelter) -> None:
    due = now() + 100 * DAY

    reset = scheduled(device(shelter), due)

    assert reset.deadline == due + conf.get("RESET_DEADLINE") * 1_000_000


def test_a_client_that_is_told_to_reset_alone_need_not_wait(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    scheduled(phone, now())

    assert _refused(phone)["Retry-After"] == "0"


def test_clients_that_must_reset_together_are_spread(
    device: DeviceFactory, shelter: Shelter, user_factory: Callable[..., Any]
) -> None:
    phone = device(shelter)
    phone.pull()
    user = user_factory(shelter)
    crowd = Client.objects.bulk_create(Client(user=user) for _ in range(60))
    Reset.objects.force([*crowd, client_of(phone)])

    with override_settings(SYNCRESET={"RESET_RATE": 2, "SCOPES": "tests.shelters.scopes.scopes_for"}):
        advised = {int(_refused(phone)["Retry-After"]) for _ in range(40)}

    assert 0 <= min(advised) < max(advised) <= 30
    assert len(advised) > 8


def test_clients_that_never_came_do_not_keep_the_others_waiting(
    device: DeviceFactory, shelter: Shelter, user_factory: Callable[..., Any]
) -> None:
    user = user_factory(shelter)
    crowd = Client.objects.bulk_create(Client(user=user) for _ in range(60))
    Reset.objects.force(crowd)
    Reset.objects.update(not_before=now() - DAY)
    Reset.objects.force([Client.objects.create(user=user)], not_before=now() + HOUR)

    with override_settings(SYNCRESET={"RESET_RATE": 0.01}):
        assert {retry_after() for _ in range(20)} == {0}


def test_nobody_is_put_off_for_more_than_an_hour(shelter: Shelter, user_factory: Callable[..., Any]) -> None:
    Reset.objects.force(Client.objects.bulk_create(Client(user=user_factory(shelter)) for _ in range(3)))

    with override_settings(SYNCRESET={"RESET_RATE": 0.000001}):
        assert max(retry_after() for _ in range(50)) <= 3600


def _refused(device: Device) -> Any:
    body = {"client": device.client, "schema": device.schema, "checkpoint": device.checkpoint, "receipt": ""}
    response = device.api.post(f"{PREFIX}/pull", body)
    assert response.status_code == 409
    return response
