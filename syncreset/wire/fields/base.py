"""What a codec is, and what can be wrong with a value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...protocol.errors import Problem


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
