"""Strict JSON reads what the standard library writes, and nothing that two parsers might read differently."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncreset.protocol.errors import Malformed
from syncreset.protocol.strict_json import dumps, loads
from tests.support.protocol_values import json_values


@given(value=json_values)
@example(value="\ud800\x00")
@example(value={"\udfff": [10**4000, -0.0, 5e-324]})
def test_what_is_written_is_read_again(value: Any) -> None:
    text = dumps(value)

    assert text.isascii()
    assert "\x00" not in text
    assert repr(loads(text.encode())) == repr(json.loads(text)) == repr(value)


@given(value=json_values, indent=st.none() | st.integers(0, 3))
def test_what_the_standard_library_writes_is_read_as_it_reads_it(value: Any, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=True, indent=indent)

    assert repr(loads(text.encode())) == repr(json.loads(text))


@given(data=st.binary(max_size=40))
@example(data=b"\xef\xbb\xbf{}")
@example(data=b"")
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    try:
        value = loads(data)
    except Malformed as fault:
        value = fault
    if isinstance(value, Malformed):
        assert value.detail.isprintable()
    else:
        assert value == json.loads(data)


@given(text=st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u', max_size=40))
def test_whatever_is_read_the_standard_library_reads_alike(text: str) -> None:
    try:
        value = loads(text.encode())
    except Malformed:
        return
    assert repr(value) == repr(json.loads(text))


@given(depth=st.integers(0, 200), limit=st.integers(0, 100), objects=st.booleans())
def test_nesting_is_counted(depth: int, limit: int, objects: bool) -> None:
    opening, closing = ('{"a":', "}") if objects else ("[", "]")
    text = opening * depth + "1" + closing * depth

    if depth <= limit:
        assert loads(text.encode(), max_depth=limit) is not None
    else:
        with pytest.raises(Malformed):
            loads(text.encode(), max_depth=limit)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '[{"a": {"b": 1, "b": 2}}]',
        '{"\\u0061": 1, "a": 2}',
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "1e999",
        "-1e999",
        "[1e400]",
        "9" * 4301,
        "-" + "9" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
        "01",
        "1.",
        ".5",
        "+1",
        "'a'",
        '"\t"',
        '"\\x41"',
        "[1,]",
        "{} {}",
        "nul",
        "",
    ],
    ids=lambda text: text[:20],
)
def test_what_parsers_disagree_about_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        loads(text.encode())
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps(value)
