"""Wire values, SQL values and Python values of one field, and the ways between them.

A value that came by the wire goes back exactly; a value that plain SQL wrote and the field's type does not have is
sent as it is, so that the server can say what is wrong with it.
"""

import base64
import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from ...protocol.steps import counter_step, set_step
from ...protocol.strict_json import dumps
from ..errors import ProtocolViolation

Storage = Literal["text", "integer", "boolean", "real", "binary", "json"]
Stepping = Literal["counter", "set"]
#: What a float may be besides a number. It is stored as the text that it is on the wire: SQLite has no NaN.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
SqlValue = str | int | float | bytes | None

_STORAGE: dict[str, Storage] = {
    "Integer": "integer",
    "Boolean": "boolean",
    "Float": "real",
    "Binary": "binary",
    "JSON": "json",
    "File": "json",
    "ManyToMany": "json",
    "BigInteger": "text",
    "Char": "text",
    "Date": "text",
    "DateTime": "text",
    "Decimal": "text",
    "Duration": "text",
    "ForeignKey": "text",
    "GenericIPAddress": "text",
    "Text": "text",
    "Time": "text",
    "UUID": "text",
}


def storage_of(field_type: str) -> Storage:
    """How values of a field type of the schema are stored. A type of a later server is kept as JSON, which is exact."""
    return _STORAGE.get(field_type, "json")


def stepping_of(field_type: str, *, counter: bool) -> Stepping | None:
    """Whether writes of a field add up: those of counters as deltas, those of sets as elements."""
    if field_type == "ManyToMany":
        return "set"
    return "counter" if counter else None


def step_between(stepping: Stepping | None, old: Any, new: Any) -> Any | None:
    """The step from one wire value of a field to another, or None where only the new value can say what is meant."""
    if stepping is None:
        return None
    return counter_step(old, new) if stepping == "counter" else set_step(old, new)


def to_sql(storage: Storage, value: Any) -> SqlValue:
    """The SQL value of a wire value. Raises ProtocolViolation for a value that the field's type cannot have."""
    if value is None:
        return None
    if storage == "json":
        return dumps(value)
    if storage == "boolean" and isinstance(value, bool):
        return int(value)
    if storage == "integer" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if storage == "real" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if storage in ("text", "binary") and isinstance(value, str):
        return value
    if storage == "real" and value in NOT_FINITE:
        return str(value)
    raise ProtocolViolation(f"{dumps(value)[:80]} is not a value of a field stored as {storage}")


def to_wire(storage: Storage, value: SqlValue) -> Any:
    """The wire value of what stands in the store."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if storage == "json":
        return _parsed(value)
    if storage == "boolean" and value in (0, 1) and isinstance(value, int):
        return value == 1
    if storage == "real" and isinstance(value, int):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return _not_finite(value)
    if storage in ("text", "binary") and not isinstance(value, str):
        return str(value)
    return value


def from_python(storage: Storage, value: Any) -> Any:
    """The wire value of what an app hands over: wire values themselves, and the Python types that mean them.

    Raises TypeError for what has no wire form, ValueError for text that UTF-8 cannot carry and moments without a zone.
    """
    if storage == "json":
        return json.loads(dumps(value))
    if value is None:
        return None
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Decimal):
        value = format(value, "f") if storage == "text" else float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if storage == "text" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if storage == "boolean" and value in (0, 1):
        return bool(value)
    if storage == "real" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if storage == "real" and isinstance(value, float) and not math.isfinite(value):
        return _not_finite(value)
    if storage == "real" and value in NOT_FINITE:
        return value
    if isinstance(value, str):
        value.encode("utf-8")
    return _checked(storage, value)


def _checked(storage: Storage, value: Any) -> Any:
    expected: Mapping[Storage, type] = {"integer": int, "boolean": bool, "real": float}
    wanted = expected.get(storage, str)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not a value for a field stored as {storage}")
    return value


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _parsed(value: str | int | float) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _duration(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"
