"""JSON as RFC 8259 has it: no duplicate keys, no NaN, no number that overflows, no bottomless nesting."""

import json
import math
from typing import Any

from .errors import Malformed

MAX_DEPTH = 64


def loads(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a UTF-8 JSON text.

    Raises Malformed for anything that two parsers might read differently: invalid UTF-8, duplicate keys, the
    literals NaN and Infinity, floats beyond the range of binary64, integers of more than 4,300 digits, and
    nesting deeper than ``max_depth``.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the text is not valid UTF-8 at byte {error.start}") from error
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except RecursionError as error:
        raise Malformed(f"the JSON is nested deeper than {max_depth} levels") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        raise Malformed(f"not JSON that can be read: {str(error)[:200]}") from error
    _check_depth(value, max_depth)
    return value


def dumps(value: Any) -> str:
    """Compact JSON, pure ASCII, so that any text (also with lone surrogates or NUL) can be stored anywhere."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed(f"the key {key[:100]!a} stands twice in one object")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Any:
    raise Malformed(f"{name} is not a JSON value")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Malformed(f"the number {digits[:40]} is out of range")
    return value


def _check_depth(value: Any, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = []
        for container in containers:
            level.extend(container.values() if isinstance(container, dict) else container)
    raise Malformed(f"the JSON is nested deeper than {max_depth} levels")
