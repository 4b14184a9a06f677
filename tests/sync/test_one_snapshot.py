"""A page is read in one snapshot, whatever the project's settings are: nothing is stamped between two statements."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from syncreset.feed import checkpoints
from syncreset.sync import read
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "connection.vendor != 'postgresql'", reason="in SQLite every transaction reads one snapshot"
    ),
]

PATIENCE = 20


def write_elsewhere(shelter: Shelter, name: str) -> str:
    """Make a row in another connection, and let it be stamped there."""
    made: list[str] = []

    def write() -> None:
        made.append(str(Dog.objects.create(shelter=shelter, name=name).pk))
        checkpoints.stamp()
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the reading of a page holds a writer up"
    return made[0]


@contextmanager
def before_statement(number: int, act: Callable[[], object]) -> Iterator[list[int]]:
    """Do something before the statement of that number within the reading of a page. Yields the statements' count."""
    count = [0]
    begin = read._read_one_snapshot

    def counted(execute: Any, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == number:
            act()
        return execute(*arguments)

    def begun() -> None:
        begin()
        with connection.cursor() as database:
            database.execute("SELECT 1 FROM syncreset_feedstate")
        connection.execute_wrappers.append(counted)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(read, "_read_one_snapshot", begun)
        try:
            yield count
        finally:
            connection.execute_wrappers[:] = [
                wrapper for wrapper in connection.execute_wrappers if wrapper is not counted
            ]


@pytest.mark.parametrize("within", [False, True], ids=["by itself", "atomic requests"])
def test_a_row_stamped_between_any_two_statements_of_a_pull_reaches_the_device(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, within: bool
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", within)
    phone = device(shelter)
    phone.pull()
    written: list[str] = []
    for number in range(1, 100):
        Dog.objects.create(shelter=shelter, name="Before")
        with before_statement(
            number, lambda: written.append(write_elsewhere(shelter, f"Before statement {len(written) + 1}"))
        ):
            phone.pull()
        if len(written) < number:
            break
    else:
        pytest.fail("a page has no hundred statements")
    phone.pull()

    assert len(written) > 1
    assert [pk for pk in written if (DOG, pk) not in phone.rows] == []
