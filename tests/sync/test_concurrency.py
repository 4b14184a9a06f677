"""Writers that commit late, and readers that must not pass them by."""

import random
import threading
import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from syncreset.clients.client import Client
from syncreset.feed.cursor import Cursor
from syncreset.sync.read import read_page
from tests.shelters.models import Dog, Shelter

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS, PULLERS, ROWS = 16, 4, 20_000
ROWS_IN_TRANSACTION = 5


def in_threads(*targets: Callable[[], None]) -> list[threading.Thread]:
    failures: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            connection.close()

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has one writer at a time: nobody can be late"
)
def test_no_acknowledged_row_is_missed_where_a_naive_cursor_misses_some(shelter: Shelter) -> None:
    reader = Client.objects.create(user=User.objects.create_user("reader"))
    acknowledged: set[str] = set()
    lock = threading.Lock()
    finished = threading.Event()
    pulled: list[set[str]] = [set() for _ in range(PULLERS)]
    naive: set[str] = set()

    def write() -> None:
        for _ in range(ROWS // WRITERS // ROWS_IN_TRANSACTION):
            dogs = [Dog(shelter=shelter, name="x") for _ in range(ROWS_IN_TRANSACTION)]
            with transaction.atomic():
                Dog.objects.bulk_create(dogs)
                time.sleep(random.random() * 0.02)
            with lock:
                acknowledged.update(str(dog.pk) for dog in dogs)

    def pull(seen: set[str]) -> Callable[[], None]:
        def run() -> None:
            cursor: Cursor | None = None
            while True:
                last_round = finished.is_set()
                more = True
                while more:
                    page = read_page(
                        cursor, reader, frozenset({f"shelters.shelter:{shelter.pk}"}), limit=1000
                    )
                    assert page is not None
                    seen.update(change["pk"] for change in page.changes)
                    cursor, more = page.cursor, page.more
                if last_round:
                    return

        return run

    def pull_naively() -> None:
        newest = 0
        while True:
            last_round = finished.is_set()
            rows = Dog.objects.filter(last_updated__gt=newest).order_by("last_updated")
            for pk, updated in rows.values_list("pk", "last_updated"):
                naive.add(str(pk))
                newest = updated
            if last_round:
                return

    writers = in_threads(*[write] * WRITERS)
    readers = in_threads(*map(pull, pulled), pull_naively)
    for thread in writers:
        thread.join()
    finished.set()
    for thread in readers:
        thread.join()

    assert len(acknowledged) == ROWS
    assert [len(acknowledged - seen) for seen in pulled] == [0] * PULLERS
    assert acknowledged - naive, "the naive cursor missed nothing: this run proves nothing"


def test_two_pushes_of_one_row_at_once_lose_no_field(shelter: Shelter, device: Callable[..., object]) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    barrier = threading.Barrier(4)
    devices = [device(shelter) for _ in range(4)]
    edits: list[dict[str, object]] = [{"name": "Max"}, {"age": 7}, {"notes": "calm"}, {"weight": "8.00"}]
    states: list[str] = []
    for phone in devices:
        phone.pull()  # type: ignore[attr-defined]

    def push(phone: object, fields: dict[str, object]) -> Callable[[], None]:
        def run() -> None:
            change = phone.put("shelters.dog", str(dog.pk), fields)  # type: ignore[attr-defined]
            barrier.wait()
            states.append(phone.push(change)[0]["state"])  # type: ignore[attr-defined]

        return run

    threads = in_threads(*(push(phone, fields) for phone, fields in zip(devices, edits, strict=True)))
    for thread in threads:
        thread.join()

    assert states == ["applied"] * 4
    dog.refresh_from_db()
    assert (dog.name, dog.age, dog.notes, str(dog.weight)) == ("Max", 7, "calm", "8.00")
