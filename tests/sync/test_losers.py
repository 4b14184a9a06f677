"""What a push overwrites of somebody else's: kept in the ledger, with the value that lost and the one that won."""

from dataclasses import replace
from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.tracking import registry
from tests.market.models import Product
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.market import delta

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = 1_000_000

#: What the two phones call the dog.
NAMES = ("By the first", "By the second")


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


@pytest.fixture
def phones(device: DeviceFactory, shelter: Shelter, dog: Dog) -> tuple[Device, Device]:
    phones = device(shelter), device(shelter)
    for phone in phones:
        phone.pull()
    return phones


def test_a_value_that_loses_to_a_later_push_is_kept(phones: tuple[Device, Device], dog: Dog) -> None:
    first, second = phones
    early = first.put(DOG, str(dog.pk), {"name": "Early"})
    late = second.put(DOG, str(dog.pk), {"name": "Late", "age": 2})
    first.push(early)

    (told,) = second.push(late)

    assert told["state"] == "applied"
    item = Item.objects.get()
    assert (item.state, str(item.client_id), item.wrote) == ("applied", second.client, True)
    assert (item.fields["name"]["server"], item.fields["name"]["client"]) == ("Early", "Late")
    assert item.fields["name"]["kept"] == "client"
    assert item.before["fields"]["name"] == "Early"


@pytest.mark.parametrize("later", ["the first", "the second"])
@pytest.mark.parametrize("rule", ["newest", "client"])
def test_the_item_says_what_was_overwritten_and_by_whom_and_the_history_of_the_row_has_it(
    phones: tuple[Device, Device], dog: Dog, rule: Any, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = registry.options_for
    monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), conflicts={"*": rule}))
    first, second = phones
    changes = [phone.put(DOG, str(dog.pk), {"name": name}) for phone, name in zip(phones, NAMES, strict=True)]
    if later == "the first":
        for change, clock in zip(changes, (now(), now() - SECOND), strict=True):
            change["clocks"] = {"name": clock}
    first.push(changes[0])

    (told,) = second.push(changes[1])

    wins = rule == "client" or later == "the second"
    assert told["state"] == ("applied" if wins else "superseded")
    assert Dog.objects.get().name == NAMES[wins]
    (item,) = Item.objects.filter(model=DOG, pk_text=str(dog.pk))
    assert (item.state, str(item.client_id)) == (told["state"], second.client)
    field = item.fields["name"]
    assert (field["server"], field["client"], field["kept"]) == (*NAMES, "client" if wins else "server")
    assert item.before["fields"]["name"] == NAMES[0]


def test_where_nobody_else_wrote_no_item_is_kept(phones: tuple[Device, Device], dog: Dog) -> None:
    first, second = phones
    first.push(first.put(DOG, str(dog.pk), {"name": "Mine"}))
    second.push(second.put(DOG, str(dog.pk), {"age": 5}))

    assert not Item.objects.exists()


def test_the_same_value_written_twice_is_no_conflict(phones: tuple[Device, Device], dog: Dog) -> None:
    first, second = phones
    changes = [phone.put(DOG, str(dog.pk), {"name": "Same"}) for phone in phones]
    first.push(changes[0])
    second.push(changes[1])

    assert not Item.objects.exists()


def test_a_row_made_twice_under_one_key_keeps_what_it_overwrites(
    phones: tuple[Device, Device], shelter: Shelter
) -> None:
    first, second = phones
    pk = "0190a5b4-0000-7000-8000-000000000001"
    early = first.create(DOG, dog_fields(shelter, name="Early"), pk)
    late = second.create(DOG, dog_fields(shelter, name="Late"), pk)
    late["clocks"] = {"*": now()}
    first.push(early)

    (told,) = second.push(late)

    assert told["state"] == "applied"
    assert Item.objects.get().fields["name"]["server"] == "Early"


@pytest.mark.parametrize("on_delete", ["keep", "delete"])
def test_a_deletion_keeps_what_somebody_else_wrote_into_the_row(
    phones: tuple[Device, Device], dog: Dog, on_delete: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = phones
    deletion = second.delete(DOG, str(dog.pk))
    first.push(first.put(DOG, str(dog.pk), {"name": "Edited"}))
    options = registry.options_for
    policy: Any = on_delete
    monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), on_delete=policy))

    (told,) = second.push(deletion)

    assert told["state"] == {"keep": "superseded", "delete": "applied"}[on_delete]
    assert Item.objects.get().before["fields"]["name"] == "Edited"


def test_a_deletion_of_what_the_device_has_seen_keeps_no_item(
    phones: tuple[Device, Device], dog: Dog
) -> None:
    phones[0].push(phones[0].delete(DOG, str(dog.pk)))

    assert not Item.objects.exists()


def test_steps_add_up_and_overwrite_nothing(device: DeviceFactory, apples: Product) -> None:
    phones = device(), device()
    for phone in phones:
        phone.pull()
    for phone in phones:
        phone.push(delta(phone, apples, stock=1))

    assert not Item.objects.exists()


def test_a_replay_is_answered_as_it_was_and_keeps_no_further_item(
    phones: tuple[Device, Device], dog: Dog
) -> None:
    first, second = phones
    late = second.put(DOG, str(dog.pk), {"name": "Late"})
    first.push(first.put(DOG, str(dog.pk), {"name": "Early"}))
    late["clocks"] = {"name": now()}
    body = second.body(late)
    first_answer = second.send(body)

    assert second.send(body) == first_answer
    assert Item.objects.count() == 1
