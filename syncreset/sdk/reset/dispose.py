"""Deleting what is done with: backups whose time is over, and the whole replica when its user leaves."""

import glob
from collections.abc import Iterable
from pathlib import Path

from . import files
from .journal import Journal

#: What may stand beside a store, or a backup, of the same name.
SUFFIXES = (
    *(".snapshot.new", ".snapshot", ".salvaged.new-shm", ".salvaged.new-wal", ".salvaged.new", ".salvaged"),
    *("-shm", "-wal", ""),
)


def delete_backups(journal: Journal, names: Iterable[str]) -> None:
    """Delete backups for good, by file name."""
    gone = list(names)
    for name in gone:
        for suffix in SUFFIXES:
            files.remove(journal.path(name + suffix))
    if gone:
        journal.forget(gone)


def dispose_of_old(journal: Journal, *, before: int) -> None:
    """Delete the backups settled before a time (µs) that nothing depends on any more. Damaged ones stay.

    Of a damaged one somebody may yet read what the SDK cannot.
    """
    old = [
        record
        for record in journal.records
        if record.given_up and record.damaged is None and (record.settled or before) < before
    ]
    delete_backups(journal, [record.name for record in old])


def delete_everything(store: Path, journal: Journal) -> None:
    """Delete a store that is closed and sealed, and all that stands beside it.

    The store itself goes last: while it is there, this has not been finished.
    """
    delete_backups(journal, [record.name for record in journal.records])
    journal.delete()
    for damaged in store.parent.glob(f"{glob.escape(store.name)}.resets.damaged-*"):
        files.remove(damaged)
    for suffix in (".resets.new", *SUFFIXES):
        files.remove(store.with_name(store.name + suffix))
