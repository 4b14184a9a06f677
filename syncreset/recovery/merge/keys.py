"""The keys of a snapshot's lines, on disk: what is known of millions of them must not stay in memory."""

import hashlib
import sqlite3
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ...protocol.changes import RowKey
from ...protocol.strict_json import dumps, loads

_TABLES = """
    CREATE TABLE line (key BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE present (key BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE logged (key BLOB, field TEXT, at TEXT, PRIMARY KEY (key, field)) WITHOUT ROWID;
    CREATE TABLE held (key BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE stranger (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class SnapshotKeys:
    """A database of its own that is gone when it is closed. A key is kept by its digest, however long it is."""

    def __init__(self) -> None:
        # The empty name is SQLite's for a temporary file, which nobody else sees.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def is_new(self, kind: str, key: RowKey) -> bool:
        """Whether no line of this kind and key came before. From now on one has."""
        return self._add("line", _digest(kind, *key))

    def add(self, key: RowKey) -> None:
        """The snapshot holds the row, or what became of it."""
        self._add("present", _digest(*key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._has("present", _digest(*key))

    def log(self, key: RowKey, field: str, at: int) -> None:
        """A line of the update log: the last time of each field counts."""
        row = (_digest(*key), dumps(field))
        known = self._database.execute("SELECT at FROM logged WHERE key = ? AND field = ?", row).fetchone()
        if known is None or at > int(known[0]):
            self._database.execute("INSERT OR REPLACE INTO logged VALUES (?, ?, ?)", (*row, str(at)))

    def hold(self, key: RowKey) -> None:
        """The row that the update log may be about is in the snapshot."""
        self._add("held", _digest(*key))

    def is_held(self, key: RowKey) -> bool:
        return self._has("held", _digest(*key))

    def estrange(self, key: RowKey) -> None:
        """The server's row of this key is not the one that the snapshot means."""
        self._add("stranger", _digest(*key))

    def is_strange(self, key: RowKey) -> bool:
        return self._has("stranger", _digest(*key))

    def logged(self, key: RowKey) -> Mapping[str, int]:
        """The last logged time (µs) of each field of a row."""
        rows = self._database.execute("SELECT field, at FROM logged WHERE key = ?", (_digest(*key),))
        return {loads(name.encode("ascii")): int(at) for name, at in rows}

    def _add(self, table: str, digest: bytes) -> bool:
        return self._database.execute(f"INSERT OR IGNORE INTO {table} VALUES (?)", (digest,)).rowcount > 0

    def _has(self, table: str, digest: bytes) -> bool:
        found = self._database.execute(f"SELECT 1 FROM {table} WHERE key = ?", (digest,)).fetchone()
        return found is not None


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(dumps(list(parts)).encode("ascii")).digest()
