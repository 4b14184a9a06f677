"""The two clock fields of a tracked row, which the database writes and Django only reads.

``Model.save()`` writes every column, so that an instance loaded a while ago would write its old clocks back. Here a
save writes the columns onto themselves; what the triggers then made of them is read at the next access.
"""

import enum
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, JSONField, Model
from django.db.models.query_utils import DeferredAttribute

#: The names of the two fields, which are their columns as well.
CLOCK_FIELDS = ("last_updated", "field_timestamps")


class MergedTimestamp(int):
    """A ``last_updated`` (µs) that a merge has decided: an insert writes it as it is."""

    __slots__ = ()


class MergedClocks(dict[str, int]):
    """A ``field_timestamps`` (field name to µs) that a merge has decided: an insert writes it as it is."""

    __slots__ = ()


class _Stale(enum.Enum):
    """What an instance holds instead of a clock that the database has written since. Survives pickling and copying."""

    STALE = "stale"


class _OwnColumn:
    """The SQL of a column assigned to itself.

    Not ``F()``: Django 6 reads an assigned expression back with RETURNING, which on SQLite shows the row as it was
    before the triggers ran.
    """

    def __init__(self, table: str, column: str) -> None:
        self._table = table
        self._column = column

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        quote = connection.ops.quote_name
        return f"{quote(self._table)}.{quote(self._column)}", []


class _ClockAttribute(DeferredAttribute):
    """Reads both clocks from the database, in one query, where the instance's are stale."""

    field: Any

    def __get__(self, instance: Model | None, cls: type[Model] | None = None) -> Any:
        if instance is None:
            return self
        if instance.__dict__.get(self.field.attname) is _Stale.STALE:
            _read_clocks(instance)
        return super().__get__(instance, cls)

    def __set__(self, instance: Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


def clocks_are_stale(instance: Model) -> None:
    """Make the instance read its clocks anew at their next access. Clocks that were deferred stay deferred."""
    for name in CLOCK_FIELDS:
        if name in instance.__dict__:
            instance.__dict__[name] = _Stale.STALE


def _read_clocks(instance: Model) -> None:
    """Replace the stale clocks by the database's. Raises DoesNotExist, as deferred fields do."""
    stale = [name for name in CLOCK_FIELDS if instance.__dict__.get(name) is _Stale.STALE]
    if instance._state.adding or instance.pk is None:
        # The row was never written, or is deleted: its clocks are those of a new instance.
        for name in stale:
            instance.__dict__[name] = instance._meta.get_field(name).get_default()  # type: ignore[union-attr]
        return
    rows = type(instance)._base_manager.db_manager(instance._state.db, hints={"instance": instance})
    clocks = rows.values(*stale).get(pk=instance.pk)
    instance.__dict__.update(clocks)


class _ClockField:
    """What both clock fields do. Mixed into a Django field."""

    # RETURNING would show a freshly inserted row's clocks as they were before SQLite's triggers ran.
    db_returning = False

    merged: type
    model: type[Model]
    attname: str

    def deconstruct(self) -> tuple[str, str, Any, dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()  # type: ignore[misc]
        for fixed in ("default", "db_default", "editable"):
            kwargs.pop(fixed, None)
        return name, path, args, kwargs

    def pre_save(self, instance: Model, add: bool) -> Any:
        """On update the column itself; on insert the empty clock, which the triggers fill, or what a merge decided."""
        value = instance.__dict__.get(self.attname)
        if add and isinstance(value, self.merged):
            return value
        instance.__dict__[self.attname] = _Stale.STALE
        if add:
            return self.get_default()  # type: ignore[attr-defined]
        return _OwnColumn(self.model._meta.db_table, self.attname)


class LastUpdatedField(_ClockField, BigIntegerField):  # type: ignore[type-arg]
    """When the row was last written: µs since the Unix epoch, 0 until the database has stamped it."""

    descriptor_class = _ClockAttribute
    merged = MergedTimestamp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"default": 0, "db_default": 0, "editable": False}))


class FieldTimestampsField(_ClockField, JSONField):
    """When each field was last written: field name to µs, ``"*"`` standing for the row's creation."""

    descriptor_class = _ClockAttribute
    merged = MergedClocks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"default": dict, "db_default": {}, "editable": False}))
