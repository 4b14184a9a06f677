"""Whatever a client writes, every page of the admin opens, shows it as text, and keeps it in its place."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.contrib.admin.utils import quote
from django.urls import reverse
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.ledger.record import key_text
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview, undo
from syncreset.recovery.run import run
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import SPECIMEN
from tests.support.crawling import Crawl, Page
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.hostile_values import ELEMENT, FIELDS, KEYS, MARKUP, RIGHT_TO_LEFT, TEXTS, nested
from tests.support.operators import Operator, OperatorFactory, page_url
from tests.support.snapshots import edited, forced, made_here, recover
from tests.zoo.models import CharKeyed

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
    lines = [
        *(made_here(SPECIMEN, str(uuid7()), {"label": "kept", name: value}) for name, value in FIELDS),
        *(made_here(KEYED, f"{key}2"[-50:], {"note": key}) for key in KEYS),
        *(made_here(KEYED, key, {"note": "other"}) for key in KEYS),
        *(
            edited(device.rows[DOG, str(dog.pk)], notes=TEXTS[name], name=TEXTS[name][:200])
            for name, dog in dogs.items()
        ),
    ]
    Dog.objects.filter(name__in=TEXTS).update(notes="the server's", name="the server's")
    recovery = recover(device, forced(device), lines)
    run(undo(recovery).pk)
    run(preview(recovery).pk)
    return recovery


def refused_uploads(device: Device) -> None:
    """Snapshots with headers in words that a client chose. Those that are not even JSON are refused before."""
    reset = forced(device)
    for header in ("strategy", "schema"):
        for text in TEXTS.values():
            device.upload(reset, device.snapshot(reset, [], **{header: text}), status=422)


def decided(boss: Operator) -> None:
    """Each parked item of a dog, once with a value that somebody types."""
    values = list(TEXTS.values())
    for place, item in enumerate(Item.objects.filter(state="parked", recovery__kind="merge")[: len(values)]):
        answers = {"choice__0": "other", "value__0": json.dumps(values[place]), "next": "on"}
        url = reverse("admin:syncreset_item_resolve", args=[item.pk])
        assert boss.browser.post(url, answers).status_code in (200, 302)


@pytest.mark.parametrize("zone", ZONES)
def test_every_page_opens_and_shows_values_as_text(
    zone: str, phone: Device, shelter: Shelter, operator: OperatorFactory, settings: Settings, caplog: Any
) -> None:
    settings.TIME_ZONE = zone
    recovery = written(phone, shelter)
    refused_uploads(phone)
    boss = operator(superuser=True)
    crawl = Crawl(boss.browser)

    crawl.run(*(page_url(item) for item in Item.objects.all()))
    crawl.press_all()
    decided(boss)
    crawl.run(*(page_url(item) for item in Item.objects.exclude(resolution=None)))

    assert crawl.faults == []
    assert [record for record in caplog.records if not record.getMessage().isprintable()] == []
    assert len(crawl.pages) > 500
    states = set(Item.objects.filter(recovery=recovery).values_list("state", flat=True))
    assert states == {"applied", "parked", "rejected"}


def test_lists_are_searched_and_filtered_by_whatever_a_client_wrote(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    written(phone, shelter)
    boss = operator(superuser=True)
    boss.browser.raise_request_exception = False

    for name in ("client", "reset", "upload", "recovery", "item", "entry"):
        listed = f"/admin/syncreset/{name}/"
        links = Page(listed, boss.get(listed)).links
        parameters = {parameter for link in links for parameter, _ in parse_qsl(urlsplit(link).query)}
        for parameter in parameters | {"q"}:
            for text in (*TEXTS.values(), *KEYS, "\0", "9" * 1000):
                query = urlencode({parameter: text[:1000]}, errors="replace")
                page = boss.browser.get(f"{listed}?{query}", follow=True)
                assert page.status_code == 200, (name, query)
                assert f"<{ELEMENT}" not in page.content.decode()


def test_a_row_is_found_by_its_key_whatever_is_in_it(phone: Device, operator: OperatorFactory) -> None:
    for key in KEYS:
        push(phone, phone.create(KEYED, {"note": ""}, pk=key))
        push(phone, phone.create(KEYED, {"note": "other", "code": 1}, pk=key))
    boss = operator(superuser=True)

    for key in KEYS:
        item = Item.objects.get(pk_text=key_text(key))
        page = boss.page_of(item)
        assert "there is none" not in page, key
        assert "its only item" in page, key


def test_the_page_of_a_row_leads_to_its_items_whatever_is_in_its_key(
    phone: Device, operator: OperatorFactory
) -> None:
    for key in KEYS:
        push(phone, phone.create(KEYED, {"note": ""}, pk=key))
        push(phone, phone.create(KEYED, {"note": "other", "code": 1}, pk=key))
    boss = operator(superuser=True)

    listed = boss.list_of("zoo_charkeyed")

    assert listed.count('">1</a>') == len(KEYS)
    for row in CharKeyed.objects.all():
        page = boss.get(reverse("admin:zoo_charkeyed_change", args=[quote(row.pk)]))
        assert "Sync history (1)" in page, row.pk


def test_the_platforms_offered_are_the_most_frequent(
    device: DeviceFactory, operator: OperatorFactory
) -> None:
    device()
    template = Client.objects.get()
    Client.objects.bulk_create(
        Client(user=template.user, platform=f"{place:03} {'p' * 150}") for place in range(300)
    )
    boss = operator(superuser=True)

    page = boss.list_of("syncreset_client", platform=f"299 {'p' * 150}")

    assert boss.list_of("syncreset_client").count("?platform=") == 20
    assert page.count('name="_selected_action"') == 1
    assert "in all)" in page


def test_a_row_whose_name_fails_is_named_by_its_key(
    phone: Device, operator: OperatorFactory, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    push(phone, phone.create(KEYED, {"note": ""}, pk="first"))
    push(phone, phone.create(KEYED, {"note": "", "code": 1}, pk="first"))
    monkeypatch.setattr(
        CharKeyed, "__str__", lambda row: str(datetime.max.replace(tzinfo=UTC) + timedelta(1))
    )

    page = operator(superuser=True).page_of(Item.objects.get())

    assert "char keyed first" in page
    assert "has no name" in caplog.text
