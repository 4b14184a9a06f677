"""A disk that is full, or that fails otherwise: an error that says so, nothing lost, and the next sync goes on."""

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from syncreset.sdk import DiskFull, Replica, ReplicaBusy, StorageFailed, StoreUnreadable
from syncreset.sdk.store import connection
from tests.support.damage import Scene, at_work, missing, opened
from tests.support.fleet import URL, same_as_server
from tests.support.simulated_server import SimulatedServer


@pytest.fixture
def scene(server: SimulatedServer, tmp_path: Path) -> Scene:
    """Unsent work, and a reset that the device has yet to hear of."""
    scene = at_work(server, tmp_path, reset=False)
    (client,) = server.state.clients
    server.force_reset(client)
    return Scene(server, tmp_path, server.dump(), scene.files)


class Faults:
    """The file operations of the SDK fail with one error, from the ``due``-th on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.due, self.number = 0, 0, errno.ENOSPC
        for owner, name in (
            (os, "fsync"),
            (Path, "write_bytes"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "open"),
        ):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, original: Any) -> Any:
        def failing(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.due and self.count >= self.due:
                raise OSError(self.number, os.strerror(self.number))
            return original(*arguments, **named)

        return failing

    @contextmanager
    def from_the(self, due: int, number: int) -> Iterator[None]:
        self.count, self.due, self.number = 0, due, number
        yield
        self.due = 0


def write_much(replica: Replica) -> None:
    with replica.transaction():
        for number in range(2000):
            replica.create("farm.animal", pk=f"more{number}", name="x" * 50)


def assert_goes_on(replica: Replica, server: SimulatedServer, case: object) -> None:
    replica.create("farm.animal", pk="later", name="Written once there was room")
    replica.sync()
    assert missing(server) == set(), case
    assert "later" in server.fields("farm.animal"), case
    assert same_as_server(replica, server), case
    assert not list(replica.path.parent.glob("*.new")), case


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, DiskFull), (errno.EIO, StoreUnreadable), (errno.EROFS, StoreUnreadable)],
    ids=["full", "io", "read-only"],
)
def test_any_file_operation_of_a_reset_may_fail(
    server: SimulatedServer,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[StorageFailed],
) -> None:
    faults = Faults(monkeypatch)
    due, failed = 0, True
    while failed:
        due += 1 if number == errno.ENOSPC else 4
        with scene.case(due) as path, opened(path, server) as replica:
            with faults.from_the(due, number):
                try:
                    replica.sync()
                    failed = False
                except StorageFailed as raised:
                    assert type(raised) is error, due
            assert_goes_on(replica, server, due)
    assert due > 10


def test_a_store_that_cannot_grow_loses_nothing(
    server: SimulatedServer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, room = connection._connect, [0]

    def limited(path: Path, *, read_only: bool) -> sqlite3.Connection:
        opened = connect(path, read_only=read_only)
        if room[0] and not read_only:
            opened.execute(f"PRAGMA max_page_count = {room[0]}")
        return opened

    monkeypatch.setattr(connection, "_connect", limited)
    failures = 0
    for pages in range(1, 60, 7):
        with scene.case(pages) as path:
            room[0] = pages
            try:
                with opened(path, server) as replica:
                    replica.sync()
            except DiskFull:
                failures += 1
            room[0] = 0
            with opened(path, server) as replica:
                assert_goes_on(replica, server, pages)
    assert failures > 2


def test_no_file_can_grow_beyond_a_limit(server: SimulatedServer, scene: Scene) -> None:
    """A real refusal of the operating system, also in the middle of a commit; the replica stays open over it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    for limit in range(4096, 260_000, 36_000):
        with scene.case(limit) as path, opened(path, server) as replica:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                replica.sync()
            except StorageFailed:
                failures += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert_goes_on(replica, server, limit)
    assert failures > 2


def test_a_write_that_does_not_fit_can_be_made_again(server: SimulatedServer, scene: Scene) -> None:
    with scene.case("write") as path, opened(path, server) as replica:
        full = replica.connection.execute("PRAGMA page_count").fetchone()[0]
        replica.connection.execute(f"PRAGMA max_page_count = {full}")
        with pytest.raises(DiskFull, match="make room"):
            write_much(replica)
        assert replica.get("farm.animal", "more0") is None
        replica.connection.execute("PRAGMA max_page_count = 1000000")
        assert_goes_on(replica, server, "write")


@pytest.mark.parametrize("suffix", ["", ".lock", ".resets"])
def test_what_cannot_be_opened_is_not_busy(server: SimulatedServer, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new.db"
    path.with_name(path.name + suffix).mkdir()
    with pytest.raises(StoreUnreadable) as told, opened(path, server) as replica:
        replica.sync()
    assert told.value.path == path.with_name(path.name + suffix)


def test_only_what_another_connection_holds_is_busy(
    server: SimulatedServer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene.case("busy") as path, Replica(path, URL) as replica:
        replica.connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ReplicaBusy):
            replica.update("farm.animal", "a000", age=1)
        other.close()
