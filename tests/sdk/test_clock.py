"""What a replica takes an answer for, as to its clock: no more than the answer proves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.sdk.store.store import Store
from tests.support.fleet import Fleet

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
