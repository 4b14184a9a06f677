"""What nobody and somebody else are answered at every address: the page on security has the same table."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from syncreset.clients.client import Client
from syncreset.events import hub as events
from syncreset.events.hub import EventsUnavailable, Listener
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import ABSENT
from tests.support.device import PREFIX, Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.pages import page, section, table
from tests.support.snapshots import edited, forced, recover
from tests.support.wire import create_upload
from tools.openapi.document import document

pytestmark = pytest.mark.django_db(transaction=True)

TUS = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Upload-Length": "10"}


@pytest.fixture
def theirs(device: DeviceFactory, shelter: Shelter) -> dict[str, str]:
    """The ids of somebody's reset, upload, recovery, item and client."""
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    phone = device(shelter)
    phone.pull()
    (parked,) = phone.push(phone.put(DOG, str(dog.pk), {"mother": ABSENT}))
    phone.pull()
    reset = forced(phone)
    recovery = recover(phone, reset, [edited(phone.rows[DOG, str(dog.pk)], age=2)], full=False)
    upload = create_upload(phone, reset, b"x" * 10)["Location"].rpartition("/")[2]
    return {
        "schema_hash": phone.schema,
        "reset_id": reset,
        "upload_id": upload,
        "recovery_id": str(recovery.pk),
        "item_id": parked["item"],
        "client": phone.client,
        "checkpoint": phone.checkpoint or "",
        "receipt": phone.receipt,
    }


CALLS = [
    f"{method.upper()} {path}"
    for path, item in document()["paths"].items()
    for method in item
    if method != "parameters"
]


def ask(api: APIClient, call: str, theirs: dict[str, str]) -> Any:
    method, _, path = call.partition(" ")
    body: dict[str, Any] = {
        "client": theirs["client"],
        "schema": theirs["schema_hash"],
        "checkpoint": theirs["checkpoint"],
        "receipt": theirs["receipt"],
        "keep": "client",
        "client_time": 1,
        "changes": [],
    }
    address = PREFIX + path.format(**theirs)
    if method == "PATCH":
        return api.generic(
            "PATCH",
            address,
            b"x" * 10,  # type: ignore[arg-type]
            content_type="application/offset+octet-stream",
            headers=TUS,
        )
    if method == "POST":
        return api.post(address, body, format="json", headers=TUS)
    return getattr(api, method.lower())(address, headers=TUS)


def told(response: Any) -> str:
    """A refusal as status and code, where it has a body; else the status alone."""
    if response.status_code < 400 or not response.content:
        return str(response.status_code)
    return f"{response.status_code} {response.json()['code']}"


def calls_of_page() -> dict[str, list[str]]:
    head, *rows = table(section(page("docs/explanation/security.md"), "### Calls"))
    assert head == ["call", "nobody", "somebody else"]
    return {call: answers for call, *answers in rows}


def state() -> list[Any]:
    return [
        *Client.objects.order_by("pk").values_list("pk", "name", "user"),
        *Upload.objects.values_list(),
        *Recovery.objects.values_list("pk", "state"),
        *Item.objects.values_list("pk", "state"),
        *Dog.objects.values_list(),
    ]


def test_the_page_has_every_call() -> None:
    assert list(calls_of_page()) == CALLS


@pytest.mark.parametrize("call", CALLS)
def test_nobody_and_somebody_else_get_nothing_by_a_call(
    call: str, theirs: dict[str, str], device: DeviceFactory, other_shelter: Shelter
) -> None:
    other = device(other_shelter)
    before = state()

    answers = [told(ask(api, call, theirs)) for api in (APIClient(), other.api)]

    assert calls_of_page()[call] == answers
    assert state() == before


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    """Who has asked for events. Nobody gets a stream."""
    asked: list[Listener] = []

    def join(self: Any, listener: Listener, **_: Any) -> None:
        asked.append(listener)
        raise EventsUnavailable("no room")

    monkeypatch.setattr(events.Hub, "join", join)
    return asked


def test_a_listener_is_poked_of_its_users_scopes_alone(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, listeners: list[Listener]
) -> None:
    other: Device = device(other_shelter)

    assert other.api.get(f"{PREFIX}/events").status_code == 503

    (listener,) = listeners
    assert listener.scopes == {"*", f"shelters.shelter:{other_shelter.pk}"}
