"""What holds of the clocks that come from devices, and of keys made in the order of time."""

from hypothesis import example, given
from hypothesis import strategies as st

from syncreset.protocol import uuid7
from syncreset.protocol.clock import TOLERATED_SKEW, corrected

any_time = st.integers(-(2**70), 2**70)
clocks = st.dictionaries(st.sampled_from(["*", "age", "name"]), any_time)
a_minute = TOLERATED_SKEW


@given(clocks=clocks, offset=any_time, received=st.integers(0, 2**60))
@example(clocks={"*": 10**4000}, offset=0, received=7)
@example(clocks={"*": -(10**4000)}, offset=-(10**4000), received=7)
def test_corrected_clocks_lie_between_1970_and_their_receipt(
    clocks: dict[str, int], offset: int, received: int
) -> None:
    believed = corrected(clocks, offset=offset, received=received)

    assert believed.keys() == clocks.keys()
    assert all(0 <= timestamp <= received for timestamp in believed.values())


@given(clocks=clocks, offset=any_time, received=st.integers(0, 2**60))
def test_a_correction_keeps_the_order(clocks: dict[str, int], offset: int, received: int) -> None:
    believed = corrected(clocks, offset=offset, received=received)

    for one in clocks:
        for other in clocks:
            if clocks[one] <= clocks[other]:
                assert believed[one] <= believed[other]


@given(offset=st.integers(-a_minute, a_minute), clock=st.integers(0, 10**6))
def test_a_clock_that_is_off_by_less_than_a_minute_is_believed(offset: int, clock: int) -> None:
    assert corrected({"*": clock}, offset=offset, received=10**6) == {"*": clock}


@given(
    offset=st.integers(a_minute + 1, 2**50) | st.integers(-(2**50), -a_minute - 1), age=st.integers(0, 10**6)
)
def test_a_clock_that_is_off_by_more_is_shifted(offset: int, age: int) -> None:
    received = 2**52
    written = received - age

    assert corrected({"*": written - offset}, offset=offset, received=received) == {"*": written}


def test_keys_made_later_sort_later() -> None:
    made = [uuid7() for _ in range(50)]

    assert len(set(made)) == 50
    assert all(key.version == 7 and key.variant == made[0].variant for key in made)
    milliseconds = [key.int >> 80 for key in made]
    assert milliseconds == sorted(milliseconds)
