"""What SQLite and the operating system say of a failing disk, as the errors of the SDK. Nothing else translates."""

import errno
import functools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from ..errors import DiskFull, ReplicaBusy, ReplicaError, StoreDamaged, StoreUnreadable

P = ParamSpec("P")
T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREADABLE = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}

#: How SQLite names what a store always has, where it has not: a page was overwritten.
_MISSING = ("no such table: _syncreset", "no such column", "no such index", "malformed")


class DamagedValue(Exception):
    """What stands in the SDK's own tables is not what was written there."""


def loaded(text: Any) -> Any:
    """A JSON value that the SDK itself has written. Raises DamagedValue."""
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise DamagedValue(f"a value that the SDK has written cannot be read: {error}") from error


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong with the file at a path as StorageFailed or ReplicaBusy. Errors of the caller pass."""
    try:
        yield
    except (sqlite3.Error, OSError, DamagedValue) as error:
        told = _told(error, path)
        if told is None:
            raise
        raise told from error


class _AtPath(Protocol):
    @property
    def path(self) -> Path: ...


def guarded(method: Callable[P, T]) -> Callable[P, T]:
    """A method of something with a ``path``, within ``storage_errors`` of it."""

    @functools.wraps(method)
    def guarding(*arguments: P.args, **named: P.kwargs) -> T:
        with storage_errors(cast(_AtPath, arguments[0]).path):
            return method(*arguments, **named)

    return guarding


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds what was asked for."""
    return _code(error) in _BUSY


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code of an error; the upper bits only say more of it. 0 where Python itself raised it."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _told(error: sqlite3.Error | OSError | DamagedValue, path: Path) -> ReplicaError | None:
    if isinstance(error, DamagedValue):
        return damaged(path, str(error))
    if isinstance(error, OSError):
        named = Path(error.filename) if isinstance(error.filename, str) else path
        return _full(named) if error.errno in _FULL else _unreadable(named, str(error))
    code = _code(error)
    if code in _BUSY:
        return ReplicaBusy(f"another connection holds a transaction open on {path}")
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    missing = code == sqlite3.SQLITE_ERROR and str(error).startswith(_MISSING)
    if (
        code in _DAMAGED
        or missing
        or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ
    ):
        return damaged(path, str(error))
    return _unreadable(path, str(error)) if code in _UNREADABLE else None


def damaged(path: Path, detail: str) -> StoreDamaged:
    """The error for a damaged store."""
    return StoreDamaged(
        f"{path} is damaged ({detail}). Nothing was deleted: open the replica with salvage=True to go on with what "
        "can be read of it",
        path=path,
    )


def _full(path: Path) -> DiskFull:
    return DiskFull(f"the disk of {path} is full. Nothing is lost: make room, and try again", path=path)


def _unreadable(path: Path, detail: str) -> StoreUnreadable:
    return StoreUnreadable(
        f"{path} cannot be read or written ({detail}). Nothing is lost: look at the permissions and the disk, and try "
        "again",
        path=path,
    )
