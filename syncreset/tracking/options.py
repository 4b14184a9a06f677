"""How a tracked model is synced: what its inner class ``SyncMeta`` says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from django.db.models import Model
from django.utils.module_loading import import_string

from .register import registration_of

#: The policies for fields that client and server both changed; a function is one as well.
POLICIES = ("newest", "client", "server", "review")
ON_DELETE = ("keep", "delete", "review")

ConflictRule = str | Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """What ``SyncMeta`` may say.

    ``scope``: a foreign key of the model, or its primary key where each row is a scope of its own; None for everyone.
    ``read_only``: fields whose pushed values are refused. ``conflicts``: field name to policy, ``"*"`` for all others.
    ``on_delete``: whether an edited row survives a delete of the other side ("keep"), does not, or a person decides.
    ``counters``: integer and decimal fields whose deltas add up, whatever others did.
    ``can_write``: ``(user, row) -> bool``. ``recovery``: the strategy for this model's part of a snapshot.
    ``renamed``: what fields were called before, to what they are called now. ``renamed_from``: the labels that the
    model had before. Both let snapshots of older schemas be recovered.
    """

    scope: str | None = None
    read_only: tuple[str, ...] = ()
    conflicts: Mapping[str, ConflictRule] = field(default_factory=dict)
    on_delete: Literal["keep", "delete", "review"] = "keep"
    counters: tuple[str, ...] = ()
    can_write: Callable[[Any, Any], bool] | None = None
    recovery: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    renamed_from: tuple[str, ...] = ()


_KNOWN = frozenset(option.name for option in fields(SyncOptions))


def parse_options(model: type[Model]) -> SyncOptions:
    """The model's options. Dotted paths of functions are imported.

    Raises ImportError for a path that names nothing, TypeError or ValueError for a value of another shape. What is not
    known is left out here; the system checks report all of it.
    """
    given = {name: value for name, value in _attributes(model).items() if name in _KNOWN}
    for name in ("read_only", "counters"):
        if isinstance(given.get(name), str):
            raise TypeError(f"{name} is a text, not a list of field names")
        given[name] = tuple(given.get(name, ()))
    if "conflicts" in given:
        given["conflicts"] = {name: _policy(policy) for name, policy in dict(given["conflicts"]).items()}
    if isinstance(given.get("can_write"), str):
        given["can_write"] = import_string(given["can_write"])
    if "renamed" in given:
        given["renamed"] = dict(given["renamed"])
    if "renamed_from" in given:
        labels = given["renamed_from"]
        given["renamed_from"] = tuple(map(str.lower, [labels] if isinstance(labels, str) else labels))
    return SyncOptions(**given)


def unknown_attributes(model: type[Model]) -> list[str]:
    """What the model's ``SyncMeta`` says and nobody reads."""
    return sorted(_attributes(model).keys() - _KNOWN)


def _attributes(model: type[Model]) -> dict[str, Any]:
    registered = registration_of(model)
    if registered is not None:
        return {name: value for name, value in registered.items() if name != "fields"}
    declared = getattr(model, "SyncMeta", None)
    if declared is None:
        return {}
    names = {name for base in declared.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
    return {name: getattr(declared, name) for name in names}


def _policy(policy: ConflictRule) -> ConflictRule:
    if isinstance(policy, str) and "." in policy:
        return import_string(policy)  # type: ignore[no-any-return]
    return policy
