"""Forcing resets from the lists of clients and of tracked models."""

import pytest
from django.contrib.admin.models import LogEntry

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.clock import now
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.operators import OperatorFactory, page_url

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = "syncreset_client"
MAY_FORCE = ("syncreset.view_client", "syncreset.force_reset_client")


def client_of(device: Device) -> Client:
    return Client.objects.get(pk=device.client)


def test_a_reset_is_asked_about_before_it_is_ordered(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull(pending=41)
    boss = operator(*MAY_FORCE)

    question = boss.act(CLIENTS, "force_reset", client_of(phone))

    assert "41 unsynced changes" in question
    assert phone.client in question
    assert not Reset.objects.exists()


def test_a_confirmed_reset_reaches_the_client_and_is_logged(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    boss = operator(*MAY_FORCE, "syncreset.view_reset")

    answer = boss.act(CLIENTS, "force_reset", client_of(phone), confirmed="yes", detail="odd rows", full="on")

    reset = Reset.objects.get()
    assert (reset.client_id, reset.created_by, reset.detail, reset.full) == (
        client_of(phone).pk,
        boss.user,
        "odd rows",
        True,
    )
    assert page_url(reset) in answer
    assert phone.pull(status=409)["reset"] == str(reset.pk)
    tablet.pull()
    logged = LogEntry.objects.get()
    assert (logged.user, logged.object_id, logged.change_message) == (
        boss.user,
        phone.client,
        "Forced a reset.",
    )


def test_without_the_permission_there_is_neither_action_nor_effect(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    guest = operator("syncreset.view_client", "syncreset.change_client", "shelters.view_shelter")

    assert "force_reset" not in guest.list_of(CLIENTS)
    assert "Force reset" not in guest.page_of(client_of(phone))
    assert "force_reset" not in guest.list_of("shelters_shelter")
    guest.act(CLIENTS, "force_reset", client_of(phone), confirmed="yes")
    guest.act("shelters_shelter", "force_reset_of_holders", shelter, confirmed="yes")

    assert not Reset.objects.exists()


def test_a_client_keeps_a_reset_that_is_open(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone, tablet = device(shelter), device(shelter)
    (ordered,) = Reset.objects.force([client_of(phone)])
    (scheduled,) = Reset.objects.force([client_of(tablet)], not_before=now() + 10**9)
    boss = operator(*MAY_FORCE)

    question = boss.act(CLIENTS, "force_reset", client_of(phone), client_of(tablet))
    answer = boss.act(CLIENTS, "force_reset", client_of(phone), client_of(tablet), confirmed="yes")

    assert "keeps its open reset" in question
    assert "its reset falls due now" in question
    assert "2 clients kept the reset that was open" in answer
    assert set(Reset.objects.all()) == {ordered, scheduled}
    assert not LogEntry.objects.exists()


def test_the_reason_cannot_hold_what_a_database_cannot(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    boss = operator(*MAY_FORCE)

    again = boss.act(CLIENTS, "force_reset", client_of(phone), confirmed="yes", detail="a\x00b")

    assert "Null characters are not allowed" in again
    assert not Reset.objects.exists()


def test_all_clients_of_a_filtered_list_can_be_chosen_at_once(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    devices = [device(shelter) for _ in range(3)]
    boss = operator(*MAY_FORCE)

    question = boss.act(CLIENTS, "force_reset", client_of(devices[0]), select_across="1")
    boss.act(CLIENTS, "force_reset", client_of(devices[0]), select_across="1", confirmed="yes")

    assert 'name="select_across" value="1"' in question
    assert "3 clients will be told" in question
    assert Reset.objects.count() == 3


@pytest.mark.parametrize("model", ["dog", "shelter"])
def test_the_clients_that_hold_a_row_are_those_of_its_scope(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, operator: OperatorFactory, model: str
) -> None:
    north, both, south, fresh = (
        device(shelter),
        device(shelter, other_shelter),
        device(other_shelter),
        device(shelter),
    )
    for pulling in (north, both, south):
        pulling.pull()
    dogs = [Dog.objects.create(shelter=shelter, name="Rex"), Dog.objects.create(shelter=shelter, name="Rita")]
    rows = dogs if model == "dog" else [shelter]
    boss = operator(f"shelters.view_{model}", "syncreset.force_reset_client")

    question = boss.act(f"shelters_{model}", "force_reset_of_holders", *rows)
    assert north.client in question
    assert south.client not in question
    assert not Reset.objects.exists()
    boss.act(f"shelters_{model}", "force_reset_of_holders", *rows, confirmed="yes")

    hit = {str(pk) for pk in Reset.objects.values_list("client", flat=True)}
    assert hit == {north.client, both.client}
    assert fresh.client not in hit, "it has never pulled, so it holds nothing"


def test_rows_of_everyone_are_held_by_every_client(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, operator: OperatorFactory
) -> None:
    vet = Vet.objects.create(code="v-1", name="Vera")
    devices = [device(shelter), device(other_shelter)]
    for pulling in devices:
        pulling.pull()
    boss = operator("shelters.view_vet", "syncreset.force_reset_client")

    boss.act("shelters_vet", "force_reset_of_holders", vet, confirmed="yes")

    assert Reset.objects.count() == 2


def test_nothing_can_be_confirmed_where_no_client_holds_the_rows(
    shelter: Shelter, operator: OperatorFactory
) -> None:
    boss = operator("shelters.view_shelter", "syncreset.force_reset_client")

    question = boss.act("shelters_shelter", "force_reset_of_holders", shelter)

    assert "No client is affected" in question
    assert "Force the reset" not in question
