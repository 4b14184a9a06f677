"""Whatever a client writes, every page of the admin opens, shows it as text, and keeps it in its place."""

import json
from typing import Any

import pytest
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import SPECIMEN
from tests.support.crawling import Crawl
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.hostile_values import FIELDS, KEYS, MARKUP, RIGHT_TO_LEFT, TEXTS, nested
from tests.support.operators import OperatorFactory, page_url
from tests.support.snapshots import edited, forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

KEYED = "zoo.charkeyed"
#: Behind all others, before all others, and one between.
ZONES = ["Etc/GMT+12", "Pacific/Kiritimati", "Asia/Kathmandu"]


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    for name in (f"{RIGHT_TO_LEFT} 12", MARKUP):
        body = {"client": made.client, "name": name, "platform": name, "schema": made.schema}
        made.post("/clients", body, 201)
    made.pull()
    return made


def push(device: Device, change: dict[str, Any], *, refused: bool = False) -> None:
    """As JSON of ASCII, which holds whatever a text of Python holds. ``refused``: the whole push may be malformed."""
    body = json.dumps(device.body(change))
    answer = device.api.generic("POST", "/sync/v1/push", body, content_type="application/json")
    if refused and answer.status_code == 400:
        device.seq -= 1
        return
    assert answer.status_code == 200, (answer.content, body[:300])
    device.receipt = answer.json()["receipt"]


def written(device: Device, shelter: Shelter) -> Recovery:
    """Everything of the catalogue, by a push and by a snapshot; some of it against the server's rows."""
    for key in KEYS:
        push(device, device.create(KEYED, {"note": ""}, pk=key))
    for name, value in [*FIELDS, ("json", nested(40))]:
        push(device, device.create(SPECIMEN, {"label": "pushed", name: value}))
    for text in TEXTS.values():
        change = device.create(DOG, dog_fields(shelter, **{text: text}), group=text[:60])
        push(device, {**change, "clocks": {**change["clocks"], text: now()}}, refused=True)
        push(device, device.create(DOG, dog_fields(shelter, **{text: text})))
        push(device, device.create(text[:90], {text: text}, pk=text), refused=True)
    dogs = {name: Dog.objects.create(shelter=shelter, name=name) for name in TEXTS}
    device.pull()
    Dog.objects.update(notes="the server's", age=1)
    lines = [
        *(made_here(SPECIMEN, str(uuid7()), {"label": "kept", name: value}) for name, value in FIELDS),
        *(made_here(KEYED, f"{key}2"[-50:], {"note": key}) for key in KEYS),
        *(made_here(KEYED, key, {"note": "other"}) for key in KEYS),
        *(
            edited(device.rows[DOG, str(dog.pk)], notes=TEXTS[name], name=TEXTS[name][:200], age="x")
            for name, dog in dogs.items()
        ),
    ]
    return recover(device, forced(device), lines)


def refused_uploads(device: Device) -> None:
    """Snapshots whose headers are not valid, each in words that a client chose."""
    reset = str(Client.objects.get(pk=device.client).resets.latest("created").pk)
    for header in ("strategy", "schema", "client", "checkpoint"):
        for text in TEXTS.values():
            answer = device.api.get("/sync/v1/")
            assert answer.status_code == 200
            data = device.snapshot(reset, [], **{header: text})
            device.upload(reset, data, status=422)


@pytest.mark.parametrize("zone", ZONES)
def test_every_page_opens_and_shows_values_as_text(
    zone: str, phone: Device, shelter: Shelter, operator: OperatorFactory, settings: Settings
) -> None:
    settings.TIME_ZONE = zone
    written(phone, shelter)
    boss = operator(superuser=True)
    crawl = Crawl(boss.browser)

    crawl.run(*(page_url(item) for item in Item.objects.all()))
    crawl.press_all()

    from collections import Counter

    print(
        Counter(Item.objects.values_list("state", "code")), Recovery.objects.values_list("state", "problem")
    )
    print(len(crawl.pages), "\n".join(f[:400] for f in crawl.faults))
    assert crawl.faults == []
    assert len(crawl.pages) > 300
