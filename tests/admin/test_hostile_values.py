"""Values that clients may send and browsers must not run: pages render, and show them as they are."""

import json
from typing import Any

import pytest

from syncreset.admin.shown.html import instant, moment, wire_text
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.printable import printable
from syncreset.recovery.uploads import Upload, create_upload
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import OperatorFactory

SCRIPT = "<script>alert(1)</script>"
HOSTILE: dict[str, Any] = {
    "script": SCRIPT,
    "quotes": "\"' onmouseover=alert(1) x='",
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "reversed": "a\u202etxt.exe",
    "braces": "{{ 7|add:7 }} {} %s",
    "nested": {"a\x00": [{"<b>": [SCRIPT, "\udfff", None, 10**300]}]},
    "long": "x" * 300_000,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("where", ["value", "field", "model", "pk"])
def test_an_item_of_a_hostile_change_can_be_looked_at(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory, value: Any, where: str
) -> None:
    phone = device(shelter)
    phone.pull()
    text = value if isinstance(value, str) else "nested"
    change = phone.create(DOG, dog_fields(shelter, name=value if where == "value" else "Rex"))
    if where == "field":
        change["fields"][text] = 1
        change["clocks"][text] = 5
    elif where != "value":
        change[where] = text
    body = json.dumps(phone.body({**change, "fields": {**change["fields"], "age": "refused"}}))
    answer = phone.api.generic("POST", "/sync/v1/push", body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    item = Item.objects.get()
    boss = operator(superuser=True)

    pages = [boss.page_of(item), boss.list_of("syncreset_item"), boss.page_of(item.client)]

    for page in pages:
        assert SCRIPT not in page
        assert not set(page) & set("\x00\u202e\ud800")
        assert len(page) < 250_000
    boss.get(f"/admin/syncreset/item/{item.pk}/change.json")


@pytest.mark.django_db(transaction=True)
def test_a_hostile_name_is_shown_and_not_run(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    Client.objects.update(name=f"{SCRIPT}\u202e", platform=SCRIPT, scopes=[SCRIPT, f"{DOG}:{SCRIPT}", 7, ":"])
    Dog.objects.create(shelter=shelter, name=SCRIPT)
    boss = operator(superuser=True)
    Reset.objects.force(Client.objects.all(), detail=SCRIPT)
    upload = create_upload(Reset.objects.get(), length=1, metadata={"sha256": "a" * 64})
    Upload.objects.update(refused=SCRIPT, strategy=SCRIPT[:40])
    (client,) = Client.objects.all()

    pages = [
        *(boss.list_of(f"syncreset_{name}") for name in ("client", "reset", "upload", "entry")),
        *(boss.page_of(record) for record in (client, Reset.objects.get(), upload)),
        boss.act("syncreset_client", "force_reset", client),
        boss.list_of("shelters_dog"),
    ]

    for page in pages:
        assert SCRIPT not in page
    assert "\\u202e" in pages[0]


def test_what_does_not_print_becomes_its_escape_and_what_does_stays() -> None:
    assert printable("Zoë 😀 犬\n", lines=True) == "Zoë 😀 犬\n"
    assert printable("a\x00\x1b\u202e\ud83d") == "a\\u0000\\u001b\\u202e\\ud83d"
    assert wire_text({"é": "\ud800"}) == '{"é": "\\ud800"}'
    assert wire_text("x" * 2000).endswith("… (2,002 characters in all)")


@pytest.mark.parametrize("clock", [-(10**18), 10**18, 2**63 - 1, -(2**63), 253402300799999999])
def test_a_clock_beyond_the_calendar_has_no_date(clock: int) -> None:
    assert str(clock) not in moment(clock)
    assert str(clock) not in instant(clock)


def test_times_are_dates_in_the_current_time_zone(settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"

    assert "2026-11-22 15:24" in moment(1795379040123456)
    assert "2026-11-22 15:24:00.123456 EST" in instant(1795379040123456)
    assert moment(None) == moment(0) == "never"


@pytest.mark.django_db(transaction=True)
def test_a_change_of_very_many_fields_is_shown_in_part(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    many = {f"field{number}": number for number in range(1000)}
    phone.push(phone.create(DOG, {**dog_fields(shelter), **many}))

    page = operator(superuser=True).page_of(Item.objects.get())

    assert "field10<" in page
    assert "field999<" not in page
    assert f"and {len(dog_fields(shelter)) + 1000 - 300:,} more" in page
