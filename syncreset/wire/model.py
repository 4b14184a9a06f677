"""A tracked model as the protocol has it: everything that a step needs to know of a model, asked of one object."""

from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import Any

from django.db import models

from ..protocol.changes import same
from ..tracking import registry
from ..tracking.fields import CLOCK_FIELDS
from ..tracking.options import SyncOptions
from .fields.base import ValueFault
from .fields.codec import decode_key, encode, encode_key, is_server_computed


class WireModel:
    """One tracked model. There is one object per model, so that it can be a key and be compared."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model

    def __repr__(self) -> str:
        return f"<WireModel {self.label}>"

    @cached_property
    def label(self) -> str:
        """Its name on the wire, such as ``shelters.dog``."""
        return self.model._meta.label_lower

    @property
    def options(self) -> SyncOptions:
        """What its ``SyncMeta`` says."""
        return registry.options_for(self.model)

    @cached_property
    def key(self) -> "models.Field[Any, Any]":
        """Its primary key."""
        return self.model._meta.pk

    @cached_property
    def columns(self) -> Mapping[str, "models.Field[Any, Any]"]:
        """The fields that travel and stand in its table, by name."""
        return {field.name: field for field in registry.synced_fields(self.model)}

    @cached_property
    def server_numbered(self) -> bool:
        """Whether the server's database gives the keys, so that no client can make a row."""
        return self.model._meta.auto_field is not None

    @cached_property
    def sets(self) -> Mapping[str, "models.ManyToManyField[Any, Any]"]:
        """The many-to-many fields that travel, by name."""
        return {field.name: field for field in registry.many_to_many_fields(self.model)}

    @cached_property
    def fields(self) -> Mapping[str, "models.Field[Any, Any]"]:
        """All fields that travel, by name."""
        return {**self.columns, **self.sets}

    @property
    def counters(self) -> frozenset[str]:
        """The fields whose steps add up."""
        return frozenset(self.options.counters)

    @property
    def read_only(self) -> frozenset[str]:
        """The fields that no client may set."""
        return frozenset(self.options.read_only)

    @cached_property
    def server_computed(self) -> frozenset[str]:
        """The fields whose values only the server can know."""
        return frozenset(name for name, field in self.columns.items() if is_server_computed(field))

    @cached_property
    def generated(self) -> frozenset[str]:
        """The fields that the database computes from others."""
        return frozenset(name for name, field in self.columns.items() if getattr(field, "generated", False))

    @cached_property
    def files(self) -> frozenset[str]:
        """The fields that name a file."""
        return frozenset(name for name, field in self.columns.items() if isinstance(field, models.FileField))

    @property
    def required(self) -> list[str]:
        """The fields that a client's new row must have a value for, since they have none of their own."""
        return [
            name
            for name, field in self.columns.items()
            if name not in self.server_computed and name not in self.read_only and not _has_value(field)
        ]

    @property
    def needs_unsynced_fields(self) -> bool:
        """Whether a new row needs values of fields that are not synced, so that no change can make one."""
        return any(
            not field.primary_key
            and field.name not in self.columns
            and field.name not in CLOCK_FIELDS
            and not is_server_computed(field)
            and not _has_value(field)
            and not (field.blank and field.empty_strings_allowed)
            for field in self.model._meta.concrete_fields
        )

    @property
    def keeps_own_clocks(self) -> bool:
        """Whether its rows hold their clocks themselves, or their entries do."""
        return registry.keeps_own_clocks(self.model)

    @property
    def scope(self) -> "models.Field[Any, Any] | None":
        """The field whose value says which scope a row is in; None where rows belong to everyone."""
        return registry.scope_field(self.model)

    @property
    def owner(self) -> "WireModel | None":
        """The model whose rows are the scopes of this model's rows; None where rows belong to everyone."""
        owner = registry.scope_model(self.model)
        return None if owner is None else wire_model(owner)

    @property
    def rows(self) -> "models.QuerySet[Any]":
        """All rows, whoever may see them."""
        return self.model._base_manager.all()

    def is_unset(self, name: str, value: Any, held: Mapping[str, Any] | None = None) -> bool:
        """Whether a value is what a new row has of a field that nobody sets: null, the default, or what it ``held``."""
        if value is None or (held is not None and name in held and same(value, held[name])):
            return True
        if name in self.sets:
            return same(value, [])
        field = self.columns[name]
        return field.has_default() and same(value, encode(field, field.get_default()))

    def permission(self, action: str) -> str:
        """The name of Django's permission to ``add``, ``change``, ``delete`` or ``view`` rows."""
        return f"{self.model._meta.app_label}.{action}_{self.model._meta.model_name}"

    def field(self, name: str) -> "models.Field[Any, Any]":
        """A field of the model by name, synced or not. Raises FieldDoesNotExist."""
        found: Any = self.model._meta.get_field(name)
        return found  # type: ignore[no-any-return]

    def key_text(self, key: Any) -> str:
        """A primary key on the wire."""
        return encode_key(self.key, key)

    def key_of(self, instance: models.Model) -> str:
        """The primary key of an instance on the wire."""
        return encode_key(self.key, instance.pk)

    def key_value(self, text: object) -> Any:
        """The primary key that a text on the wire is. Raises ValueFault with code ``invalid_pk``."""
        return decode_key(self.key, text)

    def key_values(self, texts: Iterable[str]) -> list[Any]:
        """The primary keys that texts on the wire are. Raises ValueFault."""
        return [decode_key(self.key, text) for text in texts]

    def canonical(self, text: object) -> str:
        """A key in its one spelling. Raises ValueFault."""
        return encode_key(self.key, decode_key(self.key, text))

    def canonical_keys(self, texts: Iterable[object]) -> set[str]:
        """The keys among some texts, each in its one spelling: what no row can have is left out."""
        return {text for text in map(self._canonical_or_none, texts) if text is not None}

    def find(self, text: object) -> models.Model | None:
        """The row of a key on the wire, whoever may see it; None where there is none, nor can be."""
        keys = self.key_values(self.canonical_keys([text]))
        found: models.Model | None = self.rows.filter(pk__in=keys).first()
        return found

    def scope_of(self, key: Any) -> str:
        """The scope that a row of this model is."""
        return registry.scope_key(self.model, encode_key(self.key, key))

    def _canonical_or_none(self, text: object) -> str | None:
        try:
            return self.canonical(text)
        except ValueFault:
            return None


def wire_model(model: type[models.Model]) -> WireModel:
    """The wire model of a tracked model or one of its proxies."""
    return _made(model._meta.concrete_model or model)


def wire_models() -> list[WireModel]:
    """All tracked models, each after those that its foreign keys point to."""
    return [wire_model(model) for model in registry.dependency_order()]


def model_labelled(label: str) -> WireModel | None:
    """The tracked model of a name on the wire, or None."""
    model = registry.tracked_by_label(label)
    return None if model is None else wire_model(model)


def _has_value(field: "models.Field[Any, Any]") -> bool:
    return field.null or field.has_default() or field.has_db_default()


@cache
def _made(model: type[models.Model]) -> WireModel:
    return WireModel(model)
