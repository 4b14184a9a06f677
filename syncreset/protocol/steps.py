"""Values that say what to do with a value, not what it shall be: a counter's delta, a set's elements; and their sums.

An amount is ``{"delta": n}`` or ``{"add": [...], "remove": [...]}``. Those of integers are numbers, those of big
integers and decimals strings of digits, as the fields' values are on the wire; all sums are exact. A step is an amount
with an id, under which it counts once, whatever road it takes and however often.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from .changes import Value
from .errors import Malformed

# The default context has 28 digits, and a decimal field may have more.
_EXACT = Context(prec=2000)
_DIGITS = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
#: More than any field holds; what is longer is no number to add.
_MOST_DIGITS = 1000
#: The longest id of a step.
ID_LENGTH = 64
#: More steps than this are in no field of a change.
MOST_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was done to a counter or a set at once, under an id that nothing else has ever had.

    ``sent``: it was pushed, and may have arrived. ``at`` is the server's clock (µs) with which it was answered, None
    where it was not.
    """

    id: str
    amount: Value
    sent: bool = False
    at: int | None = None

    def as_wire(self) -> dict[str, Any]:
        """The step as an object of the protocol."""
        wire: dict[str, Any] = {"id": self.id, **self.amount}
        wire |= {"sent": True} if self.sent else {}
        return wire if self.at is None else {**wire, "at": self.at}


def steps_value(steps: Iterable[Step], **value: Value) -> dict[str, Any]:
    """The value of a field that says by which steps it was changed; and of a row that the server lacks, to what."""
    return {"steps": [step.as_wire() for step in steps], **value}


def is_steps(value: Value) -> bool:
    """Whether a value has the form ``{"steps": [...]}``, with or without a ``value`` beside them."""
    return isinstance(value, dict) and "steps" in value and value.keys() <= {"steps", "value"}


def parse_steps(value: Mapping[str, Any], *, most: int | None = MOST_STEPS) -> tuple[Step, ...]:
    """The steps of such a value, ``most`` at the most. Raises Malformed."""
    raw = value["steps"]
    if not isinstance(raw, list) or (most is not None and len(raw) > most):
        raise Malformed("the steps are not an array" + ("" if most is None else f" of at most {most}"))
    steps = tuple(map(parse_step, raw))
    if len({step.id for step in steps}) < len(steps):
        raise Malformed("two steps have one id")
    return steps


def parse_step(raw: object) -> Step:
    """A step from its wire object. Raises Malformed."""
    if not isinstance(raw, dict):
        raise Malformed("a step is not an object")
    identity, sent, at = raw.get("id"), raw.get("sent", False), raw.get("at")
    if not isinstance(identity, str) or not is_id(identity):
        raise Malformed(f"a step has no id, which is a text of at most {ID_LENGTH} characters")
    if not isinstance(sent, bool) or not (at is None or (type(at) is int and abs(at) < 2**63)):
        raise Malformed("a step's sent is neither true nor false, or its at is no time")
    amount = {name: value for name, value in raw.items() if name not in ("id", "sent", "at")}
    if not is_delta(amount):
        amount = _parse_elements(amount)
    return Step(id=identity, amount=amount, sent=sent, at=at)


def is_id(text: str) -> bool:
    """Whether a text can be the id of a step, which any database holds."""
    return 0 < len(text) <= ID_LENGTH and text.isprintable()


def _parse_elements(raw: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of a set's step both members, as sorted lists of strings that have nothing in common."""
    if not is_set_change(raw):
        raise Malformed("a step has neither a delta nor elements that are added and removed")
    amount = {}
    for name in ("add", "remove"):
        elements = raw.get(name, [])
        if not isinstance(elements, list) or not all(isinstance(element, str) for element in elements):
            raise Malformed(f"a step's {name} is not an array of strings")
        amount[name] = sorted(set(elements))
    if not set(amount["add"]).isdisjoint(amount["remove"]):
        raise Malformed("an element of a step is both added and removed")
    return amount


def sum_of(steps: Iterable[Step]) -> Value | None:
    """What several steps of one field come to where they are taken in their order; None for none.

    Of an element that is added and removed the last step counts, as it would if each were taken alone.
    """
    amounts = [step.amount for step in steps]
    if not amounts:
        return None
    if is_delta(amounts[0]):
        total = amounts[0]["delta"]
        for amount in amounts[1:]:
            total = add_delta(total, amount)
        return {"delta": total}
    return _elements_done(amounts)


def take_steps_back(value: Value, steps: Sequence[Step]) -> Value:
    """The value before steps that led to this one, in their order: the last is taken back first."""
    if not steps:
        return value
    if is_delta(steps[0].amount):
        return take_step_back(value, sum_of(steps))
    return change_set(value, _elements_done(_inverse(step.amount) for step in reversed(steps)))


def _elements_done(amounts: Iterable[Value]) -> Value:
    """What is done to elements by several amounts, the last of which counts."""
    last: dict[str, str] = {}
    for amount in amounts:
        for done in ("add", "remove"):
            last.update(dict.fromkeys(amount.get(done, ()), done))
    return {
        done: sorted(element for element, what in last.items() if what == done) for done in ("add", "remove")
    }


def nothing(like: Value) -> Value:
    """The amount of this kind that changes nothing."""
    return without_step(like, like)


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


def counter_step(old: Value, new: Value) -> Value | None:
    """The delta from one value of a counter to another, or None where there is none: to null, or from no number.

    From null it is counted as from zero.
    """
    if _is_integer(new) and (old is None or _is_integer(old)):
        return {"delta": new - (old or 0)}
    if is_number_text(new) and (old is None or is_number_text(old)):
        return {"delta": format(_EXACT.subtract(Decimal(new), Decimal(old or "0")), "f")}
    return None


def set_step(old: Value, new: Value) -> Value | None:
    """What was added and removed from one array of elements to another, or None where one of them is none."""
    if not (old is None or _is_set(old)) or not _is_set(new):
        return None
    before, after = set(old or ()), set(new)
    return {"add": sorted(after - before), "remove": sorted(before - after)}


def add_step(value: Value, step: Value) -> Value:
    """The value after a step of either kind."""
    return add_delta(value, step) if is_delta(step) else change_set(value, step)


def fits(amount: Value, value: Value) -> bool:
    """Whether an amount is of the form of a value, so that it can be added to it or have led to it."""
    if not is_delta(amount):
        return _is_set(value)
    delta = amount["delta"]
    if isinstance(delta, str):
        return is_number_text(delta) and is_number_text(value)
    return _is_integer(delta) and _is_integer(value)


def take_step_back(value: Value, step: Value) -> Value:
    """The value before a step that led to this one."""
    return add_step(value, _inverse(step))


def with_step(first: Value, second: Value) -> Value:
    """Two steps of one kind as one: first the one, then the other."""
    if is_delta(first):
        return {"delta": add_delta(first["delta"], second)}
    adds, removes = _elements(first)
    more, fewer = _elements(second)
    return {
        "add": sorted((adds - fewer) | (more - removes)),
        "remove": sorted((removes - more) | (fewer - adds)),
    }


def without_step(whole: Value, first: Value) -> Value:
    """What is left of a step once its first part has been taken."""
    return with_step(_inverse(first), whole)


def moves(step: Value) -> bool:
    """Whether a step changes anything."""
    if is_delta(step):
        return Decimal(step["delta"]) != 0
    return any(_elements(step))


def is_number_text(value: Value) -> bool:
    """Whether a value is a string of digits, as big integers and decimals are on the wire."""
    return isinstance(value, str) and len(value) <= _MOST_DIGITS and _DIGITS.fullmatch(value) is not None


def _inverse(step: Value) -> Value:
    if is_delta(step):
        delta = step["delta"]
        return {"delta": format(_EXACT.minus(Decimal(delta)), "f") if isinstance(delta, str) else -delta}
    return {"add": step.get("remove", []), "remove": step.get("add", [])}


def _elements(step: Value) -> tuple[set[str], set[str]]:
    return set(step.get("add", ())), set(step.get("remove", ()))


def _is_integer(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_set(value: Value) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)
