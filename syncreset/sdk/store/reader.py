"""Reading a store: a replica's own, or a backup of it."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import UnknownField
from ..reports import PendingChange
from .faults import guarded
from .schema import ModelSchema
from .steps import pending_steps
from .store import Store
from .values import SqlValue, from_python, to_sql


def pending_changes(store: Store) -> list[PendingChange]:
    """What the server has not acknowledged of a store: puts, then deletes."""
    changes = []
    for name, pk, marks in list(store.pending_marks()):
        model = store.schema.models.get(name)
        row = {} if model is None else store.row(model, pk) or {}
        fields = row if marks.base is None else {field: row.get(field) for field in marks.base}
        steps = {} if model is None else pending_steps(store, model, pk, row, marks)
        changes.append(PendingChange(model=name, pk=pk, op="put", fields=fields, steps=steps))
    for name, pk, _ in store.deletions(pulled=False):
        changes.append(PendingChange(model=name, pk=pk, op="delete"))
    return changes


def sql_value(model: ModelSchema, name: str, value: object) -> SqlValue:
    """A wire or Python value of a field as its column holds it. Raises UnknownField."""
    if name == model.primary_key:
        return str(value)
    field = model.fields.get(name)
    if field is None:
        raise UnknownField(f"{model.name} has no field {name!r}; it has {', '.join(model.fields)}")
    return to_sql(field.storage, from_python(field.storage, value))


class Reader:
    """What can be read of a store."""

    @property
    def path(self) -> Path:
        """The file."""
        raise NotImplementedError

    def _open_store(self) -> Store:
        raise NotImplementedError

    @property
    def connection(self) -> sqlite3.Connection:
        """The SQLite connection, in autocommit mode. After a reset it is another one: do not keep it."""
        return self._open_store().connection

    @property
    def models(self) -> Mapping[str, str]:
        """The tables by model label, parents first."""
        return {name: model.table for name, model in self._open_store().schema.models.items()}

    @guarded
    def get(self, model: str, pk: object, /) -> dict[str, Any] | None:
        """A row in wire values, its primary key among them, or None."""
        return next(iter(self.all(model, **{self._model(model).primary_key: pk})), None)

    @guarded
    def all(self, model: str, /, **where: object) -> list[dict[str, Any]]:
        """The rows whose fields equal all of ``where``, in wire values, in the order of their primary keys.

        For anything else there is plain SQL on ``connection``.
        """
        described = self._model(model)
        values = {name: sql_value(described, name, value) for name, value in where.items()}
        rows = self._open_store().rows(described, values)
        return [{described.primary_key: pk, **fields} for pk, fields in rows]

    @guarded
    def pending_changes(self) -> list[PendingChange]:
        """What the server has not acknowledged: puts, then deletes."""
        return pending_changes(self._open_store())

    @guarded
    def pending(self) -> int:
        """How many rows and deletions the server has not acknowledged."""
        return self._open_store().pending_count()

    @guarded
    def is_pending(self, model: str, pk: object, /) -> bool:
        """Whether a row has something the server has not acknowledged: a change, or its deletion."""
        store, name, key = self._open_store(), self._model(model).name, str(pk)
        marks, deletion = store.marks(name, key), store.deletion(name, key)
        return (marks is not None and marks.pending) or (deletion is not None and not deletion.pulled)

    def _model(self, name: str) -> ModelSchema:
        return self._open_store().schema.model(name)


class BackupView(Reader):
    """A backup, to read from. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = Store(path, read_only=True)

    def _open_store(self) -> Store:
        return self._store

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the backup's file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
