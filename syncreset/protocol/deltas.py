"""Values that say what to do with the server's value, not what it shall be: a counter's delta, a set's elements."""

from collections.abc import Iterable
from decimal import Context, Decimal

from .changes import Value

__all__ = ["add_delta", "change_set", "is_delta", "is_set_change", "united"]

# The default context has 28 digits, and a decimal field may have more.
_EXACT = Context(prec=2000)


def is_delta(value: Value) -> bool:
    """Whether a value has the form ``{"delta": n}``."""
    return isinstance(value, dict) and value.keys() == {"delta"}


def add_delta(value: Value, delta: Value) -> Value:
    """The wire value of a counter, ``value``, after ``{"delta": n}``. A counter that is null counts as zero.

    Integers are numbers on the wire, big integers and decimals strings; the sum is what the delta is.
    """
    step = delta["delta"]
    if value is None:
        return step
    if isinstance(step, str):
        return format(_EXACT.add(Decimal(value), Decimal(step)), "f")
    return value + step


def is_set_change(value: Value) -> bool:
    """Whether a value has the form ``{"add": [...], "remove": [...]}``, of which one may be left out."""
    return isinstance(value, dict) and bool(value) and value.keys() <= {"add", "remove"}


def change_set(elements: Iterable[str] | None, change: Value) -> list[str]:
    """The sorted elements of a set after ``{"add": [...], "remove": [...]}``."""
    return sorted({*(elements or ()), *change.get("add", ())} - {*change.get("remove", ())})


def united(one: Iterable[str] | None, other: Iterable[str] | None) -> list[str]:
    """The sorted elements of both sets."""
    return sorted({*(one or ()), *(other or ())})
