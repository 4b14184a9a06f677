"""Writing to a store, as an app does: tracked, so that the next sync sends it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ...protocol.ids import uuid7
from ..errors import MissingRow
from .faults import guarded
from .reader import Reader, sql_value
from .tables import quote


class Writer(Reader):
    """What can be done to the rows of a store. Plain SQL on its connection does the same."""

    @guarded
    def transaction(self) -> AbstractContextManager[None]:
        """Several writes at once: all or none, and much faster than one by one."""
        return self._open_store().transaction()

    @guarded
    def create(
        self, model: str, fields: Mapping[str, Any] | None = None, /, *, pk: object = None, **more: Any
    ) -> str:
        """Make a row and return its primary key: ``pk``, or the one among the fields, or a new UUIDv7.

        Fields not named are left to the server's defaults. Raises UnknownField, and sqlite3.IntegrityError where the
        replica holds a row of this key.
        """
        described = self._model(model)
        values = {**(fields or {}), **more}
        given = values.pop(described.primary_key, pk)
        key = str(given if given is not None else uuid7())
        columns = {described.primary_key: key} | {
            name: sql_value(described, name, value) for name, value in values.items()
        }
        names = ", ".join(map(quote, columns))
        self.connection.execute(
            f"INSERT INTO {quote(described.table)} ({names}) VALUES ({', '.join('?' * len(columns))})",
            list(columns.values()),
        )
        return key

    @guarded
    def update(self, model: str, pk: object, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Change fields of a row. Raises MissingRow and UnknownField."""
        described = self._model(model)
        values = {
            name: sql_value(described, name, value) for name, value in {**(fields or {}), **more}.items()
        }
        if not values:
            return
        assignments = ", ".join(f"{quote(name)} = ?" for name in values)
        cursor = self.connection.execute(
            f"UPDATE {quote(described.table)} SET {assignments} WHERE {quote(described.primary_key)} = ?",
            [*values.values(), str(pk)],
        )
        if cursor.rowcount == 0:
            raise MissingRow(f"the replica has no {model} {pk}")

    @guarded
    def delete(self, model: str, pk: object, /) -> None:
        """Delete a row. Raises MissingRow."""
        described = self._model(model)
        cursor = self.connection.execute(
            f"DELETE FROM {quote(described.table)} WHERE {quote(described.primary_key)} = ?", (str(pk),)
        )
        if cursor.rowcount == 0:
            raise MissingRow(f"the replica has no {model} {pk}")
