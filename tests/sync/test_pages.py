"""A page of a pull is bounded in rows and in bytes, and the pages together are the table."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.renderers import JSONRenderer

from syncreset.sdk import Replica, Request, Response, ServerUnavailable
from syncreset.sync.page import wire_size
from syncreset.wire import rows as reading
from syncreset.wire.model import wire_models
from syncreset.wire.rows import StoredRow, read_rows
from syncreset.wire.sizes import sizes_after
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Membership, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online, sync
from tests.support.paging import names, names_of, pages
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 300_000
BUDGET = 1_000_000

#: What a page has around its changes.
ENVELOPE = 2_000


def long_dogs(shelter: Shelter, count: int = 11, length: int = LONG) -> list[Dog]:
    return Dog.objects.bulk_create(
        Dog(shelter=shelter, name=f"Dog {number}", notes="x" * length) for number in range(count)
    )


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all rows that are read from the tables from now on."""
    keys: list[str] = []

    def watched(*arguments: Any) -> Iterator[StoredRow]:
        for row in read_rows(*arguments):
            keys.append(row.pk)
            yield row

    monkeypatch.setattr(reading, "read_rows", watched)
    return keys


def bootstrap(phone: Device, shelter: Shelter) -> None:
    long_dogs(shelter)


def feed(phone: Device, shelter: Shelter) -> None:
    phone.pull()
    long_dogs(shelter)


def late(phone: Device, shelter: Shelter) -> None:
    """Entries that get their number before the pull that brings them."""
    feed(phone, shelter)
    Device(phone.api).register().pull()


def gained(phone: Device, shelter: Shelter) -> None:
    user = User.objects.get(memberships__shelter=shelter)
    Membership.objects.filter(user=user).delete()
    long_dogs(shelter)
    phone.pull()
    Membership.objects.create(user=user, shelter=shelter)


@pytest.mark.parametrize("way", [bootstrap, feed, late, gained])
def test_a_page_of_long_rows_ends_at_the_bytes(
    device: DeviceFactory,
    shelter: Shelter,
    settings: Settings,
    read: list[str],
    way: Callable[[Device, Shelter], None],
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "PAGE_BYTES_LIMIT": BUDGET}
    phone = device(shelter)
    way(phone, shelter)
    read.clear()
    sizes, reads = [], []

    for _, size in pages(phone, limit=5000):
        sizes.append(size)
        reads.append(len(read))
        read.clear()

    assert names(phone) == names_of(shelter)
    assert len(sizes) in (4, 5)
    assert max(sizes) <= BUDGET + ENVELOPE
    assert max(reads) <= BUDGET // LONG + 2


@pytest.mark.parametrize("way", [bootstrap, late])
def test_what_is_longer_on_the_wire_than_in_the_database_has_no_more_room(
    device: DeviceFactory, shelter: Shelter, way: Callable[[Device, Shelter], None]
) -> None:
    phone = device(shelter)
    way(phone, shelter)
    Dog.objects.update(notes="\n" * 20_000)
    Device(phone.api).register().pull()

    sizes = [size for _, size in pages(phone, max_bytes=100_000)]

    assert names(phone) == names_of(shelter)
    assert len(sizes) > 5
    assert max(sizes) <= 100_000 + ENVELOPE


def test_a_client_may_ask_for_less(device: DeviceFactory, shelter: Shelter) -> None:
    long_dogs(shelter)
    phone = device(shelter)

    sizes = [size for _, size in pages(phone, max_bytes=2 * LONG + 3_000)]

    assert names(phone) == names_of(shelter)
    assert len(sizes) == 6
    assert max(sizes) <= 2 * LONG + 3_000 + ENVELOPE


@pytest.mark.parametrize("way", [bootstrap, feed, late, gained])
def test_a_row_larger_than_the_budget_has_a_page_of_its_own(
    device: DeviceFactory, shelter: Shelter, way: Callable[[Device, Shelter], None]
) -> None:
    Dog.objects.create(shelter=shelter, name="Before")
    phone = device(shelter)
    way(phone, shelter)
    Dog.objects.create(shelter=shelter, name="After")

    counts = [len(page["changes"]) for page, size in pages(phone, max_bytes=50_000) if size > LONG]

    assert names(phone) == names_of(shelter)
    assert counts == [1] * 11


def test_writes_between_pages_are_neither_skipped_nor_undone(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    dogs = long_dogs(shelter, 20, 20_000)
    phone = device(shelter)
    acts: Iterator[Callable[[], Any]] = iter(
        [
            lambda: Dog.objects.filter(pk=dogs[0].pk).update(name="Changed behind"),
            lambda: Dog.objects.filter(pk=dogs[-1].pk).update(name="Changed ahead"),
            dogs[1].delete,
            dogs[-2].delete,
            lambda: Dog.objects.filter(pk=dogs[2].pk).update(shelter=other_shelter),
            lambda: Dog.objects.filter(pk=dogs[-3].pk).update(shelter=other_shelter),
            lambda: long_dogs(shelter, 3, 30_000),
            lambda: Dog.objects.filter(shelter=shelter).update(age=7),
        ]
    )

    done = 0
    for page, _ in pages(phone, max_bytes=45_000):
        act = next(acts, None)
        if act is not None and page["more"]:
            act()
            done += 1

    assert done >= 8
    assert names(phone) == names_of(shelter)
    assert {row["fields"].get("age") for (model, _), row in phone.rows.items() if model == DOG} == {7}


def test_rows_gone_from_a_lost_scope_come_in_pages(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    dogs = [Dog.objects.create(shelter=other_shelter, name=f"Dog {number}") for number in range(9)]
    Dog.objects.create(shelter=shelter, name="Held")
    phone = device(shelter, other_shelter)
    phone.pull()
    Membership.objects.filter(shelter=other_shelter).delete()
    for dog in dogs[:5]:
        dog.delete()
    told: list[dict[str, Any]] = []

    for page, _ in pages(phone, limit=2):
        assert len(page["changes"]) <= 2
        told += page["changes"]

    assert names(phone) == names_of(shelter)
    assert len(told) == 10
    assert all(change["removed"] for change in told)


@pytest.mark.parametrize(
    "max_bytes", [0, -1, 10**30, "1000", 1.5, True, None, [], {}], ids=lambda value: repr(value)[:12]
)
def test_a_budget_that_is_none_is_refused(device: DeviceFactory, max_bytes: Any) -> None:
    phone = device()
    body = {"client": phone.client, "schema": phone.schema, "checkpoint": None, "max_bytes": max_bytes}

    problem = phone.post("/pull", body, 400)

    assert problem["code"] == "malformed"
    assert "max_bytes" in problem["detail"]


def test_a_huge_budget_is_the_servers(device: DeviceFactory, shelter: Shelter, settings: Settings) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "PAGE_BYTES_LIMIT": 50_000}
    long_dogs(shelter, 6, 20_000)
    phone = device(shelter)

    sizes = [size for _, size in pages(phone, max_bytes=2**62)]

    assert len(sizes) > 2
    assert max(sizes) <= 50_000 + ENVELOPE
    assert phone.get("/")["limits"]["page_bytes"] == 50_000


def test_a_budget_of_a_byte_brings_row_after_row(device: DeviceFactory, shelter: Shelter) -> None:
    long_dogs(shelter, 3, 10)
    phone = device(shelter)

    counts = [len(page["changes"]) for page, _ in pages(phone, max_bytes=1)]

    assert names(phone) == names_of(shelter)
    assert max(counts) == 1


@pytest.mark.parametrize("text", ["plain", '"\\\n\x01', "ä€\U0001f9a5", "\u2028\u2029", "x\u2028ä"])
def test_bytes_are_counted_as_they_are_on_the_wire(text: str) -> None:
    change = {
        "model": DOG,
        "pk": "1",
        "fields": {"notes": text, "age": 3, "weight": None},
        "clocks": {"*": 1},
    }

    assert wire_size(change) == len(JSONRenderer().render(change)) + 1


def test_what_the_database_says_of_sizes_is_about_right(shelter: Shelter) -> None:
    for length in (0, 10, 10_000):
        Dog.objects.create(shelter=shelter, name="x", notes="n" * length)
    product = Product.objects.create(name="Apples", stock=1, sold=1, weight="1.50")
    product.tags.set(Tag.objects.bulk_create(Tag(name=f"tag {number}") for number in range(300)))
    scopes = {"*", f"shelters.shelter:{shelter.pk}"}

    for model in wire_models():
        sized = dict(sizes_after(model, scopes, "", 1000))
        rows = {row.pk: row for row in reading.load_page(model, scopes, "", 1000)}
        assert sized.keys() == rows.keys()
        for pk, size in sized.items():
            real = wire_size({"model": model.label, "pk": pk, "fields": rows[pk].row.fields})
            assert real / 3 < size < 5 * real + 500, (model.label, real, size)


def test_pages_of_a_bootstrap_say_how_many_rows_are_to_come(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    long_dogs(shelter, 6, 10)
    long_dogs(other_shelter, 2, 10)
    phone = device(shelter)

    told = [page.get("remaining") for page, _ in pages(phone, limit=2)]
    Dog.objects.update(age=3)
    later = [page.get("remaining") for page, _ in pages(phone, limit=2)]
    Membership.objects.create(user=User.objects.get(memberships__shelter=shelter), shelter=other_shelter)
    of_gained = [page.get("remaining") for page, _ in pages(phone, limit=2)]

    assert told[:4] == [5, 3, 1, 0]
    assert set(told[4:]) <= {None}
    assert set(later) == {None}
    assert of_gained[:2] == [1, 0]


def test_a_link_that_cuts_long_answers_off_carries_everything(
    user_factory: UserFactory, shelter: Shelter, tmp_path: Path
) -> None:
    long_dogs(shelter, 30, 100_000)
    server = RealServer(user_factory(shelter))
    carried: list[int] = []

    def link(request: Request) -> Response:
        response = server.answer(request)
        if len(response.body) > 300_000:
            raise ServerUnavailable("the connection was closed")
        if request.path == "pull":
            carried.append(json.loads(request.body)["max_bytes"])
        return response

    with Replica(tmp_path / "field.db", URL, "token", client=online(server)) as replica:
        for _ in range(6):
            try:
                sync(replica, link)
            except ServerUnavailable:
                continue
            break

        assert len(replica.all(DOG)) == 30
        assert 32 * 1024 <= min(carried) <= 300_000
