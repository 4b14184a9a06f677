"""The replica: rows of the server on this device, to read and write offline and to sync when there is a connection."""

import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import httpx

from syncreset.protocol import uuid7

from . import deciding, engine, files
from .device import Device
from .errors import MissingRow, UnknownField
from .http import HttpDriver
from .reports import Backup, LedgerItem, PendingChange, ResetEvent, SyncReport, Unresolved
from .schema import ModelSchema
from .store import Store
from .tables import quote
from .values import SqlValue, from_python, to_sql

__all__ = ["BackupView", "Mode", "Replica"]

Mode = Literal["manual", "recover", "discard", "recover_or_discard"]
Listener = Callable[[ResetEvent], None]

#: Seconds that a sync waits for the server's recovery: by default, and with ``wait=True``.
PATIENCE, LONG_PATIENCE = 30.0, 600.0


class Reader:
    """What can be read of a store: a replica's own, or a backup of it."""

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

    def get(self, model: str, pk: object, /) -> dict[str, Any] | None:
        """A row in wire values, its primary key among them, or None."""
        return next(iter(self.all(model, **{self._model(model).primary_key: pk})), None)

    def all(self, model: str, /, **where: object) -> list[dict[str, Any]]:
        """The rows whose fields equal all of ``where``, in wire values, in the order of their primary keys.

        For anything else there is plain SQL on ``connection``.
        """
        described = self._model(model)
        values = {name: _sql_value(described, name, value) for name, value in where.items()}
        rows = self._open_store().rows(described, values)
        return [{described.primary_key: pk, **fields} for pk, fields in rows]

    def pending_changes(self) -> list[PendingChange]:
        """What the server has not acknowledged: puts, then deletes."""
        store = self._open_store()
        changes = []
        for name, pk, marks in list(store.pending_marks()):
            row = store.row(store.schema.models[name], pk) or {} if name in store.schema.models else {}
            fields = row if marks.base is None else {field: row.get(field) for field in marks.base}
            changes.append(PendingChange(model=name, pk=pk, op="put", fields=fields))
        for name, pk, _ in store.deletions(pulled=False):
            changes.append(PendingChange(model=name, pk=pk, op="delete"))
        return changes

    def pending(self) -> int:
        """How many rows and deletions the server has not acknowledged."""
        return self._open_store().pending_count()

    def _model(self, name: str) -> ModelSchema:
        return self._open_store().schema.model(name)


class BackupView(Reader):
    """A backup, to read from. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store = Store(path, read_only=True)

    def _open_store(self) -> Store:
        return self._store

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Replica(Reader):
    """A replica in one SQLite file. A context manager; to be used by one thread.

    ``url`` is the root of the server's sync API. ``mode`` says what becomes of changes not yet sent when the server
    orders a reset: ``recover`` uploads the backup and lets the server merge it, ``manual`` calls
    ``on_manual(before, live)`` with the backup and this replica, ``discard`` takes the server's data alone,
    ``recover_or_discard`` does that only if the server would not recover. A backup is kept in every mode.
    ``strategy`` names how the server derives changes from the backup; None leaves that to the server.
    ``on_reset`` is a function, or several, called with a ResetEvent at each step. ``client`` is an ``httpx.Client`` to
    send with.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        url: str,
        token: str | None = None,
        *,
        mode: Mode = "recover",
        name: str | None = None,
        strategy: str | None = None,
        on_reset: Listener | Iterable[Listener] | None = None,
        on_manual: Callable[[BackupView, "Replica"], None] | None = None,
        headers: Mapping[str, str] | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
        if mode == "manual" and on_manual is None:
            raise ValueError("mode='manual' needs on_manual, which takes over from the backup what is wanted")
        self._on_manual = on_manual
        listeners = [on_reset] if callable(on_reset) else list(on_reset or ())
        self._device = Device(
            Path(path), mode=mode, strategy=strategy, listeners=listeners, hand_over=self._hand_over
        )
        self._driver = HttpDriver(url, token, headers=headers, client=client)
        self._introduce(name)

    def _introduce(self, name: str | None) -> None:
        store = self._device.store
        with store.transaction():
            if store.get("client") is None:
                store.put(client=str(uuid.uuid4()))
            if name is not None and store.get("name") != name:
                store.put(name=name, registered=False)

    def _open_store(self) -> Store:
        return self._device.store

    @property
    def path(self) -> Path:
        """The file of the live store."""
        return self._device.path

    @property
    def client_id(self) -> str:
        """The id by which the server knows this replica."""
        return str(self._device.store.get("client"))

    # -- writing --------------------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """Several writes at once: all or none, and much faster than one by one."""
        return self._device.store.transaction()

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
            name: _sql_value(described, name, value) for name, value in values.items()
        }
        names = ", ".join(map(quote, columns))
        self.connection.execute(
            f"INSERT INTO {quote(described.table)} ({names}) VALUES ({', '.join('?' * len(columns))})",
            list(columns.values()),
        )
        return key

    def update(self, model: str, pk: object, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Change fields of a row. Raises MissingRow and UnknownField."""
        described = self._model(model)
        values = {
            name: _sql_value(described, name, value) for name, value in {**(fields or {}), **more}.items()
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

    def delete(self, model: str, pk: object, /) -> None:
        """Delete a row. Raises MissingRow."""
        described = self._model(model)
        cursor = self.connection.execute(
            f"DELETE FROM {quote(described.table)} WHERE {quote(described.primary_key)} = ?", (str(pk),)
        )
        if cursor.rowcount == 0:
            raise MissingRow(f"the replica has no {model} {pk}")

    # -- syncing --------------------------------------------------------------------------------------------------

    def sync(self, *, wait: bool | float = PATIENCE) -> SyncReport:
        """Push what is pending, pull what is new, and do what a reset asks.

        ``wait`` bounds how many seconds are spent waiting for the server's recovery after a reset (True: ten minutes,
        False: not at all); the next sync asks again. Raises ServerUnavailable, ProblemReceived, ReplicaBusy, and of
        resets ResetLoop, ResetModeNotAllowed, CallbackFailed and RecoveryFailed. Whatever is raised, the next sync
        continues.
        """
        patience = (LONG_PATIENCE if wait else 0.0) if isinstance(wait, bool) else wait
        with self._device.alone():
            return self._driver.run(engine.sync(self._device, patience=patience))

    def unresolved(self) -> list[Unresolved]:
        """Changes of this replica that the server did not simply apply, the oldest first, until acknowledged."""
        return self._device.store.unresolved()

    def acknowledge(self, *items: Unresolved | int) -> None:
        """The app or its user has seen these; they are no longer listed."""
        self._device.store.acknowledge(item if isinstance(item, int) else item.id for item in items)

    def items(self, state: str | None = "parked") -> list[LedgerItem]:
        """The items of the ledgers of this replica's recoveries, by default those that wait for a decision.

        Asks the server. Changes that were parked when pushed are in ``unresolved``, with their item's id.
        """
        recoveries = [backup.recovery for backup in self.backups() if backup.recovery is not None]
        return self._driver.run(deciding.items_of(dict.fromkeys(recoveries), state))

    def resolve(self, item: LedgerItem | Unresolved | str, keep: deciding.Keep) -> LedgerItem:
        """Decide a parked item: keep ``"client"``, ``"server"``, or ``{field: value}``. The next sync brings the row.

        Returns the item as it is then: still parked where the server's value has changed since, or where the values
        cannot be written. Raises ProblemReceived ``not_parked`` for one that is decided, ValueError for one without
        an id.
        """
        if isinstance(item, Unresolved):
            if item.item is None:
                raise ValueError("the server keeps no item of this change")
            decided = self._driver.run(deciding.resolve(item.item, keep))
            if decided.state != "parked":
                self.acknowledge(item)
            return decided
        return self._driver.run(deciding.resolve(item if isinstance(item, str) else item.id, keep))

    # -- backups --------------------------------------------------------------------------------------------------

    def backups(self) -> list[Backup]:
        """The stores that resets have set aside, the oldest first."""
        self._device.journal.reload()
        return self._device.journal.backups()

    def open_backup(self, backup: Backup | str | PathLike[str]) -> BackupView:
        """A backup, to read from."""
        return BackupView(backup.path if isinstance(backup, Backup) else Path(backup))

    def delete_backup(self, backup: Backup) -> None:
        """Delete a backup's files for good. Raises ValueError for one that has yet to be recovered."""
        if backup.state == "kept":
            raise ValueError(f"{backup.path.name} has not been recovered: syncing recovers it")
        for suffix in ("", "-wal", "-shm", ".snapshot"):
            files.remove(backup.path.with_name(backup.path.name + suffix))
        self._device.journal.forget(backup.path.name)

    def _hand_over(self, path: Path) -> None:
        if self._on_manual is None:
            raise ValueError("the replica has no on_manual callback")
        with BackupView(path) as before:
            self._on_manual(before, self)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store and the connections."""
        self._device.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        """The labels of the models."""
        return iter(self.models)


def _sql_value(model: ModelSchema, name: str, value: object) -> SqlValue:
    if name == model.primary_key:
        return str(value)
    field = model.fields.get(name)
    if field is None:
        raise UnknownField(f"{model.name} has no field {name!r}; it has {', '.join(model.fields)}")
    return to_sql(field.storage, from_python(field.storage, value))
