"""Watching, on a clock of the test's own: when it syncs, when it listens, and for how long it waits in between."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from syncreset.sdk import (
    CallbackFailed,
    ProtocolViolation,
    ReplicaBusy,
    ReplicaError,
    ServerUnavailable,
    SyncReport,
    Watch,
)
from syncreset.sdk.transport.http import HttpDriver

REPORT = SyncReport(pushed=0, pulled=1, results={}, pending=0, unresolved=0, resets=())
REFUSED = ServerUnavailable("no room", status=503, retry_after=120.0)
AWAY = ServerUnavailable("no answer")


class World:
    """What happens at each connect, each wait on a stream and each sync, in order; and the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, poll: float = 60.0) -> None:
        self.now = 1000.0
        self.connects: list[Any] = []
        self.heard: list[Any] = []
        self.syncs: list[Any] = []
        self.told: list[str] = []
        self.pauses: list[float] = []
        self.watch = Watch(self.sync, self.listen, poll=poll)  # type: ignore[arg-type]
        self.closed = False
        monkeypatch.setattr("syncreset.sdk.watch.time.monotonic", lambda: self.now)
        monkeypatch.setattr("syncreset.sdk.watch._spread.uniform", lambda least, most: most)
        monkeypatch.setattr(self.watch, "_closed", self)

    # The event of the watch.
    def wait(self, seconds: float) -> bool:
        if seconds:
            self.pauses.append(seconds)
            self.now += seconds
        return self.closed

    def is_set(self) -> bool:
        return self.closed

    def set(self) -> None:
        self.closed = True

    def sync(self) -> SyncReport:
        self.told.append("sync")
        found = self.syncs.pop(0) if self.syncs else REPORT
        if isinstance(found, Exception):
            raise found
        return REPORT

    def listen(self) -> "Stream":
        self.told.append("listen")
        found = self.connects.pop(0) if self.connects else None
        if isinstance(found, Exception):
            raise found
        return Stream(self)

    def run(self, count: int) -> None:
        """So many reports."""
        assert [next(self.watch) for _ in range(count)] == [REPORT] * count


class Stream:
    """A stream on which `heard` of the world happens: True for a poke, False for its end, an error; after seconds."""

    retry = 3.0

    def __init__(self, world: World) -> None:
        self.world = world

    def wait(self) -> bool:
        seconds, found = self.world.heard.pop(0)
        self.world.now += seconds
        if isinstance(found, Exception):
            raise found
        poked: bool = found
        return poked

    def close(self) -> None:
        self.world.told.append("close")

    def interrupt(self) -> None:
        self.world.told.append("interrupt")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    return World(monkeypatch)  # type: ignore[return-value]


def test_it_syncs_after_each_connect_and_each_poke(world: World) -> None:
    world.heard = [(5, True), (100, True), (60, False)]

    world.run(4)

    assert world.told == ["listen", "sync", "sync", "sync", "close", "listen", "sync"]
    assert world.pauses == [4.5], "what the server asks for, spread"
    assert world.watch.listening


def test_streams_that_end_at_once_are_opened_ever_more_seldom(world: World) -> None:
    world.heard = [(0, False)] * 8

    world.run(9)

    assert world.pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_stream_that_has_worked_calms_it(world: World) -> None:
    world.heard = [(0, False), (0, AWAY), (50, ProtocolViolation("garbage")), (0, False)]

    world.run(5)

    assert world.pauses == [2, 4, 4.5, 2]


def test_where_there_are_no_events_it_polls_and_obeys_retry_after(world: World) -> None:
    world.connects = [REFUSED]

    world.run(3)

    assert world.told == ["listen", "sync", "sync", "listen", "sync"]
    assert world.pauses == [75, 75]
    assert world.watch.failure is None


def test_a_network_that_is_down_is_tried_ever_more_seldom(world: World) -> None:
    world.connects = [AWAY] * 3
    world.syncs = [AWAY] * 2

    world.run(1)

    assert world.told == ["listen", "sync"] * 3
    assert world.pauses == [4, 16], "a connect and a sync have failed each time"
    assert not world.watch.listening
    world.run(1)
    assert world.watch.listening


def test_a_server_that_asks_for_time_gets_it(world: World) -> None:
    world.syncs = [ServerUnavailable("busy", status=503, retry_after=300.0), ReplicaBusy("another process")]

    world.run(1)

    assert world.pauses == [300, 4]


def test_what_else_a_sync_raises_is_raised_and_it_goes_on(world: World) -> None:
    error: ReplicaError = CallbackFailed("on_after")
    world.syncs = [error]

    with pytest.raises(CallbackFailed):
        next(world.watch)
    world.run(1)

    assert world.told == ["listen", "sync", "close", "listen", "sync"]
    assert world.pauses == [2]


def test_closing_ends_it_and_the_stream(world: World) -> None:
    with world.watch as watch:
        world.run(1)
    assert world.told[-2:] == ["interrupt", "close"]

    with pytest.raises(StopIteration):
        next(watch)


def test_a_poll_is_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="poll"):
        World(monkeypatch, poll=0.0)


@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [
        (httpx.Response(503, headers={"retry-after": "60"}), 503, 60.0),
        (httpx.Response(404), 404, None),
        (httpx.Response(200, text="<html>a hotel's login page</html>"), 200, None),
    ],
)
def test_what_is_no_stream_is_told_as_such(
    answer: httpx.Response, status: int, retry_after: float | None
) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda request: answer))

    with pytest.raises(ServerUnavailable) as raised:
        HttpDriver("http://server.test/sync/v1/", "secret", client=client).listen()

    assert (raised.value.status, raised.value.retry_after) == (status, retry_after)
    assert answer.is_closed
