"""Model fields and wire values: one typed codec for every concrete field type of Django, and the schema made of them.

Decoding is strict: what the database would change on its way in (rounded, cut, normalised to nothing) is refused with
a stable code instead. The wire forms are those of the protocol page, section "Values".
"""

import functools
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from .base import FieldCodec, ValueFault
from .documents import file_codec, json_codec
from .numbers import (
    INTEGER,
    big_integer_codec,
    boolean_codec,
    decimal_codec,
    float_codec,
    integer_codec,
    integer_text,
)
from .text import binary_codec, ip_codec, text_codec, uuid_codec
from .times import date_codec, datetime_codec, duration_codec, time_codec

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


def encode(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The wire value of a Python value as loaded from the database."""
    return None if value is None or isinstance(value, models.Value) else codec_for(field).encode(value)


def decode(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The Python value of a wire value. Raises ValueFault.

    What only a server writes it takes from nobody: a float that is no finite number, and JSON's null in a field that
    cannot be null.
    """
    if value is None:
        if field.null:
            return None
        raise ValueFault("null", "this field cannot be null")
    decoded = codec_for(field).decode(value)
    _validate(field, decoded)
    return decoded


def decode_delta(field: "models.Field[Any, Any]", value: Any) -> Any:
    """The step of a counter's delta in its canonical wire form, that of the field's values. Raises ValueFault.

    Only the step is judged. Whether the field can hold the sum is known when there is one.
    """
    if isinstance(field, models.DecimalField):
        return encode(field, codec_for(field).decode(value))
    as_text = codec_for(field).type == "BigInteger"
    if as_text and isinstance(value, str) and len(value) <= 20 and INTEGER.fullmatch(value) and value != "-0":
        return value
    if as_text or not isinstance(value, int) or isinstance(value, bool):
        raise ValueFault("invalid", "a counter's delta is an integer in the form of the field's values")
    if abs(value) >= 2**64:
        raise ValueFault("out_of_range", "the delta does not fit 64 bits")
    return value


def spelled_delta(field: "models.Field[Any, Any]", delta: int | str) -> int | str:
    """A delta as a number or in digits, as the values of the field are, whatever they were when it was counted."""
    if codec_for(field).type in ("BigInteger", "Decimal"):
        return str(delta)
    return delta if isinstance(delta, int) else int(Decimal(delta))


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
            return integer_text(field)(value)
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


def _factory(field: "models.Field[Any, Any]") -> Callable[[Any], FieldCodec] | None:
    return next((_FACTORIES[base] for base in type(field).__mro__ if base in _FACTORIES), None)


def relation_codec(field: "models.ForeignKey[Any, Any]") -> FieldCodec:
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


def set_codec(field: Any) -> FieldCodec:
    key = field.related_model._meta.pk

    def decode_elements(value: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValueFault("invalid", "this field takes an array of keys")
        try:
            return sorted({encode_key(key, decode_key(key, element)) for element in value})
        except ValueFault as fault:
            raise ValueFault("invalid", f"this field takes an array of keys: {fault.detail}") from fault

    return FieldCodec(type="ManyToMany", encode=sorted, decode=decode_elements)


def generated_codec(field: Any) -> FieldCodec:
    return codec_for(field.output_field)


_FACTORIES: Mapping[type, Callable[[Any], FieldCodec]] = {
    models.CharField: text_codec,
    models.TextField: text_codec,
    models.FilePathField: text_codec,
    models.IntegerField: integer_codec,
    models.BigIntegerField: big_integer_codec,
    models.PositiveBigIntegerField: big_integer_codec,
    models.BigAutoField: big_integer_codec,
    models.FloatField: float_codec,
    models.BooleanField: boolean_codec,
    models.DecimalField: decimal_codec,
    models.DateTimeField: datetime_codec,
    models.DateField: date_codec,
    models.TimeField: time_codec,
    models.DurationField: duration_codec,
    models.UUIDField: uuid_codec,
    models.BinaryField: binary_codec,
    models.JSONField: json_codec,
    models.GenericIPAddressField: ip_codec,
    models.FileField: file_codec,
    models.ForeignKey: relation_codec,
    models.ManyToManyField: set_codec,
    models.GeneratedField: generated_codec,
}
