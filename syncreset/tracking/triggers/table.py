"""What both vendors' triggers are generated from: a tracked table as the model describes it and the database has it."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Field, ForeignKey, GeneratedField, JSONField, Model, UUIDField

from ..fields import CLOCK_FIELDS
from ..registry import (
    EVERYONE,
    keeps_own_clocks,
    many_to_many_fields,
    scope_field,
    scope_key,
    scope_model,
    synced_fields,
)

#: The feed's table, written by the triggers.
ENTRY_TABLE = "syncreset_entry"
#: What all names made in the database begin with.
PREFIX = "syncreset_"
#: The kinds of an entry, as numbers of its column ``kind``.
ROW, DELETED, DEPARTED, TRUNCATED = 0, 1, 2, 3

_LONGEST_NAME = 63


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One trigger. ``text`` is what `installed` shows when the database has exactly this one."""

    name: str
    table: str
    create_sql: str
    drop_sql: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A trigger of ours as the database has it."""

    table: str
    text: str


@dataclass(frozen=True, kw_only=True)
class SetTable:
    """The table of a many-to-many field: ``owner`` is its column with the key of the row that has the field."""

    field: str
    name: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class TrackedTable:
    """A tracked table. ``fields`` are those whose columns exist already: migrations may be only partly applied.

    ``own_clocks``: whether the rows hold their clocks themselves, or their entries do.
    ``scope_prefix`` comes before the value of ``scope``; without a scope column (None) it is the whole key.
    """

    label: str
    name: str
    pk: "Field[Any, Any]"
    fields: tuple["Field[Any, Any]", ...]
    scope: "Field[Any, Any] | None"
    scope_prefix: str
    own_clocks: bool = True
    sets: tuple[SetTable, ...] = ()

    @classmethod
    def of(
        cls, model: type[Model], columns: Collection[str], tables: Collection[str] = ()
    ) -> "TrackedTable | None":
        """The table of a model, or None as long as the database lacks the columns that tracking needs.

        Of its many-to-many fields those count whose table is among ``tables``.
        """
        meta = model._meta
        scope = scope_field(model)
        own_clocks = keeps_own_clocks(model)
        needed = {
            meta.pk.column,
            *(CLOCK_FIELDS if own_clocks else ()),
            *([] if scope is None else [scope.column]),
        }
        if not needed <= set(columns):
            return None
        owner = scope_model(model)
        return cls(
            label=meta.label_lower,
            name=meta.db_table,
            pk=meta.pk,
            fields=tuple(field for field in synced_fields(model) if field.column in columns),
            scope=scope,
            scope_prefix=EVERYONE if owner is None else scope_key(owner, ""),
            own_clocks=own_clocks,
            sets=tuple(table for table in set_tables(model) if table.name in tables),
        )

    @property
    def names(self) -> set[str]:
        """The tables that carry its triggers."""
        return {self.name, *(table.name for table in self.sets)}

    @property
    def stamped(self) -> tuple["Field[Any, Any]", ...]:
        """The fields that have a clock: all but those the database computes from others."""
        return tuple(field for field in self.fields if not isinstance(field, GeneratedField))

    @property
    def kept(self) -> tuple["Field[Any, Any]", ...]:
        """The fields in a tombstone's copy of the row: all that are stored."""
        return tuple(
            field
            for field in self.fields
            if not isinstance(field, GeneratedField) or getattr(field, "db_persist", True)
        )

    @property
    def moves(self) -> bool:
        """Whether rows can go from one scope to another while they keep their primary key."""
        return self.scope is not None and self.scope is not self.pk


def set_tables(model: type[Model]) -> tuple[SetTable, ...]:
    """The tables of a model's many-to-many fields."""
    found = []
    for field in many_to_many_fields(model):
        declared: Any = field
        through = declared.remote_field.through
        owner = through._meta.get_field(declared.m2m_field_name())
        found.append(SetTable(field=declared.name, name=through._meta.db_table, owner=owner.column))
    return tuple(found)


def column_name(field: "Field[Any, Any]") -> str:
    """The column of a field. Raises TypeError for a field that has none."""
    if field.column is None:
        raise TypeError(f"{field} has no column")
    return field.column


def stored_field(field: Any) -> "Field[Any, Any]":
    """The field that says how a column is stored: where a relation ends, what a generated column computes."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, GeneratedField):
        return stored_field(field.output_field)
    return field  # type: ignore[no-any-return]


def is_uuid(field: "Field[Any, Any]") -> bool:
    return isinstance(stored_field(field), UUIDField)


def is_json(field: "Field[Any, Any]") -> bool:
    return isinstance(stored_field(field), JSONField)


def is_collated(field: "Field[Any, Any]") -> bool:
    """Whether the column has a collation of its own, in which different texts may be equal."""
    return getattr(stored_field(field), "db_collation", None) is not None


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def name_for(purpose: str, table: str) -> str:
    """A name for something that belongs to a table, short enough for every database."""
    name = f"{PREFIX}{purpose}_{table}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(table.encode()).hexdigest()[:8]
    kept = _LONGEST_NAME - len(digest) - 1
    return f"{name.encode()[:kept].decode(errors='ignore')}_{digest}"
