"""Which models are tracked, in which order they depend on each other, and which scope their rows belong to."""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import Field, ForeignKey, ManyToManyField, Model

from .fields import CLOCK_FIELDS
from .models import SyncTrackedModel
from .options import SyncOptions, parse_options
from .register import registered_models, registration_of

#: The scope of rows that belong to everyone who may sync.
EVERYONE = "*"


def tracked_models() -> list[type[Model]]:
    """All tracked models that have a table of their own, ordered by label."""
    return list(_tracked(_known()))


def is_tracked(model: type[Model]) -> bool:
    """Whether writes to the model's table are tracked; of a proxy, whether those to its concrete model's are."""
    return _concrete(model) in _tracked_set(_known())


def tracked_by_label(label: str) -> type[Model] | None:
    """The tracked model of a wire name such as ``shelters.dog``."""
    return _labels(_known()).get(label)


def dependency_order() -> list[type[Model]]:
    """The tracked models, each after those that its foreign keys point to.

    A cycle is entered where every foreign key that still waits may be null, else at the first label; references of a
    model to itself do not count.
    """
    return list(_ordered(_known()))


@cache
def options_for(model: type[Model]) -> SyncOptions:
    """What the model's ``SyncMeta`` says."""
    return parse_options(_concrete(model))


@cache
def synced_fields(model: type[Model]) -> tuple["Field[Any, Any]", ...]:
    """The concrete fields that travel: all but the primary key and the two clocks, or those that were registered."""
    concrete = _concrete(model)
    registered = registration_of(concrete)
    return tuple(
        field
        for field in concrete._meta.concrete_fields
        if not field.primary_key
        and (field.name not in CLOCK_FIELDS if registered is None else field.name in registered["fields"])
    )


@cache
def many_to_many_fields(model: type[Model]) -> "tuple[ManyToManyField[Any, Any], ...]":
    """The many-to-many fields that travel as sets of keys: those whose table Django makes by itself.

    A table that a model of the project describes (``through``) is tracked as that model is, or not at all.
    """
    concrete = _concrete(model)
    registered = registration_of(concrete)
    return tuple(
        field
        for field in concrete._meta.local_many_to_many
        if _through(field)._meta.auto_created and (registered is None or field.name in registered["fields"])
    )


def keeps_own_clocks(model: type[Model]) -> bool:
    """Whether the model's rows hold their clocks themselves. Those of a registered model are in the rows' entries."""
    return issubclass(model, SyncTrackedModel)


def scope_field(model: type[Model]) -> "Field[Any, Any] | None":
    """The field whose value says which scope a row is in; None where rows belong to everyone."""
    scope = options_for(model).scope
    if scope is None:
        return None
    field = _concrete(model)._meta.get_field(scope)
    if not isinstance(field, Field):
        raise TypeError(f"{model._meta.label}.{scope} has no column")
    return field


def scope_model(model: type[Model]) -> type[Model] | None:
    """The model whose rows are the scopes of this model's rows; None where rows belong to everyone."""
    field = scope_field(model)
    if field is None:
        return None
    return _concrete(field.related_model) if isinstance(field, ForeignKey) else _concrete(model)


def scope_key(model: type[Model], wire_pk: str) -> str:
    """The key of the scope that is a row of ``model``: ``shelters.shelter:0190…``. An empty key is held by nobody."""
    return f"{_concrete(model)._meta.label_lower}:{wire_pk}"


def foreign_keys(model: type[Model]) -> tuple["ForeignKey[Any, Any]", ...]:
    """The model's foreign keys, one-to-one relations among them."""
    return tuple(field for field in model._meta.concrete_fields if isinstance(field, ForeignKey))


class _Known(NamedTuple):
    """Every model of the installed apps, and those among them that were registered."""

    models: tuple[type[Model], ...]
    registered: tuple[type[Model], ...]


def _known() -> _Known:
    # The models themselves are the cache's key, so that another set of installed apps never meets an old answer.
    return _Known(models=tuple(apps.get_models()), registered=registered_models())


@lru_cache(maxsize=8)
def _tracked(known: _Known) -> tuple[type[Model], ...]:
    return tuple(
        sorted((model for model in known.models if _has_tracked_table(model, known.registered)), key=_label)
    )


@lru_cache(maxsize=8)
def _tracked_set(known: _Known) -> frozenset[type[Model]]:
    return frozenset(_tracked(known))


@lru_cache(maxsize=8)
def _labels(known: _Known) -> dict[str, type[Model]]:
    return {_label(model): model for model in _tracked(known)}


@lru_cache(maxsize=8)
def _ordered(known: _Known) -> tuple[type[Model], ...]:
    waiting = {model: dict(_parents(model, _tracked(known))) for model in _tracked(known)}
    ordered: list[type[Model]] = []
    while waiting:
        chosen = _next_of(waiting)
        del waiting[chosen]
        for parents in waiting.values():
            parents.pop(chosen, None)
        ordered.append(chosen)
    return tuple(ordered)


def _parents(child: type[Model], tracked: Iterable[type[Model]]) -> Iterable[tuple[type[Model], bool]]:
    """The tracked models that the child points to, with whether it must: no null allowed."""
    required: dict[type[Model], bool] = {}
    for key in foreign_keys(child):
        parent = _concrete(key.related_model)
        if parent is not child and parent in tracked:
            required[parent] = required.get(parent, False) or not key.null
    for field in many_to_many_fields(child):
        parent = _concrete(field.related_model)
        if parent is not child and parent in tracked:
            required.setdefault(parent, False)
    return required.items()


def _next_of(waiting: dict[type[Model], dict[type[Model], bool]]) -> type[Model]:
    by_label = sorted(waiting, key=_label)
    free = (model for model in by_label if not waiting[model])
    nullable = (model for model in by_label if not any(waiting[model].values()))
    return next(free, None) or next(nullable, None) or by_label[0]


def _has_tracked_table(model: type[Model], registered: tuple[type[Model], ...]) -> bool:
    meta = model._meta
    own_table = bool(meta.managed) and not meta.proxy and not meta.parents
    return own_table and (issubclass(model, SyncTrackedModel) or model in registered)


def _through(field: Any) -> type[Model]:
    through: type[Model] = field.remote_field.through
    return through


def _concrete(model: Any) -> type[Model]:
    concrete: type[Model] | None = model._meta.concrete_model
    return model if concrete is None else concrete


def _label(model: type[Model]) -> str:
    return model._meta.label_lower
