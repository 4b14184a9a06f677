"""Two users of different scopes: nothing that one is told shows that a row of the other exists."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.cursor import Cursor, decode_cursor, encode_cursor
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine, TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from syncreset.tracking.registry import options_for
from tests.shelters.models import Dog, Membership, Shelter, Ticket, Vet, Visit
from tests.support.device import PREFIX, Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.properties import examples
from tests.support.snapshots import edited, made_here, row_line
from tests.support.wire import as_json, create_upload, post_raw, push_raw

pytestmark = pytest.mark.django_db

SHELTER, VISIT, TICKET, VET = "shelters.shelter", "shelters.visit", "shelters.ticket", "shelters.vet"
#: Keys by what stands under them: nothing at all, or (in tests that make it) a dog of the other shelter.
ABSENT = "0190a5b4-0000-7000-8000-00000000000a"
HIDDEN = "0190a5b4-0000-7000-8000-00000000000b"
NOWHERE = "0190a5b4-0000-7000-8000-00000000000d"
#: Of a dog of the other shelter that was deleted.
BURIED = "0190a5b4-0000-7000-8000-00000000000e"

VOLATILE = ("item", "seq", "server_time", "client_time", "checkpoint", "created")


@pytest.fixture(autouse=True)
def options_of_the_models() -> Iterator[None]:
    yield
    options_for.cache_clear()


@pytest.fixture
def hidden(other_shelter: Shelter) -> Dog:
    Dog.objects.create(pk=BURIED, shelter=other_shelter, name="Buried", age=7).delete()
    return Dog.objects.create(pk=HIDDEN, shelter=other_shelter, name="Hidden", age=7, chip="hidden-chip")


@pytest.fixture
def mine(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Mine", age=1)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, mine: Dog, hidden: Dog) -> Device:
    made = device(shelter)
    made.pull()
    return made


def anonymous(told: Any, *keys: str) -> str:
    """An answer without what differs from call to call, and with the given keys all called the same."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(item) for name, item in value.items() if name not in VOLATILE}
        return [strip(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(strip(told), sort_keys=True)
    for key in keys:
        text = text.replace(key, "KEY")
    # Times: those of 2020 to 2050, in µs.
    return re.sub(r"\b[12][0-9]{15}\b", "TIME", text)


def visit_fields(shelter: Shelter, dog: str) -> dict[str, Any]:
    return {
        "shelter": str(shelter.pk),
        "dog": dog,
        "vet": None,
        "at": "2026-01-02T03:04:05.000006Z",
        "kind": "check",
        "remarks": "",
    }


def on_key(key: str, op: str = "put", **more: Any) -> dict[str, Any]:
    return {"model": DOG, "pk": key, "op": op, "clocks": {"*": now()}, "base": {"*": 1}, **more}


GUESSES: dict[str, Callable[[Shelter, Dog, str], dict[str, Any]]] = {
    "put with a base": lambda shelter, mine, key: on_key(key, fields={"age": 9}, base={"age": 1}),
    "put without a base": lambda shelter, mine, key: on_key(key, fields={"age": 9}, base={}),
    "put of the very value": lambda shelter, mine, key: on_key(key, fields={"age": 7}, base={}),
    "put of nothing": lambda shelter, mine, key: on_key(key, fields={}),
    "put that takes it": lambda shelter, mine, key: on_key(key, fields={"shelter": str(shelter.pk)}),
    "put of a read-only field": lambda shelter, mine, key: on_key(key, fields={"intake_no": "x"}),
    "put in a group": lambda shelter, mine, key: on_key(key, fields={"age": 9}, group="g"),
    "delete": lambda shelter, mine, key: on_key(key, "delete", base={"*": now()}),
    "delete without a base": lambda shelter, mine, key: on_key(key, "delete", base=None),
    "key in capitals": lambda shelter, mine, key: on_key(key.upper(), "delete", base={"*": now()}),
    "reference of a new row": lambda shelter, mine, key: on_key(
        str(uuid.uuid5(uuid.NAMESPACE_URL, "new")), fields=dog_fields(shelter, mother=key), base=None
    ),
    "reference of a row": lambda shelter, mine, key: on_key(str(mine.pk), fields={"mother": key}),
    "reference of a child": lambda shelter, mine, key: {
        **on_key(str(uuid.uuid5(uuid.NAMESPACE_URL, "new")), fields=visit_fields(shelter, key), base=None),
        "model": VISIT,
    },
    "create in a shelter that is not there": lambda shelter, mine, key: on_key(
        key, fields={**dog_fields(shelter), "shelter": NOWHERE}, base=None
    ),
    "create of a part": lambda shelter, mine, key: on_key(key, fields={"age": 9}, base=None),
}


def in_a_world_of_its_own(action: Callable[[], str]) -> str:
    """What an action told; whatever it did is undone."""
    told = ""
    with transaction.atomic():
        told = action()
        transaction.set_rollback(True)
    return told


@pytest.mark.parametrize("secret", [HIDDEN, BURIED])
@pytest.mark.parametrize("guess", GUESSES)
def test_a_push_gets_the_same_for_a_row_that_is_invisible_and_one_that_is_absent(
    phone: Device, shelter: Shelter, mine: Dog, guess: str, secret: str
) -> None:
    def pushed(key: str) -> str:
        results = push_raw(phone, GUESSES[guess](shelter, mine, key))
        phone.seq, phone.receipt = 0, ""
        items = [item.fields | {"code": item.code} for item in Item.objects.all()]
        return anonymous([results, items], key, key.upper())

    absent, invisible = (in_a_world_of_its_own(lambda key=key: pushed(key)) for key in (ABSENT, secret))  # type: ignore[misc]

    assert absent == invisible
    hidden = Dog.objects.get(pk=HIDDEN)
    assert (hidden.name, hidden.age) == ("Hidden", 7)


@pytest.mark.parametrize("key", [ABSENT, HIDDEN])
def test_a_shelter_that_is_invisible_is_as_one_that_is_absent(
    device: DeviceFactory, shelter: Shelter, key: str
) -> None:
    Shelter.objects.create(pk=HIDDEN, name="South")
    phone = device(shelter)
    mine = Dog.objects.create(shelter=shelter, name="Mine")
    phone.pull()
    change = {**on_key(key, fields={"city": "Bergen"}, base={}), "model": SHELTER}

    results = push_raw(
        phone,
        change,
        {**change, "op": "delete"},
        phone.put(DOG, str(mine.pk), {"shelter": key}),
        phone.create(DOG, {**dog_fields(shelter), "shelter": key}),
    )

    assert [(result["state"], result.get("problem", {}).get("code")) for result in results] == [
        ("rejected", "row_missing"),
        ("identical", None),
        ("rejected", "invalid_reference"),
        ("rejected", "invalid_reference"),
    ]
    assert not results[0].keys() & {"row", "clocks", "updated"}
    assert Shelter.objects.get(pk=HIDDEN).city == ""


STRATEGIES = ("by_base", "by_field", "by_object", "overwrite")


def lines_about(key: str, shelter: Shelter, kind: str) -> list[Line]:
    clock = now()
    fields = dog_fields(shelter, name="Guess", intake_no="")
    row = Row(fields=fields, updated=clock, clocks={"*": clock})
    if kind == "edited":
        return [RowLine(model=DOG, pk=key, row=row, base={"age": 1})]
    if kind == "of an absent shelter":
        row = replace(row, fields={**fields, "shelter": NOWHERE})
        return [RowLine(model=DOG, pk=key, row=row, base={})]
    if kind == "made in an absent shelter":
        return [made_here(DOG, key, {**dog_fields(shelter), "shelter": NOWHERE})]
    if kind == "a part":
        return [RowLine(model=DOG, pk=key, row=replace(row, fields={"age": 7}), base={})]
    if kind == "deleted":
        return [TombstoneLine(model=DOG, pk=key, at=clock, base=clock, pulled=False)]
    if kind == "seen deleted":
        return [TombstoneLine(model=DOG, pk=key, at=clock, base=None, pulled=True)]
    return [made_here(DOG, "0190a5b4-0000-7000-8000-00000000000c", dog_fields(shelter, mother=key))]


KINDS = (
    "edited",
    "of an absent shelter",
    "made in an absent shelter",
    "a part",
    "deleted",
    "seen deleted",
    "reference",
)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("secret", [HIDDEN, BURIED])
def test_a_snapshot_gets_the_same_for_a_row_that_is_invisible_and_one_that_is_absent(
    phone: Device, shelter: Shelter, other_shelter: Shelter, kind: str, strategy: str, full: bool, secret: str
) -> None:
    def recovered(key: str) -> str:
        told = recover(phone, lines_about(key, shelter, kind), strategy=strategy, full=full)
        return anonymous(told, key)

    absent, invisible = (in_a_world_of_its_own(lambda key=key: recovered(key)) for key in (ABSENT, secret))  # type: ignore[misc]

    if secret == HIDDEN and kind == "edited" and (full or strategy in ("by_object", "overwrite")):
        # Here the edit of an absent row makes it anew: as acknowledged data, or as the strategy would have it.
        assert '"pk_unavailable"' in invisible
    else:
        assert absent == invisible


def recover(device: Device, lines: list[Line], *, strategy: str = "by_base", full: bool = False) -> list[Any]:
    """What a device is told of the recovery of a snapshot: recovery and ledger, without ids and digests."""
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=device.client), full=full)
    reset = str(ordered.pk)
    recovery = device.upload(reset, device.snapshot(reset, lines, strategy=strategy))
    run(recovery)
    told = device.get(f"/recoveries/{recovery}")
    assert told["state"] in ("done", "review"), told
    items = device.get(f"/recoveries/{recovery}/items")["items"]
    for item in items:
        del item["id"]
    return [told["state"], told["totals"], told["progress"], items, device.get(f"/resets/{reset}")["state"]]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("strategy", [*STRATEGIES, "by_update_log"])
@pytest.mark.parametrize("base", [None, {}, {"name": 1}])
def test_no_snapshot_touches_a_row_of_another_scope(
    phone: Device, shelter: Shelter, other_shelter: Shelter, strategy: str, base: Any, full: bool
) -> None:
    before = Dog.objects.filter(pk=HIDDEN).values().get()
    clock = now()
    row = Row(fields=dog_fields(shelter, name="Taken"), updated=clock, clocks={"*": clock})
    lines: list[Line] = [
        RowLine(model=DOG, pk=HIDDEN, row=row, base=base),
        TombstoneLine(model=DOG, pk=HIDDEN, at=clock, base=clock, pulled=False),
        TombstoneLine(model=SHELTER, pk=str(other_shelter.pk), at=clock, base=clock, pulled=True),
    ]

    told = recover(phone, lines, strategy=strategy, full=full)

    assert Dog.objects.filter(pk=HIDDEN).values().get() == before
    for state in ("applied", "merged"):
        assert told[1][state] == 0
    for secret in ("Hidden", "hidden-chip", str(other_shelter.pk) + '", "'):
        assert secret not in json.dumps(told)


def test_a_recovery_never_deletes_by_absence_what_is_not_the_clients(
    phone: Device, mine: Dog, other_shelter: Shelter
) -> None:
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=phone.client))
    reset = str(ordered.pk)
    data = phone.snapshot(reset, [], strategy="by_object", full=True)
    run(phone.upload(reset, data))

    assert not Dog.objects.filter(pk=mine.pk).exists()
    assert Dog.objects.get().pk == uuid.UUID(HIDDEN)
    assert Shelter.objects.filter(pk=other_shelter.pk).exists()


def test_no_pull_brings_a_row_of_another_scope(
    phone: Device, device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, hidden: Dog
) -> None:
    tablet = device(other_shelter)
    tablet.pull()
    Visit.objects.create(shelter=other_shelter, dog=hidden, at="2026-01-01T00:00:00Z", remarks="secret")
    Ticket.objects.create(shelter=other_shelter, subject="secret")
    hidden.name = "Renamed"
    hidden.save()
    Dog.objects.create(shelter=other_shelter, name="secret").delete()

    page = phone.pull()

    assert phone.told == []
    assert str(other_shelter.pk) not in json.dumps(page)
    tablet.pull()
    assert {change["model"] for change in tablet.told} == {DOG, VISIT, TICKET}


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_of_any_size_hold_the_scope_and_nothing_else(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, limit: int
) -> None:
    for number in range(3):
        Dog.objects.create(shelter=shelter, name=f"mine {number}")
        Dog.objects.create(shelter=other_shelter, name=f"hidden {number}")
    phone = device(shelter)
    phone.pull(limit=limit)
    Dog.objects.update(age=3)
    phone.pull(limit=limit)

    assert len(phone.rows) == 4
    assert all("hidden" not in json.dumps(row) for row in phone.rows.values())


@pytest.mark.parametrize("field", ["scopes", "lost", "gained"])
@pytest.mark.parametrize("phase", ["feed", "drop", "load"])
def test_a_checkpoint_that_names_a_scope_itself_is_told_nothing_of_it(
    phone: Device, other_shelter: Shelter, field: str, phase: Any
) -> None:
    """What the client could write into its checkpoint if that were not signed."""
    scope = f"{SHELTER}:{other_shelter.pk}"
    genuine = decode_cursor(phone.checkpoint)
    named: Any = {"phase": phase, field: (*getattr(genuine, field), scope)}
    forged = replace(genuine, **named)
    body = {**phone.body(), "checkpoint": signed_by_nobody(forged)}

    response = post_raw(phone.api, "/pull", as_json(body))

    assert response.status_code == 409
    assert HIDDEN not in response.content.decode()
    assert str(other_shelter.pk) not in response.content.decode()
    reset = response.json()["reset"]
    in_its_bootstrap = {**body, "checkpoint": signed_by_nobody(replace(forged, reset=reset)), "reset": reset}
    assert post_raw(phone.api, "/pull", as_json(in_its_bootstrap)).status_code == 409


def signed_by_nobody(cursor: Cursor) -> str:
    text, _, signature = encode_cursor(cursor).rpartition(".")
    return f"{text}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def other_users_ids(device: Device) -> dict[str, str]:
    """One of each kind of thing that has an id in a path."""
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=device.client))
    reset = str(ordered.pk)
    parked = made_here(
        VISIT, ABSENT, visit_fields(Shelter.objects.get(pk=ordered.client.scopes[1].split(":")[1]), HIDDEN)
    )
    unfinished = create_upload(device, reset, b"x" * 10)["Location"].rpartition("/")[2]
    recovery = device.upload(reset, device.snapshot(reset, [parked]))
    run(recovery)
    item = device.get(f"/recoveries/{recovery}/items")["items"][0]["id"]
    return {"reset": reset, "upload": unfinished, "recovery": recovery, "item": item}


TUS = {"Tus-Resumable": "1.0.0"}
PATHS: list[tuple[str, str, str, dict[str, str]]] = [
    ("GET", "reset", "/resets/{}", {}),
    ("POST", "reset", "/resets/{}/snapshot", {**TUS, "Upload-Length": "10"}),
    ("GET", "recovery", "/recoveries/{}", {}),
    ("GET", "recovery", "/recoveries/{}/items", {}),
    ("GET", "recovery", "/recoveries/{}/items?state=parked", {}),
    ("HEAD", "upload", "/uploads/{}", TUS),
    ("PATCH", "upload", "/uploads/{}", {**TUS, "Upload-Offset": "0"}),
    ("DELETE", "upload", "/uploads/{}", TUS),
    ("POST", "item", "/items/{}/resolve", {}),
]


@pytest.mark.parametrize(("method", "kind", "path", "headers"), PATHS)
def test_what_belongs_to_another_users_client_is_as_if_it_were_not_there(
    device: DeviceFactory,
    shelter: Shelter,
    other_shelter: Shelter,
    method: str,
    kind: str,
    path: str,
    headers: dict[str, str],
) -> None:
    tablet, phone = device(other_shelter), device(shelter)
    tablet.pull()
    phone.pull()
    theirs = other_users_ids(tablet)[kind]
    before = everything()

    def answer(key: str) -> tuple[int, bytes, dict[str, str]]:
        content_type = "application/offset+octet-stream" if method == "PATCH" else "application/json"
        body = "" if method in ("GET", "HEAD") else '{"keep": "client"}'
        response = phone.api.generic(
            method, f"{PREFIX}{path.format(key)}", body, content_type=content_type, headers=headers
        )
        return response.status_code, response.content, dict(response.items())

    assert answer(theirs) == answer(ABSENT)
    assert answer(theirs)[0] == 404
    assert everything() == before


def everything() -> list[Any]:
    return [
        list(model._default_manager.order_by("pk").values())
        for model in (Reset, Upload, Recovery, Item, Dog, Visit)
    ]


def test_a_pull_with_another_users_reset_is_as_with_one_that_is_not_there(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    tablet, phone = device(other_shelter), device(shelter)
    (theirs,) = Reset.objects.force(Client.objects.filter(pk=tablet.client))

    def answer(reset: str) -> str:
        told = phone.post("/pull", {**phone.body(), "reset": reset}, 409)
        return anonymous(told, told["reset"])

    assert answer(str(theirs.pk)) == answer(ABSENT)
    assert Reset.objects.get(pk=theirs.pk).bootstrapped is None


# --- Moves, and scopes lost and gained -----------------------------------------------------------------------------


def test_a_row_that_moves_away_is_removed_here_and_appears_there(
    phone: Device, device: DeviceFactory, mine: Dog, other_shelter: Shelter
) -> None:
    tablet = device(other_shelter)
    tablet.pull()
    change = phone.put(DOG, str(mine.pk), {"age": 5})
    Dog.objects.filter(pk=mine.pk).update(shelter=other_shelter)

    phone.pull()
    tablet.pull()

    assert phone.told == [{"model": DOG, "pk": str(mine.pk), "removed": True}]
    assert [row["pk"] for row in tablet.told] == [str(mine.pk)]
    (edit, gone) = push_raw(phone, change, on_key(str(mine.pk), "delete", base={"*": now()}))
    (of_absent,) = push_raw(phone, {**change, "pk": ABSENT})
    assert anonymous(edit) == anonymous(of_absent)
    assert gone["state"] == "identical"
    mine.refresh_from_db()
    assert mine.age == 1

    Dog.objects.filter(pk=mine.pk).update(name="Changed there")
    Dog.objects.filter(pk=mine.pk).delete()
    phone.pull()
    assert phone.told == []


def test_a_row_that_moves_away_and_back_is_the_rows_again(
    phone: Device, mine: Dog, shelter: Shelter, other_shelter: Shelter
) -> None:
    Dog.objects.filter(pk=mine.pk).update(shelter=other_shelter)
    phone.pull()
    assert (DOG, str(mine.pk)) not in phone.rows
    Dog.objects.filter(pk=mine.pk).update(shelter=shelter, name="Back")

    phone.pull()

    assert phone.rows[DOG, str(mine.pk)]["fields"]["name"] == "Back"


def test_a_row_moves_between_two_scopes_of_one_user_by_a_push(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Mover")
    phone = device(shelter, other_shelter)
    north = device(shelter)
    phone.pull()
    north.pull()

    (result,) = push_raw(phone, phone.put(DOG, str(dog.pk), {"shelter": str(other_shelter.pk)}))
    phone.pull()
    north.pull()

    assert result["state"] == "applied"
    assert phone.rows[DOG, str(dog.pk)]["fields"]["shelter"] == str(other_shelter.pk)
    assert north.told == [{"model": DOG, "pk": str(dog.pk), "removed": True}]


@pytest.mark.parametrize("after", range(7))
def test_a_scope_lost_in_the_middle_of_a_bootstrap_leaves_no_row_behind(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, after: int
) -> None:
    for number in range(2):
        for place in (shelter, other_shelter):
            Dog.objects.create(shelter=place, name=f"{place.name} {number}")
    phone = device(shelter, other_shelter)

    def lose() -> None:
        Membership.objects.filter(shelter=other_shelter).delete()
        Dog.objects.filter(shelter=other_shelter).update(age=3)

    told_later = pull_with(phone, after, lose)

    assert not any(change.get("fields", {}).get("shelter") == str(other_shelter.pk) for change in told_later)
    assert {row["fields"]["name"] for row in phone.rows.values()} == {"North", "North 0", "North 1"}
    phone.pull()
    assert len(phone.rows) == 3


@pytest.mark.parametrize("after", range(5))
def test_a_scope_gained_in_the_middle_of_a_bootstrap_is_loaded_too(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, after: int
) -> None:
    for number in range(2):
        for place in (shelter, other_shelter):
            Dog.objects.create(shelter=place, name=f"{place.name} {number}")
    phone = device(shelter)
    user = User.objects.get(memberships__shelter=shelter)

    def gain() -> None:
        Membership.objects.create(user=user, shelter=other_shelter)

    pull_with(phone, after, gain)
    phone.pull()

    assert len(phone.rows) == 6


@pytest.mark.parametrize("after", range(6))
def test_a_row_that_moves_in_the_middle_of_a_bootstrap_is_held_once(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, after: int
) -> None:
    dogs = [Dog.objects.create(shelter=shelter, name=f"dog {number}") for number in range(4)]
    phone = device(shelter)

    def move() -> None:
        Dog.objects.filter(pk=dogs[0].pk).update(shelter=other_shelter)
        Dog.objects.filter(pk=dogs[3].pk).delete()

    pull_with(phone, after, move)
    phone.pull()

    assert {pk for model, pk in phone.rows if model == DOG} == {str(dogs[1].pk), str(dogs[2].pk)}


def pull_with(device: Device, after: int, action: Callable[[], None]) -> list[dict[str, Any]]:
    """Pull one row at a time to the end, with an action after so many pages. Returns what came from then on."""
    told_later: list[dict[str, Any]] = []
    for number in range(100):
        if number == after:
            action()
        page = device.post("/pull", {**device.body(), "limit": 1})
        device.checkpoint = page["checkpoint"]
        if number >= after:
            told_later += page["changes"]
        for change in page["changes"]:
            key = (change["model"], change["pk"])
            if "fields" in change:
                device.rows[key] = change
            else:
                device.rows.pop(key, None)
        if not page["more"] and number >= after:
            return told_later
    raise AssertionError("the pull comes to no end")


# --- Who may write -------------------------------------------------------------------------------------------------


def test_can_write_narrows_writing_and_never_sees_an_invisible_row(
    phone: Device, shelter: Shelter, mine: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int | None]] = []

    def can_write(user: User, row: Dog) -> bool:
        asked.append((str(row.pk), row.age))
        return row.age != 99

    monkeypatch.setattr(Dog.SyncMeta, "can_write", staticmethod(can_write), raising=False)
    options_for.cache_clear()

    results = push_raw(
        phone,
        phone.put(DOG, str(mine.pk), {"age": 2}),
        phone.put(DOG, str(mine.pk), {"age": 99}),
        phone.create(DOG, dog_fields(shelter, age=99)),
        on_key(HIDDEN, fields={"age": 5}, base={}),
        on_key(HIDDEN, "delete", base={"*": now()}),
        phone.create(DOG, dog_fields(shelter), pk=HIDDEN),
    )

    assert [result.get("problem", {}).get("code") for result in results] == [
        None,
        "forbidden",
        "forbidden",
        "row_missing",
        None,
        "pk_unavailable",
    ]
    assert (HIDDEN, 7) not in asked
    mine.refresh_from_db()
    assert mine.age == 2


@pytest.mark.parametrize("action", ["add", "change", "delete"])
def test_model_permissions_narrow_writing(
    device: DeviceFactory, user_factory: Any, shelter: Shelter, mine: Dog, hidden: Dog, action: str
) -> None:
    user = user_factory(shelter)
    user.user_permissions.remove(Permission.objects.get(codename=f"{action}_dog"))
    other = Dog.objects.create(shelter=shelter, name="Other")
    phone = device(user=user)
    phone.pull()

    results = push_raw(
        phone,
        phone.create(DOG, dog_fields(shelter)),
        phone.put(DOG, str(mine.pk), {"age": 2}),
        phone.delete(DOG, str(other.pk)),
        on_key(HIDDEN, fields={"age": 5}, base={}),
        on_key(ABSENT, fields={"age": 5}, base={}),
        on_key(HIDDEN, "delete"),
        on_key(ABSENT, "delete"),
    )

    forbidden = [result.get("problem", {}).get("code") == "forbidden" for result in results[:3]]
    assert forbidden == [action == "add", action == "change", action == "delete"]
    assert anonymous(results[3]) == anonymous(results[4])
    assert anonymous(results[5]) == anonymous(results[6])


def test_who_may_only_read_writes_nothing(
    device: DeviceFactory, user_factory: Any, shelter: Shelter, mine: Dog, hidden: Dog
) -> None:
    Vet.objects.create(code="v", name="Vet")
    phone = device(user=user_factory(shelter, writes=False))
    phone.pull()
    assert len(phone.rows) == 3

    results = push_raw(
        phone,
        phone.put(DOG, str(mine.pk), {"age": 2}),
        phone.create(VET, {"name": "New", "phone": None}, pk="new"),
        phone.delete(VET, "v"),
        phone.create(DOG, dog_fields(shelter), pk=HIDDEN),
        phone.create(DOG, dog_fields(shelter), pk=ABSENT),
    )

    assert {(result["state"], result["problem"]["code"]) for result in results} == {("parked", "forbidden")}
    assert results[0]["row"]["fields"]["age"] == 1
    told = recover(
        phone, [edited(phone.rows[DOG, str(mine.pk)], age=2), row_line(phone.rows[VET, "v"], {})], full=True
    )
    assert told[1]["applied"] == 0
    assert (Dog.objects.get(pk=mine.pk).age, Vet.objects.count()) == (1, 1)


def test_a_row_that_the_server_numbers_is_changed_and_never_made(
    device: DeviceFactory, shelter: Shelter
) -> None:
    ticket = Ticket.objects.create(shelter=shelter, subject="old")
    phone = device(shelter)
    phone.pull()
    fields = {"shelter": str(shelter.pk), "subject": "new"}

    results = push_raw(
        phone,
        phone.put(TICKET, str(ticket.pk), {"subject": "new"}),
        phone.create(TICKET, fields, pk="77"),
    )

    assert [result["state"] for result in results] == ["applied", "rejected"]
    assert results[1]["problem"]["code"] == "server_assigned_pk"


# --- Any guesses at all --------------------------------------------------------------------------------------------

HIDDEN_KEYS = [f"0190a5b4-0000-7000-8000-0000000001{number:02x}" for number in range(3)]
OWN_KEYS = [f"0190a5b4-0000-7000-8000-0000000002{number:02x}" for number in range(2)]
# The last one is, in the world with the other scope, that of a row deleted there.
NEW_KEYS = [f"0190a5b4-0000-7000-8000-0000000003{number:02x}" for number in range(3)]
SOUTH, NORTH = "0190a5b4-0000-7000-8000-000000000401", "0190a5b4-0000-7000-8000-000000000402"
CLIENT = "0190a5b4-0000-7000-8000-000000000501"

any_key = st.sampled_from([*HIDDEN_KEYS, *OWN_KEYS, *NEW_KEYS])
any_shelter = st.sampled_from([NORTH, SOUTH, NEW_KEYS[0]])
any_base = st.sampled_from([{}, {"age": 1, "mother": 1, "shelter": 1, "*": 1}, {"*": 2**60, "age": 2**60}])
parts = st.fixed_dictionaries(
    {}, optional={"age": st.integers(0, 3), "mother": st.none() | any_key, "shelter": any_shelter}
)
wholes = st.fixed_dictionaries(
    {
        "shelter": any_shelter,
        "name": st.just("guess"),
        "age": st.integers(0, 3),
        "mother": st.none() | any_key,
    }
)
puts = st.builds(
    lambda pk, fields, base, group: {
        "model": DOG,
        "pk": pk,
        "op": "put",
        "fields": fields,
        "clocks": {"*": 2**50},
        "base": base,
        "group": group,
    },
    any_key,
    parts,
    any_base,
    st.sampled_from([None, None, "g"]),
)
deletes = st.builds(
    lambda model, pk, base, group: {
        "model": model,
        "pk": pk,
        "op": "delete",
        "clocks": {"*": 2**50},
        "base": base,
        "group": group,
    },
    st.sampled_from([DOG, VISIT, SHELTER]),
    any_key | st.just(SOUTH),
    any_base,
    st.sampled_from([None, None, "g"]),
)
# A new row is made under a key that is free in both worlds: for one that is not, `pk_unavailable` has to be told.
creates = st.builds(
    lambda pk, fields, group: {
        "model": DOG,
        "pk": pk,
        "op": "put",
        "fields": fields,
        "clocks": {"*": 2**50},
        "base": None,
        "group": group,
    },
    st.sampled_from([*OWN_KEYS, *NEW_KEYS]),
    wholes | parts,
    st.sampled_from([None, None, "g"]),
)
visits = st.builds(
    lambda pk, dog, shelter: {
        "model": VISIT,
        "pk": pk,
        "op": "put",
        "fields": {
            "shelter": shelter,
            "dog": dog,
            "vet": None,
            "at": "2026-01-02T03:04:05Z",
            "kind": "check",
            "remarks": "",
        },
        "clocks": {"*": 2**50},
        "base": None,
    },
    st.sampled_from(NEW_KEYS),
    any_key,
    any_shelter,
)
pushes = st.lists(puts | deletes | creates | visits, min_size=1, max_size=5).map(
    lambda changes: ("push", changes)
)
snapshots = st.lists(puts | deletes | creates, min_size=1, max_size=4).map(
    lambda changes: ("snapshot", changes)
)
actions = st.lists(pushes | snapshots | st.just(("pull", [])), min_size=1, max_size=4)


def transcript(api: APIClient, script: list[tuple[str, list[dict[str, Any]]]], *, others: bool) -> list[str]:
    """All that a user of the one shelter is told, with the other's rows there or not."""
    with transaction.atomic():
        north = Shelter.objects.create(pk=NORTH, name="North")
        Membership.objects.create(user=User.objects.get(username="guesser"), shelter=north)
        for pk in OWN_KEYS:
            Dog.objects.create(pk=pk, shelter=north, name="own", age=1)
        if others:
            south = Shelter.objects.create(pk=SOUTH, name="South")
            for pk in HIDDEN_KEYS:
                dog = Dog.objects.create(pk=pk, shelter=south, name="hidden", age=2, mother_id=HIDDEN_KEYS[0])
                Visit.objects.create(pk=pk, shelter=south, dog=dog, at="2026-01-01T00:00:00Z")
            Dog.objects.create(pk=NEW_KEYS[2], shelter=south, name="buried", age=2).delete()
        device = Device(api, CLIENT).register()
        device.pull()
        told = [anonymous(device.told)]
        for kind, changes in script:
            if kind == "push":
                told.append(anonymous(push_raw(device, *changes)))
            elif kind == "pull":
                device.pull()
                told.append(anonymous(device.told))
            else:
                told.append(anonymous(recover(device, [as_line(change) for change in changes])))
                device.checkpoint = None
                device.pull(reset=str(Reset.objects.get(bootstrapped=None).pk))
                told.append(anonymous(device.told))
            if others:
                untouched = Dog.objects.filter(pk__in=HIDDEN_KEYS, shelter_id=SOUTH, name="hidden", age=2)
                assert untouched.count() == len(HIDDEN_KEYS)
        transaction.set_rollback(True)
    return told


def as_line(change: dict[str, Any]) -> Line:
    if change["op"] == "delete":
        return TombstoneLine(
            model=change["model"], pk=change["pk"], at=2**50, base=change["base"].get("*"), pulled=False
        )
    row = Row(fields=change["fields"], updated=2**50, clocks=change["clocks"])
    return RowLine(model=change["model"], pk=change["pk"], row=row, base=change["base"])


@examples(30)
@given(script=actions)
def test_whatever_a_user_guesses_the_answers_are_those_of_a_world_without_the_other_scope(
    api_for: Callable[[User], APIClient], user_factory: Any, script: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    user = User.objects.filter(username="guesser").first() or user_factory(name="guesser")

    assert transcript(api_for(user), script, others=True) == transcript(api_for(user), script, others=False)
