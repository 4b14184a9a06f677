"""Values that say what to do with the server's value instead of what it shall be: a counter's delta."""

from decimal import Context, Decimal

from .changes import Value

__all__ = ["add_delta", "is_delta"]

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
