"""Reading a damaged SQLite file around its damage: from both ends of each table, and row by row between them."""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .connection import decoded
from .faults import is_busy
from .tables import quote

#: How many row numbers are tried one by one behind the last that could be read, where no index tells which there are.
BLIND = 2000

#: SQLite's page, where nobody chose another one, and its header.
_PAGE, _HEADER = 4096, 100


class Wreck:
    """A file that may be damaged anywhere. ``damaged`` gathers the tables of which something could not be read."""

    def __init__(self, connection: sqlite3.Connection, most: int) -> None:
        self._connection = connection
        #: More rows than the file can hold are never read: a damaged tree may lead in a circle.
        self._most = most
        self.damaged: set[str] = set()

    def columns(self, table: str) -> set[str]:
        """The names of a table's columns; none where the table cannot be found."""
        found, _ = self._read(f"PRAGMA table_info({quote(table)})")
        return {row[1] for row in found}

    def values(self, table: str, key: str, value: str, names: Iterable[str]) -> dict[str, Any]:
        """Of a table of named values, those that can be read."""
        found: dict[str, Any] = {}
        for name in names:
            rows, whole = self._read(
                f"SELECT {quote(value)} FROM {quote(table)} WHERE {quote(key)} = ?", (name,)
            )
            if rows:
                found[name] = rows[0][0]
            if not whole:
                self.damaged.add(table)
        return found

    def numbered(self, table: str, columns: Sequence[str], index: str) -> dict[int, tuple[Any, ...]]:
        """The rows of a table with row numbers, by number. ``index`` is SQL that gives the numbers by an index."""
        names = ", ".join(["rowid", *map(quote, columns)])
        select = f"SELECT {names} FROM {quote(table)} NOT INDEXED"
        rows, whole = self._both_ends(select, ["rowid"], 1)
        found = {row[0]: row[1:] for row in rows if isinstance(row[0], int)}
        if whole:
            return found
        self.damaged.add(table)
        listed, _ = self._both_ends(index, [], 0)
        numbers = {row[0] for row in listed if isinstance(row[0], int)}
        first = _end_of_run(found)
        numbers |= set(range(first, first + BLIND))
        for number in sorted(numbers - found.keys()):
            point, _ = self._read(f"{select} WHERE rowid = ?", (number,))
            found |= {row[0]: row[1:] for row in point if row[0] == number}
        return found

    def keyed(
        self, table: str, key: Sequence[str], columns: Sequence[str], likely: Iterable[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """The rows of a table that is ordered by its key. ``likely`` are keys to ask for where it is damaged."""
        names = ", ".join(map(quote, [*key, *columns]))
        select = f"SELECT {names} FROM {quote(table)}"
        rows, whole = self._both_ends(select, [quote(name) for name in key], len(key))
        found = {row[: len(key)]: row[len(key) :] for row in rows}
        if whole:
            return found
        self.damaged.add(table)
        condition = " AND ".join(f"{quote(name)} = ?" for name in key)
        for wanted in set(likely) - found.keys():
            point, _ = self._read(f"{select} WHERE {condition}", wanted)
            found |= {row[: len(key)]: row[len(key) :] for row in point}
        return found

    def listed(self, select: str) -> tuple[list[tuple[Any, ...]], bool]:
        """The rows of a query that need not be in order, and whether it could be read to its end."""
        return self._read(select)

    def _both_ends(self, select: str, order: list[str], width: int) -> tuple[list[tuple[Any, ...]], bool]:
        """Rows from the beginning up to the damage, and from the end back to it; whether there was none."""
        if not order:
            return self._read(select)
        ascending, whole = self._read(f"{select} ORDER BY {', '.join(order)}", width=width)
        if whole:
            return ascending, True
        backwards = ", ".join(f"{name} DESC" for name in order)
        descending, _ = self._read(f"{select} ORDER BY {backwards}", width=-width)
        return ascending + descending, False

    def _read(
        self, select: str, arguments: tuple[Any, ...] = (), *, width: int = 0
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Rows as far as they can be read, in the strict order of their first columns if ``width`` says how many."""
        rows: list[tuple[Any, ...]] = []
        try:
            for row in self._connection.execute(select, arguments):
                if len(rows) > self._most or (width and rows and not _in_order(rows[-1], row, width)):
                    return rows, False
                rows.append(row)
        except sqlite3.DatabaseError as error:
            if is_busy(error):
                raise
            return rows, False
        return rows, True


def _in_order(before: tuple[Any, ...], after: tuple[Any, ...], width: int) -> bool:
    """Whether two keys ascend; with a negative width, descend. What cannot be compared is damaged."""
    first, second = before[: abs(width)], after[: abs(width)]
    try:
        return bool(first < second if width > 0 else first > second)
    except TypeError:
        return False


def _end_of_run(found: Iterable[int]) -> int:
    """The first number that is missing, counted from the smallest on."""
    numbers = set(found)
    number = min(numbers, default=1)
    while number in numbers:
        number += 1
    return number


@contextmanager
def open_wreck(path: Path) -> Iterator[Wreck]:
    """A damaged file to read from. Where its header is damaged, a copy beside it with a new one."""
    copy = path.with_name(path.name + ".header")
    try:
        with closing(_connect(path)) as connection:
            if _opens(connection):
                yield Wreck(connection, path.stat().st_size)
                return
        _write_copy(path, copy)
        with closing(_connect(copy)) as connection:
            yield Wreck(connection, path.stat().st_size)
    finally:
        for suffix in ("", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path.absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None, timeout=30
    )
    connection.text_factory = decoded
    return connection


def _opens(connection: sqlite3.Connection) -> bool:
    """Whether SQLite takes it for a database. Of a list of tables that is damaged, what can be read counts."""
    try:
        connection.execute("PRAGMA writable_schema = ON")
        return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError as error:
        if is_busy(error):
            raise
        return False


def _write_copy(path: Path, copy: Path) -> None:
    """The file with the header that SQLite gives a new one, in which nothing is said but how pages are read."""
    shutil.copyfile(path, copy)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        shutil.copyfile(wal, copy.with_name(copy.name + "-wal"))
    pages = os.path.getsize(copy) // _PAGE
    number, one = pages.to_bytes(4, "big"), (1).to_bytes(4, "big")
    version = b"\2\2" if wal.exists() else b"\1\1"
    header = b"SQLite format 3\0" + _PAGE.to_bytes(2, "big") + version + b"\0\x40\x20\x20"
    header += one + number + bytes(8) + one + (4).to_bytes(4, "big") + bytes(8) + one + bytes(32)
    header += one + (3_040_000).to_bytes(4, "big")
    with copy.open("rb+") as content:
        content.write(header[:_HEADER])
        content.flush()
        os.fsync(content.fileno())
