"""The page "A small client": its client over real HTTP, its snapshot uploaded, and what it states."""

import gzip
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import models
from rest_framework.authtoken.models import Token

from syncreset import tasks
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import begin_epoch
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery, RecoveryState
from syncreset.recovery.run import run
from syncreset.wire.fields.codec import decode, decode_key, encode, encode_key
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter, Visit
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.pages import Block, blocks, page, section
from tests.support.snapshots import forced

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "docs/reference/small-client.md"
VISIT = "shelters.visit"

Maker = Callable[..., Any]


def block(heading: str) -> Block:
    return next(blocks(section(page(PAGE), heading)))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recoveries run as soon as they are queued."""
    monkeypatch.setattr(tasks.run_recovery, "delay", tasks.run_recovery)


@pytest.fixture
def user(user_factory: UserFactory, shelter: Shelter) -> User:
    return user_factory(shelter)


@pytest.fixture
def client(live_server: Any, user: User, tmp_path: Path, worker: None) -> Iterator[Maker]:
    """Makes clients of the page; of one name there is one file."""
    token = Token.objects.create(user=user).key
    namespace: dict[str, Any] = {}
    exec(block("## The client").text, namespace)

    with ExitStack() as stack:

        def make(name: str = "phone") -> Any:
            path = tmp_path / f"{name}.json"
            made = namespace["SmallClient"](f"{live_server.url}/sync/v1/", token, path)
            stack.callback(made.http.close)
            return made

        yield make


def states(results: list[dict[str, Any]]) -> list[str]:
    return [result["state"] for result in results]


def row(client: Any, dog: Any) -> dict[str, Any]:
    fields: dict[str, Any] = client["rows"][f"{DOG} {getattr(dog, 'pk', dog)}"]["fields"]
    return fields


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1, notes="calm")


def test_the_client_has_sixty_lines_and_needs_httpx_alone() -> None:
    lines = [line for line in block("## The client").text.splitlines() if line.strip()]

    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    assert lines[0] == "import base64, gzip, hashlib, httpx, json, time, uuid"


def test_rows_arrive_and_changes_reach_the_server(client: Maker, shelter: Shelter, dog: Dog) -> None:
    phone, tablet, other = client(), client("tablet"), str(uuid.uuid4())
    assert phone.sync() == tablet.sync() == []
    assert row(phone, dog)["name"] == "Rex"

    phone.change("put", DOG, str(dog.pk), age=4)
    phone.change("put", DOG, other, **dog_fields(shelter, name="Kira"))
    assert states(phone.sync()) == ["applied", "applied"]
    tablet.sync()
    assert (row(tablet, dog)["age"], row(tablet, other)["name"]) == (4, "Kira")

    phone.change("delete", DOG, other)
    phone.change("put", DOG, str(dog.pk), age=5)
    assert states(phone.sync()) == ["applied", "applied"]
    tablet.sync()
    assert f"{DOG} {other}" not in tablet["rows"]
    assert row(tablet, dog)["age"] == 5
    assert not Item.objects.exists()


def test_a_conflict_is_decided_by_the_policy_and_kept_until_the_next_pull(
    client: Maker, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, tablet = client(), client("tablet")
    phone.sync()
    tablet.sync()
    phone.change("put", DOG, str(dog.pk), name="Mine", notes="mine")
    tablet.change("put", DOG, str(dog.pk), name="Theirs", notes="theirs")
    tablet.change("put", DOG, str(dog.pk), age=9)
    tablet.sync()

    (result,) = list(phone.push())

    assert (result["state"], result["row"]["fields"]["notes"]) == ("parked", "theirs")
    assert [change["fields"] for change in phone["kept"]] == [{"name": "Mine", "notes": "mine"}]
    assert Item.objects.get(pk=result["item"]).fields["notes"]["client"] == "mine"
    phone.sync()
    # Under "newest" the later edit has won, although it came first.
    assert (row(phone, dog)["name"], row(phone, dog)["notes"], row(phone, dog)["age"]) == (
        "Theirs",
        "theirs",
        9,
    )
    assert phone["kept"] == []


def test_a_lost_answer_is_asked_for_again_by_a_client_that_was_started_again(
    client: Maker, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = client()
    phone.sync()
    phone.change("put", DOG, str(dog.pk), age=4)
    ask = type(phone).ask

    def lost(self: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
        answer = ask(self, method, path, *more, **named)
        if path == "push":
            raise httpx.ReadTimeout("the answer was lost")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(type(phone), "ask", lost)
        with pytest.raises(httpx.ReadTimeout):
            phone.sync()
    Dog.objects.update(age=7)
    started = client()
    started.change("put", DOG, str(dog.pk), name="Late")

    pushed: list[list[int]] = []

    def noted(self: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
        if path == "push":
            pushed.append([change["seq"] for change in more[0]["changes"]])
        return ask(self, method, path, *more, **named)

    monkeypatch.setattr(type(started), "ask", noted)
    results = started.sync()

    assert pushed == [[1], [2]]
    assert [result["seq"] for result in results] == [1, 2]
    assert results[0]["state"] == "applied"
    assert Dog.objects.get().age == 7


@pytest.mark.parametrize("full", [False, True])
def test_a_reset_is_survived_with_what_is_pending(
    client: Maker, shelter: Shelter, dog: Dog, full: bool
) -> None:
    phone, new = client(), str(uuid.uuid4())
    doomed, gone = (Dog.objects.create(shelter=shelter, name=name) for name in ("Doomed", "Gone"))
    held = str(gone.pk)
    phone.sync()
    phone.change("put", DOG, str(dog.pk), age=4)
    phone.change("put", DOG, new, **dog_fields(shelter, name="New"))
    phone.change("delete", DOG, str(doomed.pk))
    Dog.objects.filter(pk=dog.pk).update(name="Renamed meanwhile")
    gone.delete()
    if full:
        begin_epoch()
    else:
        Reset.objects.force(Client.objects.all())

    phone.sync()

    recovery = Recovery.objects.get()
    assert (recovery.healing, recovery.full, recovery.pushed, recovery.state) == (full, full, 3, "done")
    assert recovery.rows == (4 if full else 0)
    assert f"{DOG} {held}" not in phone["rows"]
    reset = Reset.objects.get()
    assert phone.ask("GET", f"resets/{reset.pk}").json()["state"] == "done"
    assert (phone["pending"], phone["sent"]) == ([], 0)
    assert (Dog.objects.get(pk=dog.pk).name, Dog.objects.get(pk=dog.pk).age) == ("Renamed meanwhile", 4)
    assert row(phone, new)["name"] == "New"
    # A delete of unknown base meets a row that may have changed: it is kept, and the ledger says so.
    assert Item.objects.get(op="delete").code == "changed_since"
    phone.change("delete", DOG, str(doomed.pk))
    assert states(phone.sync()) == ["applied"]
    assert not Dog.objects.filter(pk=doomed.pk).exists()


def test_what_was_answered_and_not_pulled_goes_into_the_snapshot(client: Maker, dog: Dog) -> None:
    phone = client()
    phone.sync()
    phone.change("put", DOG, str(dog.pk), notes="mine")
    Dog.objects.update(notes="theirs")
    assert states(list(phone.push())) == ["parked"]
    Reset.objects.force(Client.objects.all())

    phone.sync()

    assert Recovery.objects.get().pushed == 1
    assert phone["kept"] == []
    # The server has it already, and does not merge it again.
    assert Item.objects.get().recovery is None


def test_a_reset_that_is_cut_off_after_the_upload_is_gone_through_again(
    client: Maker, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = client()
    phone.sync()
    phone.change("put", DOG, str(dog.pk), age=4)
    Reset.objects.force(Client.objects.all())
    pull = type(phone).pull

    def cut_off(self: Any, reset: Any = None, **asked: Any) -> Any:
        if reset:
            raise httpx.ConnectError("gone")
        return pull(self, **asked)

    with monkeypatch.context() as patch:
        patch.setattr(type(phone), "pull", cut_off)
        with pytest.raises(httpx.ConnectError):
            phone.sync()
    assert len(client()["pending"]) == 1
    Dog.objects.update(age=7)

    started = client()
    started.sync()

    assert Recovery.objects.count() == 1
    assert (started["pending"], row(started, dog)["age"]) == ([], 7)


def test_a_recovery_that_fails_takes_nothing_from_the_client(
    client: Maker, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = client()
    phone.sync()
    phone.change("put", DOG, str(dog.pk), age=4)
    Reset.objects.force(Client.objects.all())
    with monkeypatch.context() as patch:
        patch.setattr(
            "syncreset.tasks.run", lambda recovery: Recovery.objects.update(state=RecoveryState.FAILED)
        )
        with pytest.raises(RuntimeError, match="failed"):
            phone.sync()
    assert len(client()["pending"]) == 1


def test_a_copy_of_the_file_goes_on_as_the_page_says(client: Maker, dog: Dog, tmp_path: Path) -> None:
    phone = client()
    phone.sync()
    phone.change("put", DOG, str(dog.pk), age=4)
    shutil.copy(tmp_path / "phone.json", tmp_path / "copy.json")
    phone.sync()
    for name in ("One", "Two"):
        phone.change("put", DOG, str(dog.pk), name=name)
        phone.sync()
    copy = client("copy")
    copy.change("put", DOG, str(dog.pk), weight="9.00")

    with pytest.raises(httpx.HTTPStatusError) as refused:
        copy.sync()
    problem = refused.value.response.json()
    assert problem["code"] == "client_copied"
    copy.save(client=problem["client"], checkpoint=problem["checkpoint"], receipt="")

    assert [result["seq"] for result in copy.sync()] == [1, 2]
    assert (row(copy, dog)["name"], row(copy, dog)["weight"]) == ("Two", "9.00")


def shown_snapshot(phone: Device, reset: str, **keys: str) -> bytes:
    text = block("## The smallest snapshot").text
    for name, value in {"CLIENT": phone.client, "RESET": reset, "SCHEMA": phone.schema, **keys}.items():
        text = text.replace(f'"{name}"', json.dumps(value))
    return gzip.compress(text.encode())


def test_the_smallest_snapshot_is_taken(device: DeviceFactory, shelter: Shelter, dog: Dog) -> None:
    phone = device(shelter)
    phone.pull()
    other = Dog.objects.create(shelter=shelter, name="Other")
    reset = forced(phone)

    recovery = phone.upload(reset, shown_snapshot(phone, reset, KEY=str(dog.pk), OTHER=str(other.pk)))
    run(recovery)

    assert (
        phone.get(f"/recoveries/{recovery}")["totals"] | {"applied": 1, "superseded": 1}
        == phone.get(f"/recoveries/{recovery}")["totals"]
    )
    assert Dog.objects.get(pk=dog.pk).age == 4
    assert phone.get(f"/resets/{reset}")["state"] == "recovered"


def test_header_and_end_are_enough_where_nothing_is_pending(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    header, *_ = block("## The smallest snapshot").text.splitlines()
    assert '{"end": {}}' in page(PAGE)
    text = header.replace("CLIENT", phone.client).replace("RESET", reset).replace("SCHEMA", phone.schema)

    recovery = phone.upload(reset, gzip.compress(f'{text}\n{{"end": {{}}}}\n'.encode()))
    run(recovery)

    assert phone.get(f"/recoveries/{recovery}")["state"] == "done"


REQUIRED = {
    "/pull": {"client", "schema", "checkpoint", "receipt"},
    "/push": {"client", "schema", "checkpoint", "receipt", "client_time", "changes"},
}


@pytest.mark.parametrize("path", REQUIRED)
def test_the_members_that_the_page_calls_required_are_those_that_are(
    device: DeviceFactory, shelter: Shelter, path: str
) -> None:
    phone = device(shelter)
    phone.pull()
    body = {**phone.body(), "checkpoint": phone.checkpoint}
    body = {name: body[name] for name in REQUIRED[path]}
    (line,) = (line for line in page(PAGE).splitlines() if line.startswith(f"| `POST {path}` |"))

    phone.post(path, body)
    for name in REQUIRED[path]:
        assert f"`{name}`" in line
        phone.post(path, {key: value for key, value in body.items() if key != name}, 400)


def test_a_delete_takes_nothing_with_it_that_was_touched_since(
    device: DeviceFactory, shelter: Shelter, dog: Dog
) -> None:
    phone = device(shelter)
    phone.pull()
    visit = {"shelter": str(shelter.pk), "dog": str(dog.pk), "vet": None, "at": "2026-11-22T20:24:00Z"}
    phone.push(phone.create(VISIT, visit))
    deletion = {"model": DOG, "pk": str(dog.pk), "op": "delete", "base": "checkpoint"}
    Visit.objects.update(at="2026-11-22T20:25:00Z")

    (result,) = phone.push(deletion)
    assert (result["state"], result["problem"]["code"]) == ("superseded", "unseen_rows")
    phone.pull()
    assert states(phone.push(deletion)) == ["applied"]


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        (models.DecimalField(max_digits=6, decimal_places=2), "12.5", "12.50"),
        (models.DecimalField(max_digits=6, decimal_places=2), "-0", "0.00"),
        (models.TimeField(), "20:24:00", "20:24:00"),
        (models.TimeField(), "20:24:00.5", "20:24:00.500000"),
        (models.DurationField(), "P1DT2H3M4.5S", "P1DT02H03M04.500000S"),
        (models.DurationField(), "PT90M", "P0DT01H30M00S"),
        (models.DateTimeField(), "2026-11-22T21:24:00+01:00", "2026-11-22T20:24:00.000000Z"),
        (models.UUIDField(), "0190A5B4-0000-7000-8000-000000000001", "0190a5b4-0000-7000-8000-000000000001"),
    ],
)
def test_values_are_sent_as_the_page_says(field: Any, value: str, sent: str) -> None:
    assert encode(field, decode(field, value)) == sent


@pytest.mark.parametrize("key", ["007", "-0", "1.0", " 1"])
def test_integer_keys_have_one_spelling(key: str) -> None:
    with pytest.raises(Exception, match="does not fit"):
        decode_key(models.IntegerField(), key)
    assert encode_key(models.IntegerField(), decode_key(models.IntegerField(), "7")) == "7"


def test_a_set_is_sent_in_the_order_of_its_keys_texts(device: DeviceFactory) -> None:
    nine, ten = Tag.objects.create(name="9"), Tag.objects.create(name="10")
    product = Product.objects.create(name="Apples")
    product.tags.add(nine, ten)
    phone = device()
    phone.pull()

    assert phone.rows["market.product", str(product.pk)]["fields"]["tags"] == ["10", "9"]
    change = {"model": "market.product", "pk": str(product.pk), "op": "put", "base": "checkpoint"}
    assert states(phone.push({**change, "fields": {"tags": ["9", "10", "9"]}})) == ["identical"]
