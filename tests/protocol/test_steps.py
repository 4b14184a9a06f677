"""Steps of counters and sets: what leads from one value to another, and the sums of such steps."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import same
from syncreset.protocol.steps import (
    Step,
    add_step,
    counter_step,
    moves,
    set_step,
    sum_of,
    take_step_back,
    take_steps_back,
    with_step,
    without_step,
)

integers = st.integers()
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3).map(
    lambda number: format(number, "f")
)
sets = st.lists(st.sampled_from("abcd"), unique=True).map(sorted)
#: Three values of one field.
values = st.one_of(*(st.tuples(kind, kind, kind) for kind in (integers, decimals, sets)))


def step(old: Any, new: Any) -> Any:
    found = set_step(old, new) if isinstance(new, list) else counter_step(old, new)
    assert found is not None
    return found


def equal(one: Any, other: Any) -> bool:
    return not moves(step(one, other))


@given(values)
def test_a_step_leads_from_one_value_to_the_other_and_back(chosen: tuple[Any, Any, Any]) -> None:
    old, new, _ = chosen

    assert equal(add_step(old, step(old, new)), new)
    assert equal(take_step_back(new, step(old, new)), old)
    assert moves(step(old, new)) == (not equal(old, new))


@given(values)
def test_steps_add_up_and_a_part_can_be_left_out(chosen: tuple[Any, Any, Any]) -> None:
    old, middle, new = chosen
    first, second, whole = step(old, middle), step(middle, new), step(old, new)

    assert equal(add_step(old, with_step(first, second)), new)
    assert equal(add_step(middle, without_step(whole, first)), new)
    assert not moves(without_step(whole, whole))


@pytest.mark.parametrize("step_of", [counter_step, set_step])
@pytest.mark.parametrize("new", [None, True, 1.5, "x", "1e3", "", {"a": 1}, [1], "\u0661"])
def test_from_and_to_what_is_no_value_of_the_field_there_is_no_step(step_of: Any, new: Any) -> None:
    assert step_of(None, new) is None
    assert new is None or (counter_step(new, 1), counter_step(new, "1"), set_step(new, [])) == (None,) * 3


def test_null_counts_as_nothing() -> None:
    assert counter_step(None, 3) == {"delta": 3}
    assert counter_step(None, "3.50") == {"delta": "3.50"}
    assert set_step(None, ["a"]) == {"add": ["a"], "remove": []}
    assert same(add_step(None, {"delta": "3.50"}), "3.50")


@given(
    st.one_of(*(st.lists(kind, min_size=1, max_size=6) for kind in (integers, decimals, sets))),
    st.integers(0),
)
def test_steps_come_to_the_same_however_they_are_cut_and_can_be_taken_back(
    chosen: list[Any], cut: int
) -> None:
    made = [Step(id=str(place), amount=step(old, new)) for place, (old, new) in enumerate(pairwise(chosen))]
    first, rest = made[: cut % (len(made) + 1)], made[cut % (len(made) + 1) :]
    # The server may have another value meanwhile: it is changed by the parts as it is by the whole.
    for start in (chosen[0], chosen[-1]):
        value = start
        for part in (first, rest):
            value = value if not part else add_step(value, sum_of(part))
        assert equal(value, start if not made else add_step(start, sum_of(made)))
    assert equal(take_steps_back(chosen[-1], made), chosen[0])


def test_of_an_element_removed_and_added_again_the_last_counts_whoever_removed_it_meanwhile() -> None:
    made = [
        Step(id="1", amount={"add": [], "remove": ["a"]}),
        Step(id="2", amount={"add": ["a"], "remove": []}),
    ]

    assert add_step([], sum_of(made)) == ["a"]
    assert take_steps_back(["a"], made) == ["a"]
