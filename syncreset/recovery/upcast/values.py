"""Values of an older schema, and what was done to counters, in the form of the current one."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...protocol.changes import Value
from ...protocol.errors import Malformed
from ...protocol.snapshot.lines import FieldSteps
from ...protocol.steps import is_delta, is_steps, parse_steps, steps_value
from ...wire.fields.base import ValueFault
from ...wire.fields.codec import decode
from .plan import Conversion, Plan
from .register import Function

logger = logging.getLogger(__name__)


class CannotCarry(Exception):
    """A value has no place in the current schema. The message says why."""


def carried_value(plan: Plan, step: Conversion, value: Any, described: Mapping[str, Any]) -> Any:
    """The value in terms of the current schema. Raises CannotCarry."""
    if step.reason:
        raise CannotCarry(step.reason)
    counts = plan.model is not None and (step.target in plan.model.counters or step.target in plan.model.sets)
    if counts and step.kind != "upcast" and is_steps(value):
        return _carried_change(step, value, described)
    if step.convert is not None and (value is not None or step.kind == "upcast"):
        value = called(step.convert, value, described)
    if step.checked and step.field is not None:
        try:
            decode(step.field, value)
        except ValueFault as fault:
            raise CannotCarry(f"{step.target} cannot hold the value any more: {fault.detail}") from fault
    return value


def carried_steps(step: Conversion, made: FieldSteps, described: Mapping[str, Any]) -> FieldSteps:
    """What was done to a counter, in the form of its field's values of now. Raises CannotCarry.

    A function may give no such thing. What was counted long ago and cannot be carried is left out.
    """

    def carried(amount: Value) -> Value:
        if step.convert is None or not is_delta(amount):
            return amount
        return {"delta": called(step.convert, amount["delta"], described)}

    counted = []
    for each in made.counted:
        with suppress(CannotCarry):
            counted.append(replace(each, amount=carried(each.amount)))
    steps = tuple(replace(each, amount=carried(each.amount)) for each in made.steps)
    return FieldSteps(steps=steps, counted=tuple(counted))


def _carried_change(step: Conversion, value: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    """The steps in a change that was pushed, as those of a row. Raises CannotCarry."""
    try:
        made = carried_steps(step, FieldSteps(steps=parse_steps(value)), described)
    except Malformed as reason:
        raise CannotCarry(reason.detail) from reason
    given = value.get("value")
    if given is not None and step.convert is not None:
        given = called(step.convert, given, described)
    return steps_value(made.steps, **({"value": given} if "value" in value else {}))


def called(function: Function, value: Any, described: Mapping[str, Any]) -> Any:
    try:
        return function(value, described)
    except Exception as error:
        if not isinstance(error, ValueError):
            logger.warning("the upcaster of %s failed", described.get("name"), exc_info=True)
        raise CannotCarry(f"its function raised {type(error).__name__}: {str(error)[:200]}") from error
