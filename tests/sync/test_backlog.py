"""What a bulk write leaves to be stamped is stamped in portions, and nobody waits for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from syncreset.clients.client import Client
from syncreset.feed import checkpoints
from syncreset.feed.checkpoints import Checkpoint, stamp
from syncreset.feed.cursor import Cursor, decode_cursor
from syncreset.feed.entries import Entry
from syncreset.sync.read import read_page
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.paging import names, names_of, pages
from tests.support.restoring import copy_database

pytestmark = pytest.mark.django_db(transaction=True)

#: Whoever reads pages here, by whatever device.
READER = Client()

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'",
    reason="SQLite has no locks of rows: whatever is committed is stamped",
)


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PORTION", 3)


def bulk(shelter: Shelter, count: int = 40) -> list[Dog]:
    return Dog.objects.bulk_create(Dog(shelter=shelter, name=f"Dog {number}") for number in range(count))


def unstamped() -> int:
    return Entry.objects.filter(checkpoint=None).count()


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    """A device that has pulled, and behind it a bulk write that nobody has stamped."""
    made: Device = device(shelter)
    made.pull()
    bulk(shelter)
    return made


def test_each_portion_has_a_checkpoint_of_its_own(phone: Device) -> None:
    before = Checkpoint.objects.count()

    stamp()

    counts = [Entry.objects.filter(checkpoint=number).count() for number in range(before + 1, before + 15)]
    assert counts == [3] * 13 + [1]
    assert unstamped() == 0


def test_a_pull_stamps_some_portions_and_has_more_to_come_until_the_end(
    phone: Device, shelter: Shelter
) -> None:
    left, ends, told = [], [], 0
    for page, _ in pages(phone, limit=4):
        left.append(unstamped())
        ends.append(page["more"])
        told += len(page["changes"])

    assert left[0] == 40 - 3 * (checkpoints.PORTIONS + 1)
    assert left == sorted(left, reverse=True)
    assert ends == [True] * (len(ends) - 1) + [False]
    assert all(more for more, rest in zip(ends, left, strict=True) if rest)
    assert told == 40
    assert names(phone) == names_of(shelter)


def test_a_bootstrap_begins_once_the_backlog_is_stamped_and_brings_each_row_once(
    phone: Device, device: DeviceFactory, shelter: Shelter
) -> None:
    fresh = device(shelter)
    told, empty = 0, 0
    for page, _ in pages(fresh, limit=4):
        told += len(page["changes"])
        empty += not page["changes"]
        assert page["more"] or unstamped() == 0

    assert told == 41
    assert empty == 2
    assert names(fresh) == names_of(shelter)


def test_other_clients_pull_and_push_meanwhile(
    phone: Device, device: DeviceFactory, shelter: Shelter
) -> None:
    other = device(shelter)
    turns = pages(phone, limit=2)
    assert next(turns)[0]["more"]

    for _ in pages(other, limit=2):
        pass
    (result,) = other.push(other.create(DOG, dog_fields(shelter)))
    for _ in turns:
        pass
    for _ in pages(other, limit=2):
        pass

    assert result["state"] == "applied"
    assert names(phone) == names(other) == names_of(shelter)


def test_a_backlog_of_other_scopes_is_no_reason_to_ask_again(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    phone, fresh = device(shelter), device(shelter)
    phone.pull()
    Dog.objects.create(shelter=shelter, name="Ours")
    bulk(other_shelter, 60)

    assert [page["more"] for page, _ in pages(phone)] == [False]
    assert [page["more"] for page, _ in pages(fresh)] == [False]
    assert names(phone) == names(fresh) == names_of(shelter)


def test_what_has_no_room_before_it_is_stamped_comes_once(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    bulk(other_shelter)
    Dog.objects.bulk_create(Dog(shelter=shelter, name=f"{number}", notes="x" * 30_000) for number in range(4))

    counts = [len(page["changes"]) for page, _ in pages(phone, max_bytes=70_000)]

    assert counts[0] == 0
    assert sum(counts) == 4
    assert names(phone) == names_of(shelter)


def test_a_cursor_in_the_middle_holds_and_one_of_a_lost_history_does_not(
    phone: Device, shelter: Shelter
) -> None:
    turns = pages(phone, limit=4)
    next(turns)
    kept = phone.checkpoint
    restore = copy_database()
    next(turns)
    lost = phone.checkpoint
    for _ in turns:
        pass
    end = phone.checkpoint

    restore()
    phone.checkpoint = kept
    for _ in pages(phone, limit=4):
        pass

    assert names(phone) == names_of(shelter)
    for checkpoint in (lost, end):
        phone.checkpoint = checkpoint
        assert phone.pull(status=409)["reason"] == "history_diverged"


def test_every_cursor_on_the_way_can_be_gone_on_from(phone: Device, shelter: Shelter) -> None:
    given = [phone.checkpoint]
    for _ in pages(phone, limit=2):
        given.append(phone.checkpoint)
        cursor = decode_cursor(phone.checkpoint)
        assert cursor.proof >= cursor.number
    checkpoints.purge(0)
    for checkpoint in given:
        again = Device(phone.api, phone.client)
        again.checkpoint, again.receipt = checkpoint, phone.receipt
        for _ in pages(again, limit=50):
            pass


def test_only_the_last_page_covers_what_the_client_was_told(phone: Device, shelter: Shelter) -> None:
    (told,) = phone.push(
        phone.create(DOG, dog_fields(shelter, mother="0190a5b4-0000-7000-8000-00000000000a"))
    )
    assert told["state"] == "parked"
    for page, _ in pages(phone, limit=4):
        client = Client.objects.get(pk=phone.client)
        assert (client.covered == client.told) is not page["more"]


# -- what a writer holds ----------------------------------------------------------------------------------------------


class Writer:
    """Writes in a thread of its own, in transactions that stay open until they are told to end."""

    def __init__(self) -> None:
        self.wrote, self.end, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def write(self, **fields: Any) -> None:
        self.wrote.clear()
        self.end.clear()
        self.thread = threading.Thread(target=self._run, args=(fields,))
        self.thread.start()
        assert self.wrote.wait(20)

    def _run(self, fields: dict[str, Any]) -> None:
        try:
            with transaction.atomic():
                Dog.objects.update(**fields)
                self.wrote.set()
                assert self.end.wait(60)
        finally:
            connection.close()

    def commit(self) -> None:
        self.end.set()
        if self.thread is not None:
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.thread = None


@contextmanager
def writer() -> Iterator[Writer]:
    made = Writer()
    try:
        yield made
    finally:
        made.commit()


@pytest.fixture
def cursor(shelter: Shelter) -> Cursor:
    return walk(None, shelter)[0]


def walk(cursor: Cursor | None, shelter: Shelter, rows: dict[str, Any] | None = None) -> tuple[Cursor, int]:
    """Read pages of two rows to the end, but fifty of them at most. Returns how many there were."""
    rows = {} if rows is None else rows
    for number in range(1, 50):
        page = step(cursor, shelter, rows)
        cursor = page.cursor
        if not page.more:
            return cursor, number
    raise AssertionError("there is no end to it")


def step(cursor: Cursor | None, shelter: Shelter, rows: dict[str, Any]) -> Any:
    page = read_page(cursor, READER, frozenset({"*", f"shelters.shelter:{shelter.pk}"}), limit=2)
    assert page is not None
    assert len(page.changes) <= 2
    rows.update({change["pk"]: change["fields"]["age"] for change in page.changes if change["model"] == DOG})
    return page


@on_postgresql
def test_what_a_writer_holds_is_read_in_pages_without_waiting(cursor: Cursor, shelter: Shelter) -> None:
    dogs = bulk(shelter, 7)
    rows: dict[str, Any] = {}
    with writer() as busy:
        busy.write(age=1)
        end, count = walk(cursor, shelter, rows)

    assert rows == {str(dog.pk): None for dog in dogs}
    assert count == 4
    walk(end, shelter, rows)
    assert rows == {str(dog.pk): 1 for dog in dogs}


@on_postgresql
def test_what_was_written_again_before_the_end_is_read_again(cursor: Cursor, shelter: Shelter) -> None:
    dogs = bulk(shelter, 7)
    rows: dict[str, Any] = {}
    with writer() as busy:
        busy.write(age=1)
        page = step(cursor, shelter, rows)
        assert list(rows.values()) == [None, None]
        page = step(page.cursor, shelter, rows)
        busy.commit()
        busy.write(age=2)
        walk(page.cursor, shelter, rows)

    assert rows == {str(dog.pk): 1 for dog in dogs}
