"""Models that cannot inherit and are tracked all the same, each with what its ``SyncMeta`` would say.

Needs no Django and no loaded apps, so that a project may register from ``models.py`` or ``AppConfig.ready()``.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.models import Model

_REGISTERED: "dict[type[Model], Mapping[str, Any]]" = {}


def register(model: "type[Model]", *, fields: Iterable[str], **options: Any) -> None:
    """Track a model as it is: nothing is added to its table, its rows' clocks live in their entries.

    Only ``fields`` are synced; of the others nothing is sent, accepted or kept in a tombstone. They must be named one
    by one. ``options`` are those of ``SyncMeta``. Call it in ``models.py`` or ``AppConfig.ready()``; the triggers come
    with the next ``migrate``.

    Raises TypeError for a model that is abstract or inherits `SyncTrackedModel`, and for fields that are no list of
    names; ValueError for a model that was registered otherwise before.
    """
    if isinstance(fields, str):
        raise TypeError("fields is a text, not a list of field names")
    concrete = model._meta.concrete_model
    if concrete is None or model._meta.abstract:
        raise TypeError(f"{model.__name__} is abstract: register the models that inherit it")
    if any(field.name == "field_timestamps" for field in concrete._meta.local_fields):
        raise TypeError(f"{model.__name__} inherits SyncTrackedModel: say in its SyncMeta how it is synced")
    said = {**options, "fields": tuple(fields)}
    if _REGISTERED.setdefault(concrete, said) != said:
        raise ValueError(f"{model.__name__} is registered already, with other options")


def registered_models() -> "tuple[type[Model], ...]":
    """The registered models, in the order of their registration."""
    return tuple(_REGISTERED)


def registration_of(model: "type[Model]") -> Mapping[str, Any] | None:
    """What was said of a model at its registration, ``fields`` included, or None for one that is not registered."""
    return _REGISTERED.get(model)
