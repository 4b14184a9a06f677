"""Every field of a specimen, from the database to the wire and back, and whatever JSON somebody puts in its place."""

import base64
import datetime
import json
import math
import unicodedata
from collections.abc import Callable
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import connection, models, transaction
from django.db.models import Value
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from syncreset.clients.client import Client
from syncreset.feed.entries import Entry
from syncreset.protocol.changes import same
from syncreset.tracking.registry import EVERYONE, dependency_order, synced_fields
from syncreset.wire.fields.base import ValueFault
from syncreset.wire.fields.codec import (
    codec_for,
    decode,
    decode_delta,
    decode_key,
    encode,
    encode_key,
    is_server_computed,
    restore,
)
from syncreset.wire.model import wire_model
from syncreset.wire.rows import instance_of, row_of, stored_rows, tombstone_of
from tests.support.device import Device
from tests.support.properties import examples
from tests.support.wire import push_raw
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed, Specimen, UUIDKeyed

pytestmark = pytest.mark.django_db

SPECIMEN = "zoo.specimen"
FIELDS = [field for field in synced_fields(Specimen) if not is_server_computed(field)]
PLAIN = [field for field in FIELDS if not isinstance(field, models.ForeignKey)]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
numbers_in_json = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.booleans() | numbers_in_json | text
inner_documents = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
documents = (
    scalars | st.lists(inner_documents, max_size=4) | st.dictionaries(text, inner_documents, max_size=4)
)
# The SQLite that stores decimals as floats is exact to 15 digits, of which the field takes 12.
decimals = st.decimals(-99_999_999, 99_999_999, places=4, allow_nan=False, allow_infinity=False)
instants = st.datetimes(timezones=st.just(UTC))
durations = st.timedeltas(min_value=timedelta(days=-100_000), max_value=timedelta(days=100_000))
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
labels = st.from_regex(r"[a-z]{1,8}", fullmatch=True)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "big_integer": st.integers(-(2**63), 2**63 - 1),
    "binary": st.binary(max_size=40),
    "boolean": st.booleans(),
    "char": text,
    "date": st.dates(),
    "date_time": instants,
    "decimal": decimals,
    "duration": durations,
    "email": st.builds("{}@{}.org".format, labels, labels) | st.just(""),
    "file_path": text,
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "generic_ip_address": addresses,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "json": documents,
    "positive_big_integer": st.integers(0, 2**63 - 1),
    "positive_integer": st.integers(0, 2**31 - 1),
    "positive_small_integer": st.integers(0, 2**15 - 1),
    "slug": st.from_regex(r"[a-z0-9_-]{1,50}", fullmatch=True) | st.just(""),
    "small_integer": st.integers(-(2**15), 2**15 - 1),
    "text": text,
    "time": st.times(),
    "url": labels.map("https://{}.example.org/\u00e9?q=1#x".format) | st.just(""),
    "uuid": st.uuids(),
    "label": text,
    # One less than the field takes: the generated column holds one more.
    "count": st.integers(-(2**31), 2**31 - 2),
    "active": st.booleans(),
    "seen": instants,
    "checklist": documents,
}

specimens = st.fixed_dictionaries(
    {},
    optional={
        field.name: (st.none() | VALUES[field.name]) if field.null else VALUES[field.name] for field in PLAIN
    },
)


def test_every_field_has_values_here() -> None:
    assert {field.name for field in PLAIN} == VALUES.keys()


def field_of(name: str) -> Any:
    return Specimen._meta.get_field(name)


def stored(values: dict[str, Any]) -> Specimen:
    made = Specimen.objects.create(**{"label": "", **values})
    return Specimen.objects.get(pk=made.pk)


@examples(60)
@given(values=specimens)
@example(values={"float": -0.0, "json": [-0.0, 1e23, 1e16, 5e-324, 1e308, 2**64], "checklist": 1e22})
@example(values={"generic_ip_address": "::ffff:1.2.3.4", "duration": timedelta(microseconds=-1)})
@example(values={"date_time": datetime.datetime(1, 1, 1, tzinfo=UTC), "date": datetime.date(9999, 12, 31)})
@example(values={"time": datetime.time(0, 0, 0, 1), "binary": b"", "checklist": {}, "json": ""})
@example(values={"decimal": Decimal("0.0001"), "big_integer": -(2**63), "char": "\u2028\x7f\ufeff"})
def test_what_the_database_holds_comes_back_from_the_wire(values: dict[str, Any]) -> None:
    with transaction.atomic():
        row = stored(values)
        for field in PLAIN:
            value = getattr(row, field.attname)
            wire = json.loads(json.dumps(encode(field, value), allow_nan=False))
            for back in (decode(field, wire), restore(field, wire)):
                assert as_held(back) == as_held(value)
            assert same(encode(field, decode(field, wire)), wire)
        transaction.set_rollback(True)


def as_held(value: Any) -> Any:
    """A value in a form in which those that mean the same are equal."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, Value):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, float):
        return value + 0.0 if abs(value) < 1e16 else int(Decimal(repr(value)))
    if isinstance(value, dict):
        return {key: as_held(item) for key, item in value.items()}
    return [as_held(item) for item in value] if isinstance(value, list) else value


@examples(60)
@given(values=specimens)
def test_both_ways_of_reading_a_row_agree(values: dict[str, Any]) -> None:
    with transaction.atomic():
        row = stored(values)
        one = row_of(row)
        (other,) = stored_rows(wire_model(Specimen), {EVERYONE}, [str(row.pk)]).values()

        assert one == other
        again = instance_of(wire_model(Specimen), one.pk, one.row)
        for field in PLAIN:
            assert as_held(getattr(again, field.attname)) == as_held(getattr(row, field.attname))
        transaction.set_rollback(True)


WIRE: dict[str, st.SearchStrategy[Any]] = {
    name: values.map(lambda value, name=name: encode(field_of(name), value))  # type: ignore[misc]
    for name, values in VALUES.items()
}
# Other spellings of values than the canonical one.
WIRE["decimal"] |= st.from_regex(r"-?(0|[1-9][0-9]{0,7})(\.[0-9]{1,4}0{0,3})?", fullmatch=True)
WIRE["date_time"] |= st.from_regex(
    r"2[0-9]{3}-0[1-9]-1[0-9]T1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]0[0-9]:[0-5][0-9])",
    fullmatch=True,
)
WIRE["time"] |= st.from_regex(r"1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?", fullmatch=True)
WIRE["duration"] |= st.from_regex(
    r"-?P([0-9]{1,6}D)?T([0-9]{1,3}H)?[0-9]{1,3}M([0-9]{1,3}(\.[0-9]{1,6})?S)?", fullmatch=True
)
WIRE["uuid"] |= st.uuids().map(lambda value: str(value).upper())
WIRE["float"] |= st.integers(-(2**53), 2**53)


@pytest.mark.parametrize("name", WIRE)
def test_a_decoded_value_has_one_canonical_spelling_which_the_database_keeps(name: str) -> None:
    field = field_of(name)

    @examples(25)
    @given(wire=WIRE[name])
    def check(wire: Any) -> None:
        canonical = encode(field, decode(field, wire))

        assert same(encode(field, decode(field, canonical)), canonical)
        with transaction.atomic():
            held = getattr(stored({name: decode(field, wire)}), field.attname)
            assert same(encode(field, held), canonical)
            transaction.set_rollback(True)

    check()


surrogates = st.text(st.characters(), max_size=10) | st.sampled_from(
    ["\ud800", "\x00", "a\x00", "\udfff\ud800"]
)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400, 10**1000, 10**4000])
    | st.floats(allow_nan=False, allow_infinity=False)
    | surrogates
    | st.sampled_from(
        [
            "NaN",
            "Infinity",
            "1e1000000",
            "-0",
            "\u0661",
            "10000-01-01",
            "24:00:00",
            "P",
            "PT",
            "P1Y",
            "=",
            "====",
            "::%1",
        ]
    )
    | st.from_regex(r"[0-9:TZ+.-]{1,40}", fullmatch=True)
    | st.from_regex(r"-?P[0-9DTHMSYW.,]{1,30}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(surrogates, inner, max_size=3),
    max_leaves=6,
)


def attempt(function: Callable[[Any, Any], Any], field: Any, value: Any) -> Any:
    """What the function gives, or the fault that it raises."""
    try:
        return function(field, value)
    except ValueFault as fault:
        return fault


@pytest.mark.parametrize("field", synced_fields(Specimen), ids=lambda field: field.name)
def test_a_decoder_raises_nothing_but_a_fault_of_the_value(field: Any) -> None:
    @examples(150)
    @given(value=junk)
    def check(value: Any) -> None:
        decoded = attempt(decode, field, value)
        if isinstance(decoded, ValueFault):
            assert decoded.code in CODES
            assert "\x00" not in decoded.detail
            assert decoded.detail.encode()
        else:
            wire = encode(field, decoded)
            assert (wire is None) == (value is None)
            assert json.loads(json.dumps(wire, allow_nan=False)) == wire

    check()


CODES = {
    "invalid",
    "invalid_text",
    "invalid_choice",
    "out_of_range",
    "too_long",
    "null",
    "forbidden_field",
}


taken_or_not = st.one_of(
    *(st.tuples(st.just(field.name), WIRE[field.name] | junk) for field in PLAIN if field.name != "count")
)


@examples(60)
@given(values=st.lists(taken_or_not, min_size=1, max_size=4))
def test_whatever_is_decoded_the_database_keeps(values: list[tuple[str, Any]]) -> None:
    decoded = {name: attempt(decode, field_of(name), value) for name, value in values}
    taken = {name: value for name, value in decoded.items() if not isinstance(value, ValueFault)}
    with transaction.atomic():
        row = stored(taken)
        for name, value in taken.items():
            assert as_held(getattr(row, field_of(name).attname)) == as_held(value)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "key",
    [
        Specimen._meta.pk,
        IntegerKeyed._meta.pk,
        BigIntegerKeyed._meta.pk,
        CharKeyed._meta.pk,
        OneToOneKeyed._meta.pk,
        field_of("to_char"),
    ],
    ids=str,
)
def test_a_key_raises_nothing_but_invalid_pk(key: Any) -> None:
    @examples(150)
    @given(value=junk)
    def check(value: Any) -> None:
        decoded = attempt(decode_key, key, value)
        if isinstance(decoded, ValueFault):
            assert decoded.code == "invalid_pk"
        else:
            canonical = encode_key(key, decoded)
            assert decode_key(key, canonical) == decoded
            assert canonical.lower() == value.lower()

    check()


@pytest.mark.parametrize("name", ["integer", "big_integer", "decimal", "positive_small_integer"])
def test_a_delta_raises_nothing_but_a_fault(name: str) -> None:
    @examples(100)
    @given(value=junk)
    def check(value: Any) -> None:
        step = attempt(decode_delta, field_of(name), value)
        if isinstance(step, ValueFault):
            assert step.code in CODES
        else:
            assert decode_delta(field_of(name), step) == step

    check()


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_text_keeps_its_form(form: Any) -> None:
    value = unicodedata.normalize(form, "\u1e9b\u0323 \ufb01 \u00e9")

    assert decode(field_of("char"), value) == value
    assert stored({"char": value}).char == value


# --- What the server itself wrote ----------------------------------------------------------------------------------


def test_a_float_that_json_has_not_travels_as_a_text() -> None:
    field = field_of("float")
    wire = ["NaN", "Infinity", "-Infinity", 1.5]

    assert [encode(field, value) for value in (math.nan, math.inf, -math.inf, 1.5)] == wire
    assert [encode(field, restore(field, value)) for value in wire[1:]] == wire[1:]
    assert codec_for(field_of("json")).encode({"a": [math.nan, 1]}) == {"a": [None, 1]}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("float", "Infinity", "invalid"), ("float", "NaN", "invalid"), ("checklist", None, "null")],
)
def test_what_only_a_server_writes_is_taken_from_no_client(name: str, value: Any, code: str) -> None:
    assert attempt(decode, field_of(name), value).code == code


def test_a_document_that_is_null_is_told_from_none() -> None:
    field = field_of("checklist")
    row = stored({"checklist": Value(None, models.JSONField())})

    again = instance_of(wire_model(Specimen), str(row.pk), row_of(row).row)
    again.save(force_update=True)

    assert encode(field, restore(field, encode(field, row.checklist))) is None
    assert Specimen.objects.filter(checklist=Value(None, models.JSONField())).exists()


def test_a_relation_to_a_field_that_is_no_key_travels_as_that_field_does() -> None:
    for target, value, wire in (
        (models.DateField(), datetime.date(1, 1, 1), "0001-01-01"),
        (models.DateTimeField(), datetime.datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (models.DecimalField(max_digits=5, decimal_places=2), Decimal("1.5"), "1.50"),
        (models.DurationField(), timedelta(seconds=-1), "-P0DT00H00M01S"),
        (models.GenericIPAddressField(), "::1", "::1"),
        (models.PositiveSmallIntegerField(), 7, "7"),
    ):
        assert encode_key(target, value) == wire
        assert decode_key(target, wire) == value


def test_large_floats_inside_json_are_integers_where_postgresql_gives_them_back_so() -> None:
    codec = codec_for(field_of("json"))
    floats = [1e16, -1e23, 1e308, 9e15, 0.5]
    kept = floats if connection.vendor == "sqlite" else [10**16, -(10**23), 10**308, 9e15, 0.5]

    for convert in (codec.encode, codec.decode):
        assert repr(convert(floats)) == repr(kept)


def test_values_that_break_todays_rules_are_restored_as_they_are() -> None:
    for name, value in {
        "email": "no address",
        "url": "nowhere",
        "slug": "not a slug",
        "char": "x" * 500,
        "generic_ip_address": "somewhere",
        "integer": 2**40,
        "big_integer": "1" + "0" * 30,
        "decimal": "123456789.12345",
    }.items():
        with pytest.raises(ValueFault):
            decode(field_of(name), value)
        assert str(restore(field_of(name), value)) == str(value)


def test_decimals_of_more_digits_than_a_context_has_do_not_overflow() -> None:
    wide: Any = models.DecimalField(max_digits=60, decimal_places=30)
    digits = "123456789012345678901234567890.123456789012345678901234567890"

    if connection.vendor == "sqlite":
        with pytest.raises(ValueFault) as caught:
            decode(wide, digits)
        assert caught.value.code == "out_of_range"
    else:
        assert encode(wide, decode(wide, digits)) == digits
    assert encode(wide, Decimal(digits)) == digits


def test_base64_has_one_spelling() -> None:
    field = field_of("binary")

    assert decode(field, "QQ==") == b"A"
    for other in ("QR==", "QQ", "QQ=", "Q Q==", "QQ==\n", "-_8=", "QQ==QQ=="):
        with pytest.raises(ValueFault):
            decode(field, other)
    assert base64.b64decode(encode(field, bytes(range(256)))) == bytes(range(256))


# --- Tombstones ----------------------------------------------------------------------------------------------------


@pytest.fixture
def phone(api_for: Callable[[User], APIClient], user_factory: Any) -> Device:
    made = Device(api_for(user_factory())).register()
    made.pull()
    return made


def targets() -> dict[str, Any]:
    return {
        "to_integer": IntegerKeyed.objects.create(number=7),
        "to_big_integer": BigIntegerKeyed.objects.create(number=2**60),
        "to_char": CharKeyed.objects.create(code='q"uo\\te \U0001f9a5'),
        "to_uuid": UUIDKeyed.objects.create(),
        "one_to_one": UUIDKeyed.objects.create(),
    }


@examples(40)
@given(values=specimens, related=st.booleans())
@example(
    values={"float": 5e-324, "json": [5e-324, 1e308, 10**30], "checklist": {"\u2028": "\x7f"}}, related=True
)
@example(values={"float": 0.1 + 0.2, "json": 0.1 + 0.2, "decimal": Decimal("99999999.9999")}, related=False)
@example(
    values={"json": [], "binary": bytes(range(256)), "duration": timedelta(microseconds=1)}, related=True
)
@example(values={"json": "", "checklist": "x", "char": "", "text": "\\'\""}, related=True)
@example(values={"json": True, "checklist": 0, "boolean": False}, related=True)
def test_a_tombstone_keeps_the_row_and_a_put_brings_it_back(
    phone: Device, values: dict[str, Any], related: bool
) -> None:
    with transaction.atomic():
        row = Specimen.objects.create(
            **{"label": "", **values, "file": "specimens/a.bin"}, **(targets() if related else {})
        )
        before = row_of(Specimen.objects.get(pk=row.pk)).row
        phone.checkpoint, phone.seq, phone.receipt = None, acked_of(phone), receipt_of(phone)
        phone.rows.clear()
        phone.pull()
        assert phone.rows[SPECIMEN, str(row.pk)]["fields"] == before.fields
        Specimen.objects.all().delete()
        entry = Entry.objects.get(model=SPECIMEN, pk_text=str(row.pk))

        copy = tombstone_of(wire_model(Specimen), entry)

        assert copy.row is not None
        assert {name: as_held(value) for name, value in copy.row.fields.items()} == {
            name: as_held(value) for name, value in before.fields.items()
        }
        assert (copy.row.updated, copy.row.clocks) == (before.updated, before.clocks)
        count = 5 if before.fields["count"] != 5 else 6
        (result,) = push_raw(phone, phone.put(SPECIMEN, str(row.pk), {"count": count}))
        assert result["state"] == "applied"
        after = row_of(Specimen.objects.get(pk=row.pk)).row
        changed = {"count": count, "generated": str(count + 1)}
        assert {name: as_held(value) for name, value in after.fields.items()} == {
            name: as_held(value) for name, value in {**before.fields, **changed}.items()
        }
        transaction.set_rollback(True)


def acked_of(device: Device) -> int:
    return Client.objects.get(pk=device.client).acked


def receipt_of(phone: Device) -> str:
    """The receipt of the client's last push as the server has it, whatever was rolled back since."""
    return Client.objects.get(pk=phone.client).receipt


def test_a_file_travels_by_its_name_and_digest_also_from_a_tombstone(phone: Device) -> None:
    row = Specimen.objects.create(label="x")
    row.file.save("a.bin", ContentFile(b"hello"))
    phone.pull()
    wire = phone.rows[SPECIMEN, str(row.pk)]["fields"]["file"]
    assert (wire["size"], wire["sha256"][:8]) == (5, "2cf24dba")
    Specimen.objects.all().delete()

    push_raw(phone, phone.put(SPECIMEN, str(row.pk), {"count": 3}))
    phone.pull()

    assert phone.rows[SPECIMEN, str(row.pk)]["fields"]["file"] == wire
    with Specimen.objects.get().file.open() as content:
        assert content.read() == b"hello"


def test_all_tracked_models_have_codecs() -> None:
    for model in dependency_order():
        for field in synced_fields(model):
            assert codec_for(field).type
