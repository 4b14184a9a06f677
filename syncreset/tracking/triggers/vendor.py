"""What a database must say for its tables to be tracked. A new database is a package that mypy holds against this.

All SQL that differs between databases is said by such a package; what they say alike stands in ``install``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field

from .table import Installed, SetTable, TrackedTable, Trigger


class ClockKeeper(Protocol):
    """The triggers of a table whose rows have their clocks in one place: their own columns, or their entries."""

    def statements(self, connection: BaseDatabaseWrapper, table: TrackedTable) -> list[Trigger]:
        """The triggers that stamp and enter the table's rows."""

    def backfill(self, connection: BaseDatabaseWrapper, table: TrackedTable) -> str:
        """The statement that stamps the rows without clocks."""

    def vanished_json(
        self, connection: BaseDatabaseWrapper, table: TrackedTable, row: str, entry: str
    ) -> str:
        """The expression of a row's tombstone copy; ``row`` and ``entry`` are aliases."""

    def stamp_from_copy_sql(
        self,
        connection: BaseDatabaseWrapper,
        table: TrackedTable,
        copy: str,
        changed: Mapping[str, str],
    ) -> str:
        """The statement that stamps, in the rows ``t``, the fields whose condition against the copy ``c`` holds."""

    def rename_clock_sql(
        self, connection: BaseDatabaseWrapper, table: TrackedTable, old: str, new: str
    ) -> str:
        """The statement that gives a field's clocks another name, where that has none yet."""


class SetTriggers(Protocol):
    """The triggers of many-to-many tables."""

    def statements(
        self, connection: BaseDatabaseWrapper, table: TrackedTable, through: SetTable
    ) -> list[Trigger]:
        """The triggers that stamp and enter a row when its set changes."""


class Vendor(ClockKeeper, Protocol):
    """A database. By itself it keeps clocks in the rows' own columns; ``entries`` keeps them in the entries."""

    @property
    def NOW(self) -> str:
        """The expression of the time now, in microseconds since 1970."""

    @property
    def NULL_ROW(self) -> str:
        """The expression of no copy of a row."""

    @property
    def COPIES_KEEP_TYPES(self) -> bool:
        """Whether a copy that ``copy_sql`` makes has its columns' types."""

    @property
    def entries(self) -> ClockKeeper: ...

    @property
    def sets(self) -> SetTriggers: ...

    def installed(self, connection: BaseDatabaseWrapper) -> dict[str, Installed]:
        """Our triggers that the database has, by name."""

    def columns(self, connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, dict[str, str]]:
        """The types of the columns of those tables that exist, by table and column."""

    def drop_sql(self, connection: BaseDatabaseWrapper, name: str, table: str) -> str:
        """The statement that drops a trigger of ours, whether or not it exists."""

    def remove_orphans(self, connection: BaseDatabaseWrapper) -> None:
        """Drop what is ours and belongs to no trigger any more."""

    def lock_sql(self, connection: BaseDatabaseWrapper, table: str) -> str | None:
        """The statement that keeps others from writing a table, or None where every transaction does."""

    def copy_sql(self, connection: BaseDatabaseWrapper, table: str, copy: str) -> str:
        """The statement that copies a table."""

    def wire_text(self, field: "Field[Any, Any]", expression: str) -> str:
        """The expression of a key's text on the wire."""

    def scope_text(self, connection: BaseDatabaseWrapper, table: TrackedTable, row: str) -> str:
        """The expression of the scope of a row."""

    def differs_from_copy(
        self, connection: BaseDatabaseWrapper, field: "Field[Any, Any]", old_kind: str, kind: str
    ) -> str:
        """The condition that a field of ``t`` differs from the copy ``c``, where its type was ``old_kind``."""

    def enter_sql(self, connection: BaseDatabaseWrapper, source: str) -> str:
        """The statement that enters what a query gives: model, pk, scope, kind, at, row."""
