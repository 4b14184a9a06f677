"""What a tombstone keeps of a row reads back as what the row held, for every field type."""

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import NotSupportedError, connection, models
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from syncreset.feed.entries import Entry
from syncreset.tracking.registry import synced_fields
from syncreset.tracking.tombstones import read_fields
from tests.support.properties import examples
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed, Specimen, UUIDKeyed

pytestmark = pytest.mark.django_db

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
JSON: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

# Hypothesis takes bounds without a zone; a day from the ends, every zone can tell the time.
FIRST, LAST = datetime.min + timedelta(days=1), datetime.max - timedelta(days=1)  # noqa: DTZ901

VALUES: dict[str, SearchStrategy[Any]] = {
    "big_integer": st.integers(-(2**63), 2**63 - 1),
    "binary": st.binary(max_size=40),
    "boolean": st.booleans(),
    "char": TEXT,
    "date": st.dates(),
    "date_time": st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
    "decimal": st.decimals(-99_999_999, 99_999_999, places=4),
    "duration": st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)),
    "email": TEXT,
    "file": TEXT,
    "file_path": TEXT,
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "generic_ip_address": st.ip_addresses().map(str),
    "image": TEXT,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "json": JSON,
    "positive_big_integer": st.integers(0, 2**63 - 1),
    "positive_integer": st.integers(0, 2**31 - 1),
    "positive_small_integer": st.integers(0, 2**15 - 1),
    "slug": TEXT,
    "small_integer": st.integers(-(2**15), 2**15 - 1),
    "text": TEXT,
    "time": st.times(),
    "url": TEXT,
    "uuid": st.uuids(),
}


def deleted(instance: models.Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """Deletes a row. Returns what the database had in it and what its tombstone says."""
    model, pk = type(instance), instance.pk
    fields = synced_fields(model)
    stored = model._default_manager.values(*(field.attname for field in fields)).get(pk=pk)
    held = {field.name: stored[field.attname] for field in fields}
    held = {name: bytes(value) if isinstance(value, memoryview) else value for name, value in held.items()}
    model._default_manager.filter(pk=pk).delete()
    entry = Entry.objects.get(model=model._meta.label_lower, pk_text=str(pk))
    assert entry.row is not None
    return held, read_fields(model, connection.vendor, entry.row["fields"])


def test_the_strategies_cover_every_field_type() -> None:
    others = {"generated", "to_integer", "to_big_integer", "to_char", "to_uuid", "one_to_one"}
    others |= {"label", "count", "active", "seen", "checklist"}

    assert VALUES.keys() | others == {field.name for field in synced_fields(Specimen)}


@examples(25)
@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_a_value_survives_its_row(name: str, data: st.DataObject) -> None:
    specimen = Specimen.objects.create(label="x", **{name: data.draw(VALUES[name])})

    held, read = deleted(specimen)

    assert read[name] == held[name]
    assert type(read[name]) is type(held[name])


def test_null_stays_null() -> None:
    held, read = deleted(Specimen.objects.create(label="x"))

    nulls = {name for name in VALUES if held[name] is None}
    assert {name for name in VALUES if read[name] is None} == nulls
    assert len(nulls) >= len(VALUES) - 2  # files are empty text


def test_a_relation_is_the_key_it_points_to() -> None:
    owner = UUIDKeyed.objects.create()
    specimen = Specimen.objects.create(
        label="x",
        to_integer=IntegerKeyed.objects.create(number=-3),
        to_big_integer=BigIntegerKeyed.objects.create(number=2**62 + 1),
        to_char=CharKeyed.objects.create(code="ü"),
        to_uuid=owner,
        one_to_one=owner,
    )

    held, read = deleted(specimen)

    assert read == held
    assert read["to_uuid"] == owner.pk


def test_the_time_zone_of_the_writer_does_not_matter() -> None:
    east = datetime(2026, 3, 1, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=14)))
    Specimen.objects.create(label="x", date_time=east, date=date(2026, 3, 1))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'German'")
        cursor.execute("DELETE FROM zoo_specimen")
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'")

    row = Entry.objects.get(model="zoo.specimen").row

    assert row is not None
    read = read_fields(Specimen, connection.vendor, row["fields"])
    assert read["date_time"] == east
    assert read["date_time"].utcoffset() == timedelta(0)
    assert read["date"] == date(2026, 3, 1)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite stores what it is given")
def test_reals_that_have_no_json_read_back() -> None:
    specimen = Specimen.objects.create(label="x")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE zoo_specimen SET float = 9e999")

    held, read = deleted(specimen)

    assert read["float"] == held["float"] == float("inf")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no NaN")
def test_floats_that_have_no_json_read_back() -> None:
    _, read = deleted(Specimen.objects.create(label="x", float=float("-inf")))

    assert read["float"] == float("-inf")


def test_a_row_of_a_key_alone_has_a_copy() -> None:
    owner = UUIDKeyed.objects.create(pk=uuid.UUID(int=5))
    held, read = deleted(OneToOneKeyed.objects.create(owner=owner, note="n"))

    assert held == read == {"note": "n"}


def test_a_name_that_the_model_no_longer_has_is_left_out() -> None:
    assert read_fields(UUIDKeyed, connection.vendor, {"note": "n", "colour": "red"}) == {"note": "n"}


def test_a_tombstone_of_another_kind_of_database_is_refused() -> None:
    with pytest.raises(NotSupportedError, match="mysql"):
        read_fields(UUIDKeyed, "mysql", {"note": "n"})


def test_values_have_the_types_of_python() -> None:
    specimen = Specimen.objects.create(
        label="x",
        decimal=Decimal("1.5"),
        duration=timedelta(microseconds=1),
        time=time(1, 2, 3, 4),
        binary=b"\x00\xff",
    )

    _, read = deleted(specimen)

    assert (read["decimal"], read["duration"], read["time"], read["binary"]) == (
        Decimal("1.5000"),
        timedelta(microseconds=1),
        time(1, 2, 3, 4),
        b"\x00\xff",
    )
    assert read["generated"] == 1
