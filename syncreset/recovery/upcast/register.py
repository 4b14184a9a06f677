"""The functions that projects register with ``upcast``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

#: From a wire value and the description of the field that it is of (protocol, "GET /schema") to the new wire value.
Function = Callable[[Any, Mapping[str, Any]], Any]
F = TypeVar("F", bound=Function)


@dataclass(frozen=True, kw_only=True)
class RegisteredUpcaster:
    """A function for a field of now: what turns old values into its own. ``source``: the old field, if it says so."""

    model: str
    field: str
    source: str | None
    function: Function


_registered: dict[tuple[str, str], RegisteredUpcaster] = {}


def upcast(model: str, field: str, *, source: str | None = None) -> Callable[[F], F]:
    """Register a function ``(old wire value, old field description) -> new wire value`` for a field as it is now.

    It is called for each value of a snapshot whose schema described the field otherwise: by another name, type, length
    or as nullable. ``source`` names the old field where it is neither called so nor renamed by ``SyncMeta.renamed``;
    several fields may have one source. Naming the model's primary key turns old keys into new ones, also in relations
    to the model. A function that raises leaves the value behind, parked with what was raised. Put the functions into
    a module ``upcasters`` of any installed app: it is imported when Django starts.
    """

    def register(function: F) -> F:
        entry = RegisteredUpcaster(model=model.lower(), field=field, source=source, function=function)
        _registered[entry.model, field] = entry
        return function

    return register


def upcaster_of(model: str, field: str) -> RegisteredUpcaster | None:
    """The function registered for a field of now, or None."""
    return _registered.get((model, field))


def upcasters() -> list[RegisteredUpcaster]:
    """All registered functions, ordered by model and field."""
    return [_registered[key] for key in sorted(_registered)]
