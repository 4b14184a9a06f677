"""A device of the simulation: a replica on files, a user, a clock, and copies of the files that somebody made."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth.models import User

from syncreset.sdk import Replica
from tests.support.fleet import URL, offline


@dataclass
class Copy:
    """The files of a device, and what it held then."""

    directory: Path
    held: set[int]


@dataclass
class Device:
    """``skew`` is how wrong its clock is (µs)."""

    name: str
    user: User
    home: Path
    skew: int = 0
    copies: list[Copy] = field(default_factory=list)
    replica: Replica = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.open()

    def open(self) -> None:
        self.replica = Replica(self.home / "store.db", URL, "token", client=offline())

    def close(self) -> None:
        self.replica.close()

    def reopen(self) -> None:
        """As after a kill."""
        self.close()
        self.open()

    def keep_copy(self, held: set[int]) -> None:
        target = self.home.with_name(f"{self.home.name}-copy{len(self.copies)}")
        self.close()
        shutil.copytree(self.home, target)
        self.open()
        self.copies.append(Copy(target, held))

    def put_back(self, copy: Copy) -> None:
        """The files of a copy in the place of those of now. They are other files, as any copy is."""
        self.close()
        aside = self.home.with_name(f"{self.home.name}-aside")
        shutil.copytree(copy.directory, aside)
        old = self.home.with_name(f"{self.home.name}-old")
        self.home.rename(old)
        aside.rename(self.home)
        self.open()
        shutil.rmtree(old)

    def content(self) -> str:
        """All that the device is to bring home: the store, and each backup whose receipt a pull has not proven yet."""
        journal = self.replica._device.journal
        backups = [journal.path(record.name) for record in journal.held()]
        return "\n".join([_lines_of(self.replica.connection), *map(_dumped, filter(Path.exists, backups))])


def _dumped(path: Path) -> str:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return _lines_of(store)


def _lines_of(store: sqlite3.Connection) -> str:
    return "\n".join(line for line in store.iterdump() if '"_syncreset_staging"' not in line)
