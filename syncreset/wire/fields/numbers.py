"""Codecs of numbers and booleans."""

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

from django.db import connection, models
from django.db.backends.base.operations import BaseDatabaseOperations

from .base import FieldCodec, ValueFault

#: SQLite keeps decimals as binary64, which is exact to this many digits.
SQLITE_DECIMAL_DIGITS = 15
#: What a 64-bit float may be besides a number.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def _check_range(field: "models.Field[Any, Any]", value: int) -> int:
    # The ranges that every database has. SQLite's own are wider, and what only it can hold would not move elsewhere.
    low, high = BaseDatabaseOperations.integer_field_ranges[field.get_internal_type()]
    if not low <= value <= high:
        raise ValueFault("out_of_range", f"the number is not between {low} and {high}")
    return value


def integer_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_integer(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueFault("invalid", "this field takes an integer")
        return _check_range(field, value)

    return FieldCodec(type="Integer", encode=int, decode=decode_integer, restore=int)


def integer_text(field: "models.Field[Any, Any]") -> Callable[[Any], int]:
    def decode_integer_text(value: Any) -> int:
        if not isinstance(value, str) or not INTEGER.fullmatch(value) or value == "-0":
            raise ValueFault("invalid", "this field takes an integer in decimal digits, as a string")
        if len(value) > 20:
            raise ValueFault("out_of_range", "the number does not fit 64 bits")
        return _check_range(field, int(value))

    return decode_integer_text


def big_integer_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="BigInteger", encode=str, decode=integer_text(field), restore=int)


def float_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_float(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueFault("invalid", "this field takes a number")
        try:
            number = float(value) + 0.0
        except OverflowError as error:
            raise ValueFault("out_of_range", "the number does not fit a 64-bit float") from error
        if not math.isfinite(number):
            raise ValueFault("invalid", "this field takes a finite number")
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
        return NOT_FINITE[value] if isinstance(value, str) else float(value)

    return FieldCodec(type="Float", encode=encode_float, decode=decode_float, restore=restore_float)


def boolean_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_boolean(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueFault("invalid", "this field takes true or false")
        return value

    return FieldCodec(type="Boolean", encode=bool, decode=decode_boolean)


def decimal_codec(field: "models.DecimalField[Any, Any]") -> FieldCodec:
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
