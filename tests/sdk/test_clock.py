"""What a replica takes an answer for, as to its clock: no more than the answer proves."""

import time as true_time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol import clock as clocks
from syncreset.sdk import Request, Response
from syncreset.sdk.store.store import Store
from tests.support.fleet import Fleet, sync
from tests.support.simulated_server import SimulatedServer

SECOND = 1_000_000
NOON = 1_795_000_000 * SECOND


@pytest.fixture
def store(fleet: Fleet) -> Store:
    return fleet.synced()._device.store


def set_offset(store: Store, offset: int) -> None:
    with store.transaction():
        store.connection.execute('UPDATE _syncreset_clock SET "offset" = ?', (offset,))


@pytest.mark.parametrize("taken", [0, 4, 8], ids=["at once", "in the middle", "at the end"])
def test_a_slow_answer_makes_no_exact_clock_wrong(store: Store, taken: int) -> None:
    set_offset(store, 0)

    store.measure(NOON + taken * SECOND, asked=NOON, answered=NOON + 8 * SECOND)

    assert store.offset == 0


@pytest.mark.parametrize("wrong", [-300, 300])
def test_a_clock_that_is_wrong_is_corrected_to_within_the_answers_time(store: Store, wrong: int) -> None:
    set_offset(store, 0)

    store.measure(NOON, asked=NOON + (wrong - 1) * SECOND, answered=NOON + wrong * SECOND)

    assert abs(store.offset + wrong * SECOND) <= SECOND


def test_fast_answers_after_a_slow_one_make_the_offset_exact(store: Store) -> None:
    set_offset(store, 0)
    true = -5 * SECOND

    store.measure(NOON, asked=NOON - true - 8 * SECOND, answered=NOON - true)
    store.measure(NOON, asked=NOON - true - 1000, answered=NOON - true)

    assert abs(store.offset - true) <= 1000


@given(
    true=st.integers(-(10**12), 10**12),
    trips=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=6),
)
def test_the_offset_is_never_wronger_than_the_fastest_answer_was_slow(
    store: Store, true: int, trips: list[tuple[int, int]]
) -> None:
    """``trips``: how long (µs) a request took to the server, and its answer back. The true offset stays the same."""
    set_offset(store, 0)
    for there, back in trips:
        store.measure(NOON, asked=NOON - true - there, answered=NOON - true + back)

    assert abs(store.offset - true) <= min(there + back for there, back in trips)


class Time:
    """One clock for a device and the server, behind the true time by as much as the work below takes.

    A store's own writes are stamped by SQLite, at the true time: the clock must have come to it by then.
    """

    def __init__(self) -> None:
        self.behind = -10 * SECOND

    def time_ns(self) -> int:
        return true_time.time_ns() + self.behind * 1_000

    def sleep(self, seconds: float) -> None:
        self.behind += int(seconds * SECOND)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clocks, "time", SimpleNamespace(time_ns=time.time_ns))
    return time


@pytest.mark.parametrize("before", [0, 8], ids=["stamped at once", "stamped at the end"])
def test_a_slow_pull_lets_no_earlier_write_win(
    time: Time, server: SimulatedServer, fleet: Fleet, before: int
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()

    def slow(request: Request) -> Response:
        work = 8 if request.path == "pull" else 0
        time.sleep(before if work else 0)
        answer = server.answer(request)
        time.sleep(work - before if work else 0)
        return answer

    sync(ours, slow)
    time.behind = 0
    ours.update("farm.animal", "a1", name="Earlier")
    time.sleep(2)
    server.put("farm.animal", "a1", name="Later")
    time.sleep(10)
    fleet.sync(ours)

    assert server.fields("farm.animal")["a1"]["name"] == "Later"
    assert (ours.get("farm.animal", "a1") or {})["name"] == "Later"
    assert [item.state for item in ours.unresolved()] == ["superseded"]
