"""Backups: setting a store aside, opening the next, and writing what the backups hold into one snapshot."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from ..errors import StoreDamaged
from ..store.faults import is_busy, storage_errors
from ..store.steps import seal_steps
from ..store.store import Store
from ..sync.outbox import carry_refused
from . import files

#: What survives a reset: who the client is, which sequence numbers it has used, and what its link carries.
NAMES = ("client", "registered", "name", "next_seq", "receipt", "limits", "retention", "reach")


def name_backup(store: Path, reset: str, noted: int) -> str:
    """A file name for the backup that is in use neither by a file nor, later, by another reset."""
    safe = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "_" for letter in reset
    )[:64]
    name = f"{store.name}.backup-{safe}-{noted}"
    number = 1
    while store.with_name(name).exists():
        number += 1
        name = f"{store.name}.backup-{safe}-{noted}-{number}"
    return name


def set_aside(store: Path, backup: Path) -> None:
    """Seal the store and move it to the backup's path. May be repeated after a kill anywhere in it."""
    if store.exists() and not backup.exists():
        try:
            _seal(store)
        except StoreDamaged:
            # It goes as it is: what can be read of it is found out once it is a backup.
            files.remove(store.with_name(store.name + "-shm"))
        files.move_away(store, backup)
    files.move_away(store.with_name(store.name + "-wal"), backup.with_name(backup.name + "-wal"))
    files.remove(store.with_name(store.name + "-shm"))


def _seal(store: Path) -> None:
    opened = Store(store)
    try:
        with storage_errors(store):
            if not opened.sealed():
                seal_steps(opened)
            opened.seal()
            fold_journal(opened.connection)
    finally:
        opened.close()


def fold_journal(connection: sqlite3.Connection) -> None:
    """Make the store one single file, unless somebody else has it open: then its ``-wal`` moves along."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise


def renew(store: Path, backup: Path | None, *, client: str | None, keep_schema: bool) -> None:
    """A new store in the place of the one set aside, for the same client. May be repeated after a kill.

    ``backup`` is the file to read the old one from, None where nothing can be read; then it is the ``client`` that is
    named, or a new one. With ``keep_schema`` its tables are there at once, so that the app goes on writing while it
    downloads.
    """
    if store.exists() and store.stat().st_size == 0:
        files.remove(store)
    with closing(Store(store)) as new, new.transaction():
        if new.get("client") is not None:
            return
        if backup is not None:
            with closing(Store(backup, read_only=True)) as old:
                _carry(old, new, keep_schema=keep_schema)
        if new.get("client") is None:
            new.put(client=client or str(uuid.uuid4()), registered=False)


def _carry(old: Store, new: Store, *, keep_schema: bool) -> None:
    new.put(**{name: old.get(name) for name in NAMES if old.get(name) is not None})
    clock = old.connection.execute('SELECT "offset", last FROM _syncreset_clock').fetchone()
    new.connection.execute('UPDATE _syncreset_clock SET "offset" = ?, last = ?', clock)
    _carry_unresolved(old, new)
    carry_refused(old, new)
    _carry_counted(old, new)
    if keep_schema:
        new.adopt_schema(old.schema)


def _carry_unresolved(old: Store, new: Store) -> None:
    new.connection.executemany(
        "INSERT INTO _syncreset_unresolved VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        old.connection.execute("SELECT * FROM _syncreset_unresolved ORDER BY id").fetchall(),
    )


def carry_recovered(backup: Path, store: Store) -> None:
    """The steps that a recovery has counted are told from now on as counted ones: a restored server may lack them.

    Where no answer told its clock, each was counted up to the one that its field has in the store.
    """
    old = Store(backup, read_only=True)
    try:
        found = old.connection.execute(
            "SELECT id, model, pk, field, amount, at FROM _syncreset_step WHERE NOT pulled ORDER BY place"
        ).fetchall()
    finally:
        old.close()
    for identity, model, pk, field, amount, at in found:
        marks = store.marks(model, pk)
        if marks is not None and marks.base is not None:
            store.connection.execute(
                "INSERT OR IGNORE INTO _syncreset_step (id, model, pk, field, amount, at, pulled, sent) "
                "VALUES (?, ?, ?, ?, ?, ?, 1, 1)",
                (identity, model, pk, field, amount, marks.clock(field) if at is None else at),
            )


def _carry_counted(old: Store, new: Store) -> None:
    """The steps that are in pulled values: should the server be restored, it is told that it had counted them."""
    columns = "id, model, pk, field, amount, seq, base, at, pulled, sent"
    new.connection.executemany(
        f"INSERT OR IGNORE INTO _syncreset_step ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        old.connection.execute(
            f"SELECT {columns} FROM _syncreset_step WHERE pulled ORDER BY place"
        ).fetchall(),
    )
