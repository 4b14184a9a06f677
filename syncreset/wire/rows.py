"""Rows of tracked models in wire values: which of them a set of scopes may see, and how they are read in bulk."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connection, models

from ..feed.entries import Entry
from ..protocol.changes import Row, Tombstone
from ..tracking.fields import CLOCK_FIELDS
from ..tracking.registry import EVERYONE, scope_key
from ..tracking.tombstones import read_fields
from .clocks import RowClocks, clock_columns, clocks_in_entries, clocks_of
from .fields.codec import codec_for, restore
from .model import WireModel, wire_model
from .sets import elements_of

#: How many rows are read at a time where all are wanted.
_PAGE = 1000


class StoredRow(NamedTuple):
    """A row as the database has it: its key on the wire, its scope, and the row."""

    pk: str
    scope: str
    row: Row


def visible(model: WireModel, scopes: Collection[str]) -> "models.QuerySet[Any]":
    """The model's rows within the scopes, ordered by primary key."""
    rows = model.rows.order_by("pk")
    owner = model.owner
    if owner is None:
        return rows if EVERYONE in scopes else rows.none()
    prefix = f"{owner.label}:"
    held = [scope.removeprefix(prefix) for scope in scopes if scope.startswith(prefix)]
    keys = owner.key_values(owner.canonical_keys(held))
    return rows.filter(**{f"{_scope_attname(model)}__in": keys})


def stored_rows(model: WireModel, scopes: Collection[str], pks: Collection[str]) -> dict[str, StoredRow]:
    """The rows of these keys that the scopes may see."""
    keys = model.key_values(pks)
    return {stored.pk: stored for stored in read_rows(model, visible(model, scopes).filter(pk__in=keys))}


def all_rows(model: WireModel, scopes: Collection[str]) -> Iterator[StoredRow]:
    """Every row of the model within the scopes."""
    for page in pages_of_rows(model, scopes):
        yield from page


def pages_of_rows(model: WireModel, scopes: Collection[str]) -> Iterator[Sequence[StoredRow]]:
    """Every row of the model within the scopes, a page at a time, each page read at its own moment."""
    after = ""
    while page := load_page(model, scopes, after, _PAGE):
        yield page
        after = page[-1].pk


def load_page(model: WireModel, scopes: Collection[str], after: str, limit: int) -> Sequence[StoredRow]:
    """The next rows of a model in the order of their primary keys, after the key ``after`` ("" is the start)."""
    return list(read_rows(model, rows_after(model, scopes, after)[:limit]))


def keys_after(model: WireModel, scopes: Collection[str], after: str, limit: int) -> list[str]:
    """The keys of the next rows of a model, without the rows."""
    keys = rows_after(model, scopes, after).values_list("pk", flat=True)
    return [model.key_text(key) for key in keys[:limit]]


def rows_after(model: WireModel, scopes: Collection[str], after: str) -> "models.QuerySet[Any]":
    """The model's rows within the scopes after the key ``after`` ("" is the start), ordered by primary key."""
    rows = visible(model, scopes)
    return rows.filter(pk__gt=model.key_value(after)) if after else rows


def read_rows(model: WireModel, rows: "models.QuerySet[Any]") -> Iterator[StoredRow]:
    """The rows of a query of one model, with clocks and elements, in the order of the query."""
    fields = model.columns
    encoders = [_column_encoder(field) for field in fields.values()]
    in_row = clock_columns(model)
    columns = ["pk", _scope_attname(model), *in_row, *(field.attname for field in fields.values())]
    found = rows.values_list(*columns)
    in_entries = {} if in_row else clocks_in_entries(model, [model.key_text(row[0]) for row in found])
    elements = elements_of(model, [row[0] for row in found]) if model.sets else {}
    for key, scope, *values in found:
        pk = model.key_text(key)
        clocks = RowClocks(*values[:2]) if in_row else in_entries.get(pk, RowClocks(updated=0, clocks={}))
        del values[: len(in_row)]
        wire = {
            name: None if value is None else encode(value)
            for name, encode, value in zip(fields, encoders, values, strict=True)
        }
        wire |= elements.get(pk, {})
        yield StoredRow(
            pk=pk,
            scope=_scope_of_value(model, scope),
            row=Row(fields=wire, updated=clocks.updated, clocks=clocks.clocks),
        )


def _column_encoder(field: "models.Field[Any, Any]") -> Callable[[Any], Any]:
    """From what a column holds, never None, to the wire: a file's column holds its name alone."""
    encode = codec_for(field).encode
    if not isinstance(field, models.FileField):
        return encode
    file: Any = field.attr_class
    return lambda name: encode(file(None, field, name))


def lock_instances(model: WireModel, pks: Collection[str]) -> dict[str, models.Model]:
    """The instances of these keys, whoever may see them, locked until the transaction ends where locks exist."""
    rows = model.rows.filter(pk__in=model.key_values(pks)).order_by("pk")
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
    return {model.key_of(instance): instance for instance in rows}


def row_of(
    instance: models.Model,
    clocks: RowClocks | None = None,
    elements: Mapping[str, list[str]] | None = None,
) -> StoredRow:
    """The instance in wire values. Its ``clocks`` and ``elements`` (by field) are read where they are not given."""
    model = wire_model(type(instance))
    clocks = clocks or clocks_of(instance)
    if elements is None:
        elements = elements_of(model, [instance.pk]).get(model.key_of(instance), {})
    fields: dict[str, Any] = {}
    for name, field in model.columns.items():
        value = getattr(instance, field.attname)
        fields[name] = None if value is None else codec_for(field).encode(value)
    return StoredRow(
        pk=model.key_of(instance),
        scope=_scope_of_value(model, getattr(instance, _scope_attname(model))),
        row=Row(fields={**fields, **elements}, updated=clocks.updated, clocks=clocks.clocks),
    )


def instance_of(model: WireModel, pk: str, row: Row, like: models.Model | None = None) -> models.Model:
    """A new, unsaved instance with a row's values, those that no client could push today included.

    What is not synced is that of the instance ``like``, else the default.
    """
    values = {} if like is None else _unsynced_values(model, like)
    values |= {
        field.attname: restore(field, row.fields[name])
        for name, field in model.columns.items()
        if name in row.fields and not getattr(field, "generated", False)
    }
    values[model.key.attname] = model.key_value(pk)
    return model.model(**values)


def _unsynced_values(model: WireModel, like: models.Model) -> dict[str, Any]:
    return {
        field.attname: getattr(like, field.attname)
        for field in model.model._meta.concrete_fields
        if field.name not in model.columns and field.name not in CLOCK_FIELDS
    }


def scope_of_row(model: WireModel, pk: str, row: Row) -> str:
    """The scope that a row in wire values belongs to."""
    field, owner = model.scope, model.owner
    if field is None or owner is None:
        return EVERYONE
    return scope_key(owner.model, pk if field.primary_key else row.fields.get(field.name) or "")


def tombstone_of(model: WireModel, entry: Entry) -> Tombstone:
    """The tombstone that an entry of kind ``deleted`` is."""
    if entry.row is None:
        return Tombstone(deleted=entry.at, row=None, seen=entry.updated)
    values = read_fields(model.model, connection.vendor, entry.row["fields"])
    wire = {
        name: None if values[name] is None else _column_encoder(field)(values[name])
        for name, field in model.columns.items()
        if name in values
    }
    kept = entry.row.get("sets", {})
    sets: dict[str, Any] = {name: kept.get(name, []) for name in model.sets}
    return Tombstone(
        deleted=entry.at,
        row=Row(fields={**wire, **sets}, updated=entry.row["updated"], clocks=entry.row["clocks"]),
    )


def _scope_attname(model: WireModel) -> str:
    return "pk" if model.scope is None else model.scope.attname


def _scope_of_value(model: WireModel, value: Any) -> str:
    owner = model.owner
    if owner is None:
        return EVERYONE
    return scope_key(owner.model, "") if value is None else owner.scope_of(value)
