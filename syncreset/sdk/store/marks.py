"""What is known of a row beside its values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...protocol.changes import ROW_CLOCK
from .faults import DamagedValue, loaded

#: The base of a field of which it is not known what the server had.
UNKNOWN = -1


@dataclass(kw_only=True)
class Marks:
    """What is known of one row beside its values. Times in µs; see ``tables`` for the members."""

    updated: int = 0
    clocks: dict[str, int] = field(default_factory=dict)
    base: dict[str, int] | None = field(default_factory=dict)
    local: dict[str, int] = field(default_factory=dict)
    known: int | None = None
    origin: dict[str, list[Any]] = field(default_factory=dict)

    def clock(self, name: str) -> int:
        """The server's clock of a field."""
        return self.clocks.get(name, self.clocks.get(ROW_CLOCK, 0))

    def written(self, name: str) -> int:
        """When a field was last written here; 0 where nothing of it waits to be sent."""
        return self.local.get(name, self.local.get(ROW_CLOCK, 0))

    @property
    def pending(self) -> bool:
        return self.base is None or bool(self.base)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """A row that is gone: deleted here and not yet acknowledged, or deleted on the server (``pulled``).

    ``base`` is the row's ``updated`` as known, ``clocks`` the times of its fields as known or written here, ``scope``
    the value of the field that said its scope, ``checkpoint`` the one that the store held when the row was deleted.
    """

    at: int
    base: int | None
    pulled: bool
    clocks: Mapping[str, int] = field(default_factory=dict)
    scope: str | None = None
    checkpoint: str | None = None


def marks_of(row: tuple[Any, ...]) -> Marks:
    updated, clocks, base, local, known, origin = row
    return Marks(
        updated=_time(updated),
        clocks=_members(clocks),
        base=None if base is None else _members(base),
        local=_members(local),
        known=known,
        origin=_members(origin),
    )


def deletion_of(row: tuple[Any, ...]) -> Deletion:
    at, base, pulled, clocks, scope, checkpoint = row
    return Deletion(
        at=_time(at),
        base=base,
        pulled=bool(pulled),
        clocks=_members(clocks),
        scope=scope,
        checkpoint=checkpoint,
    )


def _members(text: Any) -> dict[str, Any]:
    value = loaded(text)
    if not isinstance(value, dict):
        raise DamagedValue("what is known of a row cannot be read")
    return value


def _time(value: Any) -> int:
    if not isinstance(value, int):
        raise DamagedValue("the time of a row cannot be read")
    return value
