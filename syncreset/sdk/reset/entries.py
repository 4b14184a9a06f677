"""What the journal remembers, as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..reports import BackupState

#: The reasons of backups that no server has ordered: the store was damaged, and the journal had lost the backup.
DAMAGED, FOUND = "store_damaged", "journal_damaged"

#: The step to take next. Taking one again after a kill does no harm.
Stage = Literal[
    "set_aside", "renew", "bootstrap", "hand_over", "write", "upload", "refused", "wait", "finish"
]


@dataclass(frozen=True, kw_only=True)
class SnapshotFile:
    """The snapshot as written, at ``written`` (µs): its file, what the receipt must say, which backups it covers.

    ``outlived`` are the deletions that it leaves out: of rows with unsynced edits in an older backup.
    """

    name: str
    sha256: str
    size: int
    rows: int
    tombstones: int
    covers: tuple[str, ...]
    written: int
    outlived: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResetPlan:
    """A reset under way, as the journal keeps it. Times in µs."""

    reset: str
    #: Why the server ordered it.
    reason: str
    #: What becomes of the unsynced changes.
    mode: str
    #: What the app asks the recovery to use; None leaves it to the snapshot.
    strategy: str | None
    #: The modes that the server allows.
    allowed: tuple[str, ...]
    #: Where the snapshot goes.
    upload: str | None
    #: Whether the snapshot must have every row.
    full: bool
    #: When the order was noted.
    noted: int
    #: The file name of the store that was set aside.
    backup: str
    #: How often this very reset began since the server last showed that it knew of a bootstrap of it.
    begun: int = 1
    #: How often the server turned out not to know the reset or its recovery.
    forgotten: int = 0
    #: How often the snapshot was sent again because the server had lost it.
    resent: int = 0
    #: What is to be done next.
    step: Stage = "set_aside"
    #: The snapshot's file, once it is written.
    snapshot: SnapshotFile | None = None
    #: The upload that has been created.
    location: str | None = None
    #: The algorithm for the pieces of the upload.
    checksum: str | None = None
    #: The server's recovery, once the snapshot has arrived.
    recovery: str | None = None
    #: The ledger's items by state.
    totals: Mapping[str, int] = field(default_factory=dict)
    #: What the server says that it has received.
    receipt: Mapping[str, Any] | None = None
    #: Why the server refused, and when it last did.
    problem: Mapping[str, Any] | None = None
    refused: int = 0
    #: How it ended.
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One backup, as ``Backup`` with a file name."""

    name: str
    reset: str
    reason: str
    created: int
    state: BackupState = "kept"
    receipt: Mapping[str, Any] | None = None
    recovery: str | None = None
    settled: int | None = None
    #: The id of the client whose store it was.
    client: str | None = None
    #: The tables of which something could not be read; None where the file is sound, or has not been found out yet.
    damaged: tuple[str, ...] | None = None
    #: Whether the server is to be healed from it, so that the snapshot must hold every row of it.
    full: bool = False
    #: Whether a pull has ended since the receipt came: its checkpoint proves that the server keeps what it has.
    proven: bool = False

    @property
    def given_up(self) -> bool:
        """Whether nothing depends on the backup any more."""
        return self.state != "kept" and (self.state != "receipted" or self.proven)


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The reset done last; ``begun`` as in its plan."""

    reset: str
    begun: int


@dataclass(frozen=True, kw_only=True)
class Postponed:
    """A reset that the server has ordered for later. Times in µs by the device's clock."""

    reset: str
    reason: str
    noted: int
    until: int


@dataclass(frozen=True, kw_only=True)
class Halt:
    """A reset that is not begun, for it goes round in circles. After ``until`` (µs), if any, another one may be."""

    reset: str
    reason: str
    detail: str
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class PendingCallback:
    """A callback that has yet to return. ``before`` and ``after`` get the backup, ``fallback`` the outcome."""

    callback: Literal["before", "after", "fallback"]
    backup: str
    outcome: Mapping[str, Any] | None = None


def record_of(name: str, store: str) -> Record | None:
    """What the file name of a backup says, where the journal has lost it. None for any other file."""
    found = re.fullmatch(
        re.escape(store) + r"\.backup-(?P<reset>[A-Za-z0-9_-]*?)-(?P<noted>\d{1,18})(?:-\d+)?", name
    )
    if found is None:
        return None
    return Record(name=name, reset=found["reset"], reason=FOUND, created=int(found["noted"]), full=True)


def plan_of(value: dict[str, Any]) -> ResetPlan:
    """A plan as it was read."""
    snapshot = value["snapshot"]
    if snapshot is not None:
        outlived = tuple((model, pk) for model, pk in snapshot["outlived"])
        snapshot = SnapshotFile(**{**snapshot, "covers": tuple(snapshot["covers"]), "outlived": outlived})
    return ResetPlan(**{**value, "allowed": tuple(value["allowed"]), "snapshot": snapshot})


def record_from(value: dict[str, Any]) -> Record:
    """A record as it was read."""
    damaged = value["damaged"]
    return Record(**{**value, "damaged": None if damaged is None else tuple(damaged)})
