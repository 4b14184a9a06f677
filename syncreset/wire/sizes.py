"""About how many bytes rows have on the wire: asked of the database, so that none is read that no page has room for."""

from collections.abc import Collection
from typing import Any

from django.db import models
from django.db.models import Func, IntegerField, TextField, Value
from django.db.models.functions import Cast, Coalesce

from .model import WireModel
from .rows import rows_after, visible
from .sets import element_counts

#: Bytes of a row without its values, of a value that is not measured, and of an element of a set.
_ROW, _VALUE, _ELEMENT = 150, 30, 40

#: Texts of at most so many characters are not measured.
_SHORT = 255


class _Bytes(Func):
    """The bytes of a column's value. PostgreSQL need not fetch a long one for that."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """SQLite counts the characters of a text."""
        return self.as_sql(compiler, connection, function="LENGTH", **extra)


def sizes_after(model: WireModel, scopes: Collection[str], after: str, limit: int) -> list[tuple[str, int]]:
    """Keys and sizes of the next rows of a model, in the order of their primary keys, after the key ``after``."""
    return _measure(model, rows_after(model, scopes, after)[:limit])


def sizes_of(model: WireModel, scopes: Collection[str], pks: Collection[str]) -> dict[str, int]:
    """Keys and sizes of the rows of these keys that the scopes may see."""
    return dict(_measure(model, visible(model, scopes).filter(pk__in=model.key_values(pks))))


def count_rows(model: WireModel, scopes: Collection[str]) -> int:
    """How many rows of the model the scopes may see."""
    return visible(model, scopes).count()


def _measure(model: WireModel, rows: "models.QuerySet[Any]") -> list[tuple[str, int]]:
    size: Any = Value(_ROW + _VALUE * len(model.columns), output_field=IntegerField())
    for field in model.columns.values():
        if _may_be_long(field):
            size = size + Coalesce(_bytes_of(field), 0)
    found = list(rows.values_list("pk", size))
    elements = element_counts(model, [key for key, _ in found])
    return [(model.key_text(key), size + _ELEMENT * elements.get(key, 0)) for key, size in found]


def _may_be_long(field: "models.Field[Any, Any]") -> bool:
    column = getattr(field, "output_field", field)
    if isinstance(column, models.CharField):
        return column.max_length is None or column.max_length > _SHORT
    return isinstance(column, models.TextField | models.JSONField | models.BinaryField)


def _bytes_of(field: "models.Field[Any, Any]") -> _Bytes:
    column = getattr(field, "output_field", field)
    if isinstance(column, models.BinaryField):
        return _Bytes(field.attname)
    return _Bytes(Cast(field.attname, TextField()))
