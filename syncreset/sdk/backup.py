"""Backups: setting a store aside, opening the next, and writing what the backups hold into one snapshot."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from syncreset.protocol import (
    DEFAULT_STRATEGY,
    ROW_CLOCK,
    Counts,
    Header,
    Line,
    Row,
    RowLine,
    TombstoneLine,
    UpdateLine,
    loads,
    now,
    write_snapshot,
)

from . import files
from .journal import Journal, ResetPlan, SnapshotFile
from .outbox import may_be_null
from .schema import ModelSchema
from .store import UNKNOWN, Marks, Store

__all__ = ["NAMES", "lines_of", "name_backup", "overlay", "renew", "set_aside", "write_snapshot_file"]

#: What survives a reset: who the client is, and which sequence numbers it has used.
NAMES = ("client", "registered", "name", "next_seq", "limits", "retention")


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
        opened = Store(store)
        try:
            opened.seal()
            _fold_journal(opened.connection)
        finally:
            opened.close()
        files.move_away(store, backup)
    files.move_away(store.with_name(store.name + "-wal"), backup.with_name(backup.name + "-wal"))
    files.remove(store.with_name(store.name + "-shm"))


def _fold_journal(connection: sqlite3.Connection) -> None:
    """Make the store one single file, unless somebody else has it open: then its ``-wal`` moves along."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise


def renew(store: Path, backup: Path, *, keep_schema: bool) -> Store:
    """A new store in the place of the one set aside, for the same client. May be repeated after a kill.

    With ``keep_schema`` its tables are there at once, so that the app goes on writing while it downloads.
    """
    old, new = Store(backup, read_only=True), Store(store)
    try:
        with new.transaction():
            if new.get("client") is None:
                new.put(**{name: old.get(name) for name in NAMES if old.get(name) is not None})
                clock = old.connection.execute('SELECT "offset", last FROM _syncreset_clock').fetchone()
                new.connection.execute('UPDATE _syncreset_clock SET "offset" = ?, last = ?', clock)
                _carry_unresolved(old, new)
                if keep_schema:
                    new.adopt_schema(old.schema)
    except BaseException:
        new.close()
        raise
    finally:
        old.close()
    return new


def _carry_unresolved(old: Store, new: Store) -> None:
    new.connection.executemany(
        "INSERT INTO _syncreset_unresolved VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        old.connection.execute("SELECT * FROM _syncreset_unresolved ORDER BY id").fetchall(),
    )


@dataclass
class _Digesting:
    target: BinaryIO
    size: int = 0

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        self.target.write(data)


def write_snapshot_file(
    journal: Journal, plan: ResetPlan, strategy: str | None, device_time: int
) -> SnapshotFile:
    """Write what all unrecovered backups hold into one file beside the newest of them.

    ``device_time`` (µs) is on the clock that the stores' times are on.
    """
    names = tuple(record.name for record in journal.kept())
    target = journal.path(plan.backup + ".snapshot")
    stores = [Store(journal.path(name), read_only=True) for name in names]
    try:
        newest = stores[-1]
        full = plan.full or strategy in ("by_object", "overwrite")
        header = Header(
            client=str(newest.get("client")),
            reset=plan.reset,
            schema=newest.schema.hash,
            checkpoint=_checkpoint(stores),
            strategy=strategy or DEFAULT_STRATEGY,
            last_synced=dict.fromkeys(newest.schema.models, newest.get("synced_at", 0)),
            full=full,
            created=plan.noted,
            client_time=device_time,
        )
        draft = target.with_name(target.name + ".new")
        with draft.open("wb") as content:
            digesting = _Digesting(content)
            outlived: list[tuple[str, str]] = []
            counts: Counts = write_snapshot(digesting, header, _lines(stores, outlived, full=full))
        files.move(draft, target)
    finally:
        for store in stores:
            store.close()
    return SnapshotFile(
        name=target.name,
        sha256=digesting.digest.hexdigest(),
        size=digesting.size,
        rows=counts.rows,
        tombstones=counts.tombstones,
        covers=names,
        written=now(),
        outlived=tuple(outlived),
    )


def _checkpoint(stores: Iterable[Store]) -> str | None:
    """The newest checkpoint that one of the stores completed."""
    found: str | None = None
    for store in stores:
        found = store.get("checkpoint") or found
    return found


def _lines(stores: list[Store], outlived: list[tuple[str, str]], *, full: bool) -> Iterator[Line]:
    """Rows parents first, then the log of their unsynced fields, then deletions children first."""
    models: dict[str, ModelSchema] = {}
    for store in reversed(stores):
        models |= {name: model for name, model in store.schema.models.items() if name not in models}
    tombstones: list[TombstoneLine] = []
    updates: list[UpdateLine] = []
    for name in models:
        lines = merged(stores, name, outlived)
        for pk in sorted(lines):
            line = lines[pk]
            if isinstance(line, TombstoneLine):
                if full or not line.pulled:
                    tombstones.append(line)
            elif full or line.base is None or line.base:
                yield line
                updates += [
                    UpdateLine(model=name, pk=pk, field=changed, at=line.row.clock(changed))
                    for changed in line.base or {}
                ]
    yield from updates
    order = {name: place for place, name in enumerate(models)}
    tombstones.sort(key=lambda line: (-order[line.model], line.pk))
    yield from tombstones


def merged(
    stores: list[Store], model: str, outlived: list[tuple[str, str]]
) -> dict[str, RowLine | TombstoneLine]:
    """What the backups together say of a model's rows, by primary key; the oldest store first.

    Adds to ``outlived`` what was deleted in a store after one with unsynced edits of it.
    """
    result: dict[str, RowLine | TombstoneLine] = {}
    for store in stores:
        for line in lines_of(store, model):
            before = result.get(line.pk)
            result[line.pk] = line if before is None else overlay(before, line)
            if isinstance(line, TombstoneLine) and not line.pulled and result[line.pk] is not line:
                outlived.append((model, line.pk))
    return result


def lines_of(store: Store, name: str) -> Iterator[RowLine | TombstoneLine]:
    """The rows and deletions of one model in one store, as lines of a snapshot."""
    model = store.schema.models.get(name)
    if model is None:
        return
    for pk, fields in store.rows(model):
        marks = store.marks(name, pk) or Marks(base=None)
        if marks.base is None:
            fields = {
                field: value
                for field, value in fields.items()
                if value is not None or may_be_null(model, field)
            }
        yield _row_line(name, pk, fields, marks)
    for pulled in (True, False):
        for label, pk, deletion in store.deletions(pulled=pulled):
            if label == name:
                base = (
                    deletion.base if pulled or deletion.base is not None else _base_in_flight(store, name, pk)
                )
                yield TombstoneLine(model=name, pk=pk, at=deletion.at, base=base, pulled=pulled)


def _base_in_flight(store: Store, model: str, pk: str) -> int | None:
    """For a row that was deleted before its creation was answered: the time it was sent with."""
    found = store.connection.execute(
        "SELECT body FROM _syncreset_outbox WHERE model = ? AND pk = ? ORDER BY seq DESC", (model, pk)
    ).fetchone()
    return None if found is None else max(loads(found[0].encode("ascii"))["clocks"].values())


def _row_line(model: str, pk: str, fields: Mapping[str, object], marks: Marks) -> RowLine:
    if marks.base is None:
        clocks = dict(marks.local) or {ROW_CLOCK: marks.updated}
        base = None
    else:
        base = {name: known for name, known in marks.base.items() if name in fields}
        clocks = marks.clocks | {name: marks.written(name) for name in base}
    updated = max([marks.updated, *(clocks[name] for name in (clocks if base is None else base))])
    return RowLine(
        model=model, pk=pk, row=Row(fields=dict(fields), updated=updated, clocks=clocks), base=base
    )


def overlay(older: RowLine | TombstoneLine, newer: RowLine | TombstoneLine) -> RowLine | TombstoneLine:
    """One line that loses nothing of two that backups of one replica hold of the same row.

    Fields changed in the newer store win over those changed in the older; both over acknowledged data, of which the
    newest clock wins. A field's base is the oldest known. An unsynced edit outlives a deletion, and a deletion
    outlives acknowledged data that is not newer than it.
    """
    if isinstance(older, RowLine) and isinstance(newer, RowLine):
        return _overlay_rows(older, newer)
    if isinstance(older, TombstoneLine) and isinstance(newer, TombstoneLine):
        return older if newer.pulled and not older.pulled else newer
    row, tombstone = (older, newer) if isinstance(older, RowLine) else (newer, older)
    if not isinstance(row, RowLine) or not isinstance(tombstone, TombstoneLine):
        raise TypeError("a line is a row or a tombstone")
    if row.base is None or row.base:
        return row
    if tombstone.pulled:
        return row if row.row.updated > tombstone.at else tombstone
    return tombstone


def _overlay_rows(older: RowLine, newer: RowLine) -> RowLine:
    if newer.base is None:
        return newer
    names = list(dict.fromkeys([*newer.row.fields, *older.row.fields]))
    fields, clocks, base = {}, {}, {}
    for name in names:
        source = _source(older, newer, name)
        fields[name] = source.row.fields[name]
        clocks[name] = source.row.clock(name)
        bases = [known for line in (older, newer) if (known := _base_of(line, name)) is not None]
        if bases:
            base[name] = min(bases)
        if older.base is None and source is newer and name not in newer.base:
            base.pop(name, None)
    created = min(older.row.clocks.get(ROW_CLOCK, 0), newer.row.clocks.get(ROW_CLOCK, 0)) or max(
        older.row.clocks.get(ROW_CLOCK, 0), newer.row.clocks.get(ROW_CLOCK, 0)
    )
    return RowLine(
        model=newer.model,
        pk=newer.pk,
        row=Row(
            fields=fields,
            updated=max(older.row.updated, newer.row.updated),
            clocks={ROW_CLOCK: created} | clocks,
        ),
        base=base,
    )


def _base_of(line: RowLine, name: str) -> int | None:
    """The base of a locally changed field, None where the field has no unsynced change."""
    if name not in line.row.fields:
        return None
    if line.base is None:
        return UNKNOWN
    return line.base.get(name)


def _source(older: RowLine, newer: RowLine, name: str) -> RowLine:
    if name not in older.row.fields:
        return newer
    if name not in newer.row.fields:
        return older
    if _base_of(newer, name) is not None:
        return newer
    if older.base is None:
        return older if older.row.clock(name) > newer.row.clock(name) else newer
    if _base_of(older, name) is not None:
        return older
    return newer if newer.row.clock(name) >= older.row.clock(name) else older
