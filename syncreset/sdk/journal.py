"""What a replica must remember beside its store: the reset under way, the backups, the last reset completed.

One small JSON file next to the store, replaced atomically: each step of a reset is written here before it is taken.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .files import read_json, write_json
from .reports import Backup

__all__ = ["Journal", "Record", "ResetPlan", "SnapshotFile", "Step"]

#: The step to take next. Taking one again after a kill does no harm.
Step = Literal["set_aside", "renew", "bootstrap", "hand_over", "write", "upload", "wait", "finish"]


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
    """A reset under way. Times in µs; ``backup`` is a file name; ``begun`` counts how often this very reset began."""

    reset: str
    reason: str
    mode: str
    allowed: tuple[str, ...]
    upload: str | None
    full: bool
    noted: int
    backup: str
    begun: int = 1
    step: Step = "set_aside"
    snapshot: SnapshotFile | None = None
    location: str | None = None
    recovery: str | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    receipt: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One backup, as ``Backup`` with a file name."""

    name: str
    reset: str
    reason: str
    created: int
    state: Literal["kept", "receipted", "discarded", "handed_over"] = "kept"
    receipt: Mapping[str, Any] | None = None
    recovery: str | None = None


class Journal:
    """The journal of one store. Every change is on the disk when its method returns."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(store.name + ".resets")
        self.plan: ResetPlan | None = None
        self.records: tuple[Record, ...] = ()
        self.completed: str | None = None
        self.reload()

    def reload(self) -> None:
        """Read what another process may have written."""
        value = read_json(self._path) or {}
        plan = value.get("plan")
        self.plan = None if plan is None else _plan(plan)
        self.records = tuple(Record(**record) for record in value.get("backups", ()))
        self.completed = value.get("completed")

    def begin(self, plan: ResetPlan) -> None:
        """A reset is to be done, with a new backup."""
        record = Record(name=plan.backup, reset=plan.reset, reason=plan.reason, created=plan.noted)
        self._write(plan, (*self.records, record), self.completed)

    def advance(self, plan: ResetPlan) -> None:
        """The next step of the reset under way."""
        self._write(plan, self.records, self.completed)

    def finish(
        self,
        plan: ResetPlan,
        covered: tuple[str, ...],
        state: Literal["receipted", "discarded", "handed_over"],
    ) -> None:
        """The reset is done, and the backups it covered are what ``state`` says."""
        records = tuple(
            replace(record, state=state, receipt=plan.receipt, recovery=plan.recovery)
            if record.name in covered
            else record
            for record in self.records
        )
        self._write(None, records, plan.reset)

    def forget(self, name: str) -> None:
        """A backup was deleted."""
        self._write(
            self.plan, tuple(record for record in self.records if record.name != name), self.completed
        )

    def kept(self) -> tuple[Record, ...]:
        """The backups that nobody has taken over yet, the oldest first."""
        return tuple(record for record in self.records if record.state == "kept")

    def path(self, name: str) -> Path:
        """The path of a file beside the store."""
        return self._store.with_name(name)

    def backups(self) -> list[Backup]:
        return [
            Backup(
                path=self.path(record.name),
                reset=record.reset,
                reason=record.reason,
                created=record.created,
                state=record.state,
                receipt=record.receipt,
                recovery=record.recovery,
            )
            for record in self.records
        ]

    def _write(self, plan: ResetPlan | None, records: tuple[Record, ...], completed: str | None) -> None:
        write_json(
            self._path,
            {
                "format": "syncreset-resets/1",
                "plan": None if plan is None else asdict(plan),
                "backups": [asdict(record) for record in records],
                "completed": completed,
            },
        )
        self.plan, self.records, self.completed = plan, records, completed


def _plan(value: dict[str, Any]) -> ResetPlan:
    snapshot = value["snapshot"]
    if snapshot is not None:
        outlived = tuple((model, pk) for model, pk in snapshot["outlived"])
        snapshot = SnapshotFile(**{**snapshot, "covers": tuple(snapshot["covers"]), "outlived": outlived})
    return ResetPlan(**{**value, "allowed": tuple(value["allowed"]), "snapshot": snapshot})
