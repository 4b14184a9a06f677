"""Turns the row that a tombstone keeps back into Python values.

The triggers keep each column as their database stores it, in JSON: see ``row_json`` of the vendors.
"""

import datetime
import json
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import NotSupportedError, connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model

from .registry import synced_fields
from .triggers.table import stored_field


def read_fields(model: type[Model], vendor: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values that an instance of ``model`` had: field name to the value of the field's ``attname``.

    ``fields`` is the member ``fields`` of an entry's ``row``, ``vendor`` the database it was written by. A relation's
    value is the key that the column holds; binary values are bytes. A name that the model no longer has is left out.
    """
    connection = _connection(model, vendor)
    read = {}
    for known in synced_fields(model):
        if known.name in fields:
            read[known.name] = _read(connection, known, fields[known.name])
    return read


def _read(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", raw: Any) -> Any:
    """One value, through the same converters as if a query had fetched it."""
    stored = stored_field(field)
    fetched = None if raw is None else _FETCHED[connection.vendor](connection, stored, raw)
    column = field.get_col(field.model._meta.db_table)
    for convert in [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]:
        fetched = convert(fetched, column, connection)
    return bytes(fetched) if isinstance(fetched, memoryview) else fetched


def _fetched_by_sqlite(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", raw: Any) -> Any:
    if isinstance(field, models.JSONField):
        return json.dumps(raw)
    if isinstance(field, models.BinaryField):
        return bytes.fromhex(raw)
    if isinstance(field, models.FloatField | models.DecimalField) and isinstance(raw, str):
        return float(raw)
    return raw


def _fetched_by_postgresql(connection: BaseDatabaseWrapper, field: "Field[Any, Any]", raw: Any) -> Any:
    if isinstance(field, models.JSONField):
        return json.dumps(raw)
    if isinstance(raw, list):  # an array, of texts
        base = field.base_field  # type: ignore[attr-defined]
        return [
            None
            if item is None
            else _fetched_by_postgresql(connection, base if not isinstance(item, list) else field, item)
            for item in raw
        ]
    if isinstance(raw, dict) and hasattr(field, "range_type"):
        return field.to_python(json.dumps(raw))
    for kind, fetch in _POSTGRESQL_TYPES:
        if isinstance(field, kind):
            return fetch(connection, raw)
    return raw


def _instant(connection: BaseDatabaseWrapper, text: str) -> datetime.datetime:
    instant = datetime.datetime.fromisoformat(text)
    if settings.USE_TZ:
        return instant
    return instant.astimezone(ZoneInfo(connection.timezone_name)).replace(tzinfo=None)


def _duration(connection: BaseDatabaseWrapper, raw: Any) -> datetime.timedelta:
    return datetime.timedelta(microseconds=int(raw))


# The first that fits: a DateTimeField is a DateField as well.
_POSTGRESQL_TYPES: tuple[tuple[type, Callable[[BaseDatabaseWrapper, Any], Any]], ...] = (
    (models.DateTimeField, _instant),
    (models.DateField, lambda connection, raw: datetime.date.fromisoformat(raw)),
    (models.TimeField, lambda connection, raw: datetime.time.fromisoformat(raw)),
    (models.DurationField, _duration),
    (models.DecimalField, lambda connection, raw: Decimal(raw)),
    (models.FloatField, lambda connection, raw: float(raw)),
    (models.IntegerField, lambda connection, raw: int(raw)),
    (models.UUIDField, lambda connection, raw: uuid.UUID(raw)),
    (models.BinaryField, lambda connection, raw: bytes.fromhex(raw)),
)

_FETCHED = {"sqlite": _fetched_by_sqlite, "postgresql": _fetched_by_postgresql}


def _connection(model: type[Model], vendor: str) -> BaseDatabaseWrapper:
    """A database of the vendor, for its converters: the model's own if possible."""
    own = connections[router.db_for_write(model)]
    for connection in [own, *connections.all()]:
        if connection.vendor == vendor and vendor in _FETCHED:
            return connection
    raise NotSupportedError(f"no database of this project is a {vendor}, whose tombstones are to be read")
