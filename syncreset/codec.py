"""Model fields and wire values: one typed codec for every concrete field type of Django, and the schema made of them.

Decoding is strict: what the database would change on its way in (rounded, cut, normalised to nothing) is refused with
a stable code instead. The wire forms are those of the protocol page, section "Values".
"""

import base64
import binascii
import functools
import hashlib
import ipaddress
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.backends.base.operations import BaseDatabaseOperations
from django.utils import timezone as django_timezone
from django.utils.duration import duration_iso_string
from django.utils.ipv6 import clean_ipv6_address

from .protocol import Problem

__all__ = [
    "FieldCodec",
    "ValueFault",
    "codec_for",
    "decode_delta",
    "decode_key",
    "decode_set_change",
    "describe_field",
    "encode_key",
    "is_key",
    "is_reference_target",
    "is_server_computed",
    "is_supported",
    "json_null",
    "restore",
    "target_key_field",
]

MAX_JSON_INTEGER_DIGITS = 1000
#: SQLite keeps decimals as binary64, which is exact to this many digits.
SQLITE_DECIMAL_DIGITS = 15
#: From here on PostgreSQL gives a float inside JSON back as an integer.
_JSON_INTEGERS_FROM = 1e16
_DAY = 24 * 60 * 60
#: What a 64-bit float may be besides a number.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: The types of the fields that relations may point to: each value has one spelling as a text.
_KEY_TYPES = frozenset(
    {
        "BigInteger",
        "Char",
        "Date",
        "DateTime",
        "Decimal",
        "Duration",
        "GenericIPAddress",
        "Integer",
        "Text",
        "Time",
        "UUID",
    }
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")
_DURATION = re.compile(
    r"(-?)P(?=[0-9T])(?:([0-9]{1,10})D)?(?:T(?=[0-9])(?:([0-9]{1,15})H)?(?:([0-9]{1,15})M)?"
    r"(?:([0-9]{1,15})(?:\.([0-9]{1,9}))?S)?)?"
)
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)(Z|[+-][0-9]{2}:[0-9]{2})?"
)


class ValueFault(Exception):
    """A wire value that its field cannot hold exactly."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def problem(self, field: str | None) -> Problem:
        return Problem(code=self.code, detail=self.detail, field=field)


@dataclass(frozen=True, kw_only=True)
class FieldCodec:
    """How values of one field travel.

    ``encode`` maps a Python value (never None) to the wire, ``decode`` a wire value (never null) back, raising
    ValueFault. ``restore`` reads what ``encode`` made of a value that the database held, whatever the rules of today
    say of it; None where ``decode`` takes all of that. ``type`` is the name that the schema gives.
    """

    type: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    restore: Callable[[Any], Any] | None = None


def encode(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The wire value of a Python value as loaded from the database."""
    return None if value is None or isinstance(value, models.Value) else codec_for(field).encode(value)


def decode(field: "models.Field[Any, Any]", value: Any, *, acknowledged: bool = False) -> Any:
    """The Python value of a wire value. Raises ValueFault.

    What a server has ``acknowledged`` may be what it wrote itself and takes from no client: a float that is no finite
    number, and JSON's null in a field that cannot be null.
    """
    if acknowledged and _only_a_server_writes(field, value):
        return restore(field, value)
    if value is None:
        if field.null:
            return None
        raise ValueFault("null", "this field cannot be null")
    decoded = codec_for(field).decode(value)
    _validate(field, decoded)
    return decoded


def _only_a_server_writes(field: "models.Field[Any, Any]", value: Any) -> bool:
    if isinstance(field, models.JSONField):
        return value is None and not field.null
    if not isinstance(field, models.FloatField) or not isinstance(value, str):
        return False
    # SQLite keeps null for NaN.
    return value in _NOT_FINITE and not (value == "NaN" and connection.vendor == "sqlite")


def decode_delta(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The step of a counter's delta in its canonical wire form, that of the field's values. Raises ValueFault.

    Only the step is judged. Whether the field can hold the sum is known when there is one.
    """
    if isinstance(field, models.DecimalField):
        return encode(field, codec_for(field).decode(value))
    as_text = codec_for(field).type == "BigInteger"
    if (
        as_text
        and isinstance(value, str)
        and len(value) <= 20
        and _INTEGER.fullmatch(value)
        and value != "-0"
    ):
        return value
    if as_text or not isinstance(value, int) or isinstance(value, bool):
        raise ValueFault("invalid", "a counter's delta is an integer in the form of the field's values")
    if abs(value) >= 2**64:
        raise ValueFault("out_of_range", "the delta does not fit 64 bits")
    return value


def decode_set_change(field: "models.Field[Any, Any]", value: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is added to a many-to-many field and removed, in canonical keys. Raises ValueFault."""
    decode_elements = codec_for(field).decode
    change = {name: decode_elements(value.get(name, [])) for name in ("add", "remove")}
    if not set(change["add"]).isdisjoint(change["remove"]):
        raise ValueFault("invalid", "an element cannot be both added and removed")
    return change


def restore(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The Python value of a wire value that ``encode`` made of what a row held.

    Unlike ``decode`` it judges nothing: a value that got into the row before a validator or a choice changed, or past
    Django, stays what it is when the row is written for another field's sake. A null of a JSON column without SQL's
    null is JSON's own, which Django writes for an expression alone.
    """
    if value is None:
        return json_null(field) if isinstance(field, models.JSONField) and not field.null else None
    codec = codec_for(field)
    return (codec.restore or codec.decode)(value)


def json_null(field: "models.JSONField[Any, Any]") -> models.Value:
    """What has Django write JSON's null into a column, and not SQL's."""
    return models.Value(None, output_field=field)


def _validate(field: "models.Field[Any, Any]", value: Any) -> None:
    allowed = not field.choices or any(value == choice for choice, _ in field.flatchoices)
    if not allowed and not (field.blank and value == ""):
        raise ValueFault("invalid_choice", "this is not one of the field's choices")
    # As Django does, empty values are not put to the validators: a blank e-mail address is none.
    if isinstance(field, models.ForeignKey | models.JSONField) or value in field.empty_values:
        return
    for validator in field.validators:
        try:
            validator(value)
        except ValidationError as error:
            code = {"max_value": "out_of_range", "min_value": "out_of_range", "max_length": "too_long"}
            raise ValueFault(code.get(error.code or "", "invalid"), " ".join(error.messages)) from error


def is_server_computed(field: "models.Field[Any, Any]") -> bool:
    """Whether only the server can know the value: generated columns, ``auto_now`` fields and files."""
    return (
        getattr(field, "generated", False)
        or getattr(field, "auto_now", False)
        or getattr(field, "auto_now_add", False)
        or isinstance(field, models.FileField)
    )


def is_supported(field: "models.Field[Any, Any]") -> bool:
    """Whether the field's type, or one it derives from, has a codec."""
    return _factory(field) is not None


def target_key_field(field: "models.ForeignKey[Any, Any]") -> "models.Field[Any, Any]":
    """The field that a relation's column holds the value of, followed to the end of chained keys."""
    target: models.Field[Any, Any] = field.target_field
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    return target


def is_reference_target(field: "models.Field[Any, Any]") -> bool:
    """Whether the values of a field are texts or numbers on the wire, so that relations to it can travel."""
    return is_supported(field) and codec_for(field).type in _KEY_TYPES


def is_key(pk: "models.Field[Any, Any]", text: str) -> bool:
    """Whether a text is a key that the field can have."""
    try:
        decode_key(pk, text)
    except ValueFault:
        return False
    return True


def encode_key(field: "models.Field[Any, Any]", value: Any) -> str:
    """A primary key, or what a relation points to, as the wire has it: always a string."""
    if isinstance(field, models.ForeignKey):
        field = target_key_field(field)
    return str(codec_for(field).encode(value))


def decode_key(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The Python value of a key on the wire. Raises ValueFault with code ``invalid_pk``."""
    if isinstance(field, models.ForeignKey):
        field = target_key_field(field)
    if not isinstance(value, str) or not value:
        raise ValueFault("invalid_pk", "a key is a string that is not empty")
    try:
        if isinstance(field, models.IntegerField):
            return _integer_text(field)(value)
        return codec_for(field).decode(value)
    except ValueFault as fault:
        raise ValueFault("invalid_pk", f"the key does not fit its field: {fault.detail}") from fault


@functools.cache
def codec_for(field: "models.Field[Any, Any]") -> FieldCodec:
    """The codec of a concrete field. Raises TypeError for a type that has none (a system check tells first)."""
    factory = _factory(field)
    if factory is None:
        raise TypeError(f"syncreset has no codec for {field!r}")
    return factory(field)


def describe_field(
    field: "models.Field[Any, Any]", *, read_only: bool, counter: bool = False
) -> dict[str, Any]:
    """The field's entry in the schema (protocol, "GET /schema")."""
    description: dict[str, Any] = {"name": field.name, "type": codec_for(field).type, "null": field.null}
    if field.max_length is not None and not isinstance(field, models.ForeignKey | models.FileField):
        description["max_length"] = field.max_length
    if isinstance(field, models.DecimalField):
        description["max_digits"], description["decimal_places"] = field.max_digits, field.decimal_places
    if field.choices:
        description["choices"] = [[encode(field, value), str(label)] for value, label in field.flatchoices]
    if isinstance(field, models.ForeignKey | models.ManyToManyField):
        related: Any = field.related_model._meta.concrete_model
        description["to"] = related._meta.label_lower
    if read_only or is_server_computed(field):
        description["read_only"] = True
    if counter:
        description["counter"] = True
    return description


def _factory(field: "models.Field[Any, Any]") -> Callable[[Any], FieldCodec] | None:
    return next((_FACTORIES[base] for base in type(field).__mro__ if base in _FACTORIES), None)


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot store and UTF-8 cannot carry. Raises ValueFault ``invalid_text``."""
    if "\x00" in text:
        raise ValueFault("invalid_text", "text cannot hold the character U+0000")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueFault("invalid_text", "text cannot hold a lone surrogate") from error


def _text(field: "models.Field[Any, Any]") -> Callable[[Any], str]:
    def decode_text(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a string")
        check_text(value)
        if field.max_length is not None and len(value) > field.max_length:
            raise ValueFault(
                "too_long", f"the text has {len(value)} characters, the field takes {field.max_length}"
            )
        return value

    return decode_text


def _text_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    name = "Text" if isinstance(field, models.TextField) else "Char"
    return FieldCodec(type=name, encode=str, decode=_text(field), restore=str)


def _check_range(field: "models.Field[Any, Any]", value: int) -> int:
    # The ranges that every database has. SQLite's own are wider, and what only it can hold would not move elsewhere.
    low, high = BaseDatabaseOperations.integer_field_ranges[field.get_internal_type()]
    if not low <= value <= high:
        raise ValueFault("out_of_range", f"the number is not between {low} and {high}")
    return value


def _integer_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_integer(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueFault("invalid", "this field takes an integer")
        return _check_range(field, value)

    return FieldCodec(type="Integer", encode=int, decode=decode_integer, restore=int)


def _integer_text(field: "models.Field[Any, Any]") -> Callable[[Any], int]:
    def decode_integer_text(value: Any) -> int:
        if not isinstance(value, str) or not _INTEGER.fullmatch(value) or value == "-0":
            raise ValueFault("invalid", "this field takes an integer in decimal digits, as a string")
        if len(value) > 20:
            raise ValueFault("out_of_range", "the number does not fit 64 bits")
        return _check_range(field, int(value))

    return decode_integer_text


def _big_integer_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="BigInteger", encode=str, decode=_integer_text(field), restore=int)


def _float_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_float(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueFault("invalid", "this field takes a number")
        try:
            number = float(value) + 0.0
        except OverflowError as error:
            raise ValueFault("out_of_range", "the number does not fit a 64-bit float") from error
        if not math.isfinite(number):
            raise ValueFault(
                "invalid", "this field takes a number, or NaN, Infinity or -Infinity as a string"
            )
        if number != value:
            raise ValueFault("invalid", "a 64-bit float cannot hold this number exactly")
        return number

    def encode_float(value: Any) -> float | str:
        # JSON has no infinities and no NaN.
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return float(value) + 0.0

    def restore_float(value: Any) -> float:
        return _NOT_FINITE[value] if isinstance(value, str) else float(value)

    return FieldCodec(type="Float", encode=encode_float, decode=decode_float, restore=restore_float)


def _boolean_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_boolean(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueFault("invalid", "this field takes true or false")
        return value

    return FieldCodec(type="Boolean", encode=bool, decode=decode_boolean)


def _decimal_codec(field: "models.DecimalField[Any, Any]") -> FieldCodec:
    places: int | None = field.decimal_places
    quantum = None if places is None else Decimal(1).scaleb(-places)

    def exactly(number: Decimal) -> Decimal:
        if quantum is not None:
            # A precision of its own: the default context has 28 digits, and a field may have more.
            number = number.quantize(quantum, context=Context(prec=2000))
        return number.copy_abs() if number.is_zero() else number

    def encode_decimal(value: Any) -> str:
        return format(exactly(Decimal(value)), "f")

    def decode_decimal(value: Any) -> Decimal:
        if not isinstance(value, str) or len(value) > 1100 or not _DECIMAL.fullmatch(value):
            raise ValueFault("invalid", "this field takes a decimal number in plain digits, as a string")
        whole, _, fraction = value.lstrip("-").partition(".")
        if places is not None and len(fraction.rstrip("0")) > places:
            raise ValueFault("invalid", f"the number has more than {places} decimal places")
        digits = 0 if whole == "0" else len(whole)
        if places is not None and digits > field.max_digits - places:
            raise ValueFault("out_of_range", f"the number has more than {field.max_digits - places} digits")
        if connection.vendor == "sqlite" and len((whole + fraction).strip("0")) > SQLITE_DECIMAL_DIGITS:
            raise ValueFault(
                "out_of_range", f"this database keeps {SQLITE_DECIMAL_DIGITS} digits of a number"
            )
        return exactly(Decimal(value))

    return FieldCodec(type="Decimal", encode=encode_decimal, decode=decode_decimal, restore=Decimal)


def _clock_time(text: str) -> time:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueFault("invalid", "a time is HH:MM:SS, with up to six decimals")
    hour, minute, second, fraction = match.groups()
    try:
        return time(int(hour), int(minute), int(second), int((fraction or "")[:6].ljust(6, "0")))
    except ValueError as error:
        raise ValueFault("invalid", f"there is no such time: {error}") from error


def _decode_date(value: Any) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueFault("invalid", "this field takes a date, YYYY-MM-DD")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueFault("invalid", f"there is no such date: {error}") from error


def _date_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="Date", encode=lambda value: value.isoformat(), decode=_decode_date)


def _time_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_time(value: Any) -> time:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a time, HH:MM:SS")
        return _clock_time(value)

    return FieldCodec(type="Time", encode=lambda value: value.isoformat(), decode=decode_time)


def _encode_datetime(value: datetime) -> str:
    aware = django_timezone.make_aware(value) if value.tzinfo is None else value
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _decode_datetime(value: Any) -> datetime:
    match = _DATETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueFault("invalid", "this field takes a date and time, YYYY-MM-DDTHH:MM:SS.ffffffZ")
    day, clock, zone = match.groups()
    if zone is None:
        raise ValueFault("invalid", "a date and time needs its zone: Z or ±HH:MM")
    offset = timedelta(0)
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise ValueFault("invalid", "there is no such zone")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    try:
        local = datetime.combine(_decode_date(day), _clock_time(clock), timezone(offset))
        utc = local.astimezone(UTC)
        return utc if settings.USE_TZ else django_timezone.make_naive(utc)
    except (OverflowError, ValueError) as error:
        raise ValueFault("out_of_range", "the time is not within the years 1 to 9999 in UTC") from error


def _datetime_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="DateTime", encode=_encode_datetime, decode=_decode_datetime)


def _duration_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_duration(value: Any) -> timedelta:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueFault(
                "invalid", "this field takes an ISO 8601 duration of days to seconds, like P1DT2H3M4.5S"
            )
        sign, days, hours, minutes, seconds, fraction = match.groups("0")
        if fraction[6:].strip("0"):
            raise ValueFault("invalid", "the duration has more than six decimals")
        whole = int(days) * _DAY + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        microseconds = whole * 1_000_000 + int(fraction[:6].ljust(6, "0"))
        if microseconds >= 2**63 - 1:
            raise ValueFault("out_of_range", "the duration is too long")
        return timedelta(microseconds=-microseconds if sign == "-" else microseconds)

    return FieldCodec(type="Duration", encode=duration_iso_string, decode=decode_duration)


def _decode_uuid(value: Any) -> uuid.UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueFault("invalid", "this field takes a UUID in its hyphenated form")
    return uuid.UUID(value)


def _uuid_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="UUID", encode=str, decode=_decode_uuid)


def _binary_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_binary(value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a string of base64")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueFault("invalid", "the string is not base64") from error
        if base64.b64encode(data).decode("ascii") != value:
            raise ValueFault("invalid", "the string is not base64 in its canonical form")
        if field.max_length is not None and len(data) > field.max_length:
            raise ValueFault(
                "too_long", f"the value has {len(data)} bytes, the field takes {field.max_length}"
            )
        return data

    return FieldCodec(
        type="Binary",
        encode=lambda value: base64.b64encode(bytes(value)).decode("ascii"),
        decode=decode_binary,
    )


def _json_codec(field: "models.JSONField[Any, Any]") -> FieldCodec:
    def encode_json(value: Any) -> Any:
        return _plain_json(
            value if field.encoder is None else json.loads(json.dumps(value, cls=field.encoder))
        )

    def decode_json(value: Any) -> Any:
        _check_json(value)
        value = _plain_json(value)
        return value if field.decoder is None else json.loads(json.dumps(value), cls=field.decoder)

    def restore_json(value: Any) -> Any:
        return value if field.decoder is None else json.loads(json.dumps(value), cls=field.decoder)

    return FieldCodec(type="JSON", encode=encode_json, decode=decode_json, restore=restore_json)


def _plain_json(value: Any) -> Any:
    """The value with its numbers as the database gives them back: no negative zero, nor large floats on PostgreSQL."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        as_integer = connection.vendor == "postgresql" and abs(value) >= _JSON_INTEGERS_FROM
        return int(Decimal(repr(value))) if as_integer else value + 0.0
    if isinstance(value, dict):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(item) for item in value]
    return value


def _check_json(value: Any) -> None:
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_JSON_INTEGER_DIGITS:
        raise ValueFault("out_of_range", f"an integer has more than {MAX_JSON_INTEGER_DIGITS} digits")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            _check_json(item)
    elif isinstance(value, list):
        for item in value:
            _check_json(item)


def _ip_codec(field: "models.GenericIPAddressField[Any, Any]") -> FieldCodec:
    def decode_ip(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes an IP address as a string")
        try:
            address = ipaddress.ip_address(value)
        except ValueError as error:
            raise ValueFault("invalid", "this is not an IP address") from error
        if "%" in value:
            raise ValueFault("invalid", "an address with a zone cannot be stored")
        # As the field itself writes it: ::ffff:1.2.3.4 keeps its dots, unless the field unpacks it.
        return clean_ipv6_address(str(address), field.unpack_ipv4) if address.version == 6 else value

    return FieldCodec(type="GenericIPAddress", encode=str, decode=decode_ip, restore=str)


def _file_codec(field: "models.FileField") -> FieldCodec:
    def encode_file(value: Any) -> Any:
        if not value:
            return None
        try:
            size = value.size
        except (FileNotFoundError, OSError):
            return {"name": value.name, "size": None, "sha256": None, "url": value.url}
        return {
            "name": value.name,
            "size": size,
            "sha256": _file_digest(field, value.name, size),
            "url": value.url,
        }

    def decode_file(value: Any) -> Any:
        raise ValueFault("forbidden_field", "files are not pushed with rows")

    return FieldCodec(
        type="File", encode=encode_file, decode=decode_file, restore=lambda value: value["name"]
    )


@functools.lru_cache(maxsize=4096)
def _file_digest(field: "models.FileField", name: str, size: int) -> str:
    with field.storage.open(name, "rb") as content:
        digest = hashlib.sha256()
        for piece in iter(lambda: content.read(1024 * 1024), b""):
            digest.update(piece)
    return digest.hexdigest()


def _relation_codec(field: "models.ForeignKey[Any, Any]") -> FieldCodec:
    target = target_key_field(field)

    def decode_relation(value: Any) -> Any:
        try:
            return decode_key(target, value)
        except ValueFault as fault:
            raise ValueFault("invalid", f"this field takes the key of a row: {fault.detail}") from fault

    return FieldCodec(
        type="ForeignKey",
        encode=lambda value: encode_key(target, value),
        decode=decode_relation,
        restore=lambda value: restore(target, value),
    )


def _set_codec(field: Any) -> FieldCodec:
    key = field.related_model._meta.pk

    def decode_elements(value: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValueFault("invalid", "this field takes an array of keys")
        try:
            return sorted({encode_key(key, decode_key(key, element)) for element in value})
        except ValueFault as fault:
            raise ValueFault("invalid", f"this field takes an array of keys: {fault.detail}") from fault

    return FieldCodec(type="ManyToMany", encode=sorted, decode=decode_elements)


def _generated_codec(field: Any) -> FieldCodec:
    return codec_for(field.output_field)


_FACTORIES: Mapping[type, Callable[[Any], FieldCodec]] = {
    models.CharField: _text_codec,
    models.TextField: _text_codec,
    models.FilePathField: _text_codec,
    models.IntegerField: _integer_codec,
    models.BigIntegerField: _big_integer_codec,
    models.PositiveBigIntegerField: _big_integer_codec,
    models.BigAutoField: _big_integer_codec,
    models.FloatField: _float_codec,
    models.BooleanField: _boolean_codec,
    models.DecimalField: _decimal_codec,
    models.DateTimeField: _datetime_codec,
    models.DateField: _date_codec,
    models.TimeField: _time_codec,
    models.DurationField: _duration_codec,
    models.UUIDField: _uuid_codec,
    models.BinaryField: _binary_codec,
    models.JSONField: _json_codec,
    models.GenericIPAddressField: _ip_codec,
    models.FileField: _file_codec,
    models.ForeignKey: _relation_codec,
    models.ManyToManyField: _set_codec,
    models.GeneratedField: _generated_codec,
}
