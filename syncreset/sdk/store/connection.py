"""The connection of a store: how its file is opened, its transactions, and who may write in them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ReplicaBusy, TransactionEnded
from .faults import damaged, storage_errors
from .tables import APPLYING, SEALED, TRACKING, create_own_tables

#: What has been committed survives a power cut.
SYNCHRONOUS = "FULL"

#: Bytes of SQLite's smallest page: no file of a store is shorter.
SMALLEST = 512


class StoreConnection:
    """An open store's connection. It is in autocommit mode, for anybody to use plain SQL on."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.closed = False
        self.connection = _connect(path, read_only=read_only)
        try:
            if not read_only:
                with self.transaction():
                    create_own_tables(self.connection)
            self.file = _identity(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.closed = True
        self.connection.close()

    def replaced(self) -> bool:
        """Whether another file has taken the place of the one that is open: a reset was made by somebody else."""
        return _identity(self.path) != self.file

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything or nothing. Within another transaction: a savepoint of it."""
        nested = self.connection.in_transaction
        with storage_errors(self.path):
            self.connection.execute("SAVEPOINT _syncreset" if nested else "BEGIN IMMEDIATE")
        try:
            yield
            if self.connection.in_transaction:
                with storage_errors(self.path):
                    self.connection.execute("RELEASE _syncreset" if nested else "COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO _syncreset" if nested else "ROLLBACK")
                if nested:
                    self.connection.execute("RELEASE _syncreset")
            raise

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A transaction for the app's code, which cannot end it. Raises TransactionEnded where it tries to."""
        attempts: list[str | None] = []

        def authorize(action: int, operation: str | None, *_: str | None) -> int:
            if action != sqlite3.SQLITE_TRANSACTION:
                return sqlite3.SQLITE_OK
            attempts.append(operation)
            return sqlite3.SQLITE_DENY

        with self.transaction():
            self.connection.set_authorizer(authorize)
            try:
                yield
            except Exception as error:
                if attempts:
                    raise TransactionEnded(attempts[0]) from error
                raise
            finally:
                self.connection.set_authorizer(None)
            if attempts or not self.connection.in_transaction:
                # A conflict clause or a trigger may roll back as well, and asks nobody.
                raise TransactionEnded(attempts[0] if attempts else "ROLLBACK")

    @contextmanager
    def applying(self) -> Iterator[None]:
        """A transaction in which the engine writes what the server said, untracked. Not within another one."""
        if self.connection.in_transaction:
            raise ReplicaBusy("a transaction is open on the replica's connection: commit it before syncing")
        with self.transaction():
            self._set_mode(APPLYING)
            yield
            self._set_mode(TRACKING)

    def seal(self) -> None:
        """Refuse all further writes, from any connection: the file is about to become a backup."""
        with self.transaction():
            self._set_mode(SEALED)

    def unseal(self) -> None:
        """Take writes again."""
        with self.transaction():
            self._set_mode(TRACKING)

    def sealed(self) -> bool:
        """Whether the store refuses all writes."""
        found = self.connection.execute("SELECT mode FROM _syncreset_clock").fetchone()
        if found is None:
            raise damaged(self.path, "it has no clock")
        return bool(found[0] == SEALED)

    def _set_mode(self, mode: int) -> None:
        self.connection.execute("UPDATE _syncreset_clock SET mode = ?", (mode,))


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not read_only and _emptied(path):
        raise damaged(path, "the file is empty, or cut off")
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rwc")
    with storage_errors(path):
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        connection.text_factory = decoded
        try:
            connection.execute("PRAGMA recursive_triggers = OFF")
            if not read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        except BaseException:
            connection.close()
            raise
    return connection


def _emptied(path: Path) -> bool:
    """Whether a file is too short for a store, which SQLite would take for a new one.

    One that is empty may be new, unless the replica has synced or been reset.
    """
    if not path.exists():
        return False
    size = path.stat().st_size
    beside = [path.with_name(path.name + suffix) for suffix in (".lock", ".resets")]
    return 0 < size < SMALLEST or (size == 0 and any(each.exists() for each in beside))


def decoded(content: bytes) -> str:
    """Text that plain SQL wrote in another encoding reaches the server, which refuses it, rather than stop the sync."""
    return content.decode("utf-8", "surrogateescape")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
