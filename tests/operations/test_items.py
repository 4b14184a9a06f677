"""`syncreset items`."""

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from syncreset.recovery.job import Recovery
from tests.shelters.models import Dog, Shelter
from tests.support.commands import command, data_of, fails
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here, recover
from tests.support.wire import push_raw

pytestmark = pytest.mark.django_db(transaction=True)

VISIT = "shelters.visit"
KEYS = [f"0190a5b4-0000-7000-8000-00000000000{number}" for number in range(3)]


@pytest.fixture
def recovery(device: DeviceFactory, shelter: Shelter) -> Recovery:
    """A recovery with an applied, a parked and a rejected item of dogs and an identical one of visits."""
    Dog.objects.create(shelter=shelter, name="Old", chip="1")
    phone = device(shelter)
    phone.pull()
    return recover(
        phone,
        forced(phone),
        [
            made_here(DOG, KEYS[0], dog_fields(shelter)),
            made_here(DOG, KEYS[1], dog_fields(shelter, chip="1")),
            made_here(DOG, KEYS[2], dog_fields(shelter, age="x")),
            TombstoneLine(model=VISIT, pk=KEYS[0], at=now(), base=1, pulled=False),
        ],
    )


def listed(*arguments: str) -> list[str]:
    return [item["state"] for item in data_of("items", *arguments)["items"]]


def test_items_are_filtered(recovery: Recovery, device: DeviceFactory, shelter: Shelter) -> None:
    assert data_of("items")["total"] == 4
    assert listed("--state", "parked") == ["parked"]
    assert listed("--model", "Shelters.Visit") == ["identical"]
    assert listed("--object", KEYS[2]) == ["rejected"]
    assert sorted(listed("--object", KEYS[0])) == ["applied", "identical"]
    assert listed("--object", KEYS[0], "--model", DOG) == ["applied"]
    other = device(shelter)
    other.pull()
    other.push({**other.create(DOG, dog_fields(shelter)), "pk": "?"})
    assert len(listed()) == 5
    assert len(listed("--recovery", str(recovery.pk))) == 4


def test_an_item_is_told_in_full(recovery: Recovery) -> None:
    [item] = data_of("items", "--state", "parked")["items"]

    kept = Item.objects.get(state="parked")
    assert item["item"] == str(kept.pk)
    assert item["recovery"] == str(recovery.pk)
    assert item["client"] == str(recovery.client_id)
    assert item["user"] == recovery.client.user.get_username()
    assert (item["line"], item["part"], item["seq"]) == (2, 0, None)
    assert (item["model"], item["pk"], item["op"], item["code"]) == (DOG, KEYS[1], "put", "unique")
    assert item["problem"]["code"] == "unique"
    assert item["change"]["fields"]["chip"] == "1"
    assert item["created"] == kept.created


def test_the_table_says_what_is_left_out(recovery: Recovery) -> None:
    text = command("items", "--limit", "3")

    assert text.endswith("… and 1 more\n4 items\n")
    assert len(text.splitlines()) == 2 + 3 + 2
    assert len(listed("--limit", "3")) == 3


def test_a_model_that_is_not_tracked_is_named_as_such() -> None:
    text = command("items", "--model", "shelters.cat")

    assert text.startswith("No item matches.\nshelters.cat is not a tracked model; there are: ")
    assert DOG in text
    assert command("items", "--model", DOG) == "No item matches.\n"
    assert "invalid choice: 'lost'" in fails("items", "--state", "lost")[1]


def test_hostile_values_stay_values(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    push_raw(phone, phone.create(DOG, dog_fields(shelter, name="a\x00\ud800\x1b[31m"), pk=KEYS[0]))
    push_raw(phone, phone.create(DOG, dog_fields(shelter), pk="\x1b[2J"))

    text = command("items")

    assert "\x1b" not in text
    assert "\x00" not in text
    names = [item["change"]["fields"]["name"] for item in data_of("items", "--object", KEYS[0])["items"]]
    assert names == ["a\x00\ud800\x1b[31m"]
