"""What can be wrong with a request, a row or a snapshot, as data with stable codes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why one change was not simply applied. ``detail`` never repeats values of rows the client may not see."""

    code: str
    detail: str
    field: str | None = None

    def as_wire(self) -> dict[str, str]:
        wire = {"code": self.code, "detail": self.detail}
        if self.field is not None:
            wire["field"] = self.field
        return wire


class ProtocolError(Exception):
    """A fault of the envelope: the request as a whole is answered with a 4xx problem (RFC 9457)."""

    status = 400
    code = "malformed"

    def __init__(self, detail: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class Malformed(ProtocolError):
    """Not JSON as RFC 8259 has it, or not of the shape that the protocol names."""


class TooLarge(ProtocolError):
    """More than a limit allows."""

    status = 413
    code = "too_large"


class InvalidSnapshot(ProtocolError):
    """A snapshot broken as a whole. A fault of one of its rows is an item of the ledger instead."""

    status = 422
    code = "invalid_snapshot"
