"""A value from the wire goes back exactly as it came; a Python value becomes the wire value that it means."""

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import same
from syncreset.sdk.store.schema import parse_schema
from syncreset.sdk.store.store import Store
from syncreset.sdk.store.values import from_python
from tests.support.properties import examples

TYPES: dict[str, st.SearchStrategy[Any]] = {
    "Char": st.text(st.characters(codec="utf-8", exclude_characters="")),
    "BigInteger": st.integers(-(2**63), 2**63 - 1).map(str),
    "Integer": st.integers(-(2**31), 2**31 - 1),
    "Boolean": st.booleans(),
    "Float": st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
    | st.sampled_from(["NaN", "Infinity", "-Infinity"]),
    "Decimal": st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
        lambda value: format(value, "f")
    ),
    "Binary": st.binary().map(lambda data: from_python("binary", data)),
    "JSON": st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    "File": st.none() | st.just({"name": "a.jpg", "size": 12, "sha256": "00", "url": "/media/a.jpg"}),
    "SomethingLater": st.just({"any": ["shape", 1, 1.0, True, None]}),
}


def store_with(tmp_path: Any, field_type: str) -> Store:
    store = Store(tmp_path / "values.db")
    field = {"name": "value", "type": field_type, "null": True}
    document = {"hash": "h", "models": [{"name": "a.b", "primary_key": "id", "fields": [field]}]}
    with store.applying():
        store.adopt_schema(parse_schema(document))
    return store


@pytest.mark.parametrize("field_type", TYPES)
def test_every_wire_value_comes_back_exactly(tmp_path: Any, field_type: str) -> None:
    store = store_with(tmp_path, field_type)
    model = store.schema.model("a.b")

    @examples(60)
    @given(st.none() | TYPES[field_type])
    def round_trip(value: Any) -> None:
        with store.applying():
            store.write_row(model, "1", {"value": value})
        row = store.row(model, "1")
        assert row is not None
        assert same(row["value"], value)
        assert type(row["value"]) is type(value)

    round_trip()
    store.close()


@pytest.mark.parametrize(
    ("field_type", "written", "read"),
    [
        ("Float", 3, 3.0),
        ("Boolean", 1, True),
        ("Boolean", 0, False),
        ("Boolean", 7, 7),
        ("Decimal", 5, "5"),
        ("BigInteger", 2**53 + 1, "9007199254740993"),
        ("Integer", "not a number", "not a number"),
        ("Integer", 1.5, 1.5),
        ("Float", math.inf, "Infinity"),
        ("Char", "", ""),
        ("Binary", b"\xff\x00", "/wA="),
        ("JSON", "1", 1),
        ("JSON", "true", True),
        ("JSON", "null", None),
    ],
)
def test_what_plain_sql_wrote_is_sent_as_the_field_s_type_has_it(
    tmp_path: Any, field_type: str, written: Any, read: Any
) -> None:
    store = store_with(tmp_path, field_type)
    store.connection.execute("INSERT INTO a_b (id, value) VALUES ('1', ?)", (written,))

    row = store.row(store.schema.model("a.b"), "1")

    assert row is not None
    assert same(row["value"], read)
    assert type(row["value"]) is type(read)
    store.close()


def test_text_in_another_encoding_does_not_stop_the_reader(tmp_path: Any) -> None:
    store = store_with(tmp_path, "Char")
    store.connection.execute("INSERT INTO a_b (id, value) VALUES ('1', CAST(x'ff41' AS TEXT))")

    assert store.row(store.schema.model("a.b"), "1") == {"value": "\udcffA"}
    store.close()


@pytest.mark.parametrize(
    ("storage", "value", "wire"),
    [
        ("text", Decimal("1E+2"), "100"),
        ("text", 2**60, str(2**60)),
        ("text", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("real", math.nan, "NaN"),
        ("real", -math.inf, "-Infinity"),
        ("real", "Infinity", "Infinity"),
        ("text", datetime(2026, 11, 22, 20, 24, tzinfo=UTC), "2026-11-22T20:24:00.000000Z"),
        (
            "text",
            datetime(2026, 11, 22, 20, 24, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-22T18:24:00.000000Z",
        ),
        ("text", date(2026, 1, 2), "2026-01-02"),
        ("text", time(1, 2, 3), "01:02:03"),
        ("text", timedelta(days=1, hours=2, microseconds=5), "P1DT02H00M00.000005S"),
        ("text", timedelta(seconds=-90), "-P0DT00H01M30S"),
        ("binary", b"\xff\x00", "/wA="),
        ("boolean", 1, True),
        ("real", 2, 2.0),
        ("json", {"a": (1, 2)}, {"a": [1, 2]}),
        ("json", None, None),
    ],
)
def test_python_values_mean_wire_values(storage: Any, value: Any, wire: Any) -> None:
    assert same(from_python(storage, value), wire)


@pytest.mark.parametrize(
    ("storage", "value", "error"),
    [
        ("text", datetime(2026, 11, 22), ValueError),  # noqa: DTZ001
        ("text", "\ud800", ValueError),
        ("text", True, TypeError),
        ("integer", "3", TypeError),
        ("integer", True, TypeError),
        ("real", "3", TypeError),
        ("json", math.nan, ValueError),
        ("json", object(), TypeError),
    ],
)
def test_python_values_without_a_wire_form_are_refused(
    storage: Any, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        from_python(storage, value)
