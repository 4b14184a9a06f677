"""What a replica must remember beside its store: the reset under way, the backups, what the app is still to be told.

One small JSON file next to the store, replaced atomically: each step of a reset is written here before it is taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..reports import Backup
from .files import read_json, remove, write_json

ENTRIES = ("plan", "records", "completed", "postponed", "halt", "pending_callbacks", "recoveries")

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
    state: Literal["kept", "receipted", "discarded", "handed_over"] = "kept"
    receipt: Mapping[str, Any] | None = None
    recovery: str | None = None
    settled: int | None = None
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


class Journal:
    """The journal of one store. Every change is on the disk when its method returns."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(store.name + ".resets")
        self.reload()

    def reload(self) -> None:
        """Read what another process may have written."""
        value = read_json(self._path) or {}
        plan, completed = value.get("plan"), value.get("completed")
        postponed, halt = value.get("postponed"), value.get("halt")
        self.plan: ResetPlan | None = None if plan is None else _plan(plan)
        self.records = tuple(Record(**record) for record in value.get("records", ()))
        self.completed: Completed | None = None if completed is None else Completed(**completed)
        self.postponed: Postponed | None = None if postponed is None else Postponed(**postponed)
        self.halt: Halt | None = None if halt is None else Halt(**halt)
        self.pending_callbacks = tuple(
            PendingCallback(**pending) for pending in value.get("pending_callbacks", ())
        )
        #: The recoveries, the oldest first, whose ledgers may have something to decide. They outlive their backups.
        self.recoveries = tuple(str(recovery) for recovery in value.get("recoveries", ()))

    def begin(self, plan: ResetPlan) -> None:
        """A reset is to be done, with a new backup."""
        record = Record(
            name=plan.backup, reset=plan.reset, reason=plan.reason, created=plan.noted, full=plan.full
        )
        self._write(
            plan=plan,
            records=(*self.records, record),
            pending_callbacks=(
                *self.pending_callbacks,
                PendingCallback(callback="before", backup=plan.backup),
            ),
            postponed=None,
            halt=None,
        )

    def reopen(self, plan: ResetPlan) -> None:
        """The server has lost what it gave a receipt for: the reset goes on from ``plan``, with the backups kept."""
        self._write(
            plan=plan,
            records=tuple(
                record if record.given_up else replace(record, state="kept") for record in self.records
            ),
        )

    def advance(self, plan: ResetPlan) -> None:
        """The next step of the reset under way."""
        self._write(plan=plan)

    def finish(
        self,
        plan: ResetPlan,
        covered: tuple[str, ...],
        state: Literal["receipted", "discarded", "handed_over"],
        *,
        at: int,
        fallback: Mapping[str, Any] | None,
    ) -> None:
        """The reset is done at ``at`` (µs), and the backups it covered are what ``state`` says.

        ``fallback`` is what the app is to be told where the reset ended in a discard that was not its first choice.
        """
        pending = [PendingCallback(callback="after", backup=name) for name in covered]
        if fallback is not None:
            pending.insert(0, PendingCallback(callback="fallback", backup=plan.backup, outcome=fallback))
        self._write(
            plan=None,
            records=tuple(
                replace(record, state=state, receipt=plan.receipt, recovery=plan.recovery, settled=at)
                if record.name in covered
                else record
                for record in self.records
            ),
            completed=Completed(reset=plan.reset, begun=plan.begun),
            pending_callbacks=(*self.pending_callbacks, *pending),
            recoveries=self._with_recovery(plan),
        )

    def _with_recovery(self, plan: ResetPlan) -> tuple[str, ...]:
        """The recoveries to remember. One that was done and parked nothing never will."""
        settled = plan.outcome == "recovered" and not plan.totals.get("parked")
        if plan.recovery is None or plan.recovery in self.recoveries or settled:
            return self.recoveries
        return (*self.recoveries, plan.recovery)

    def postpone(self, postponed: Postponed) -> None:
        """The server wants the reset to begin later."""
        self._write(postponed=postponed)

    def stop(self, halt: Halt) -> None:
        """This reset is not begun until something changes."""
        self._write(halt=halt)

    def calm(self) -> None:
        """The server orders nothing any more."""
        if self.halt is not None or self.postponed is not None:
            self._write(halt=None, postponed=None)

    def allow_again(self) -> None:
        """Forget that resets were postponed or went round in circles: the next order is followed at once."""
        self._write(halt=None, postponed=None, completed=None)

    def called_back(self, done: PendingCallback) -> None:
        """The callback has returned."""
        self._write(pending_callbacks=tuple(each for each in self.pending_callbacks if each != done))

    def forget(self, names: Iterable[str]) -> None:
        """Backups were deleted. Nobody can be shown them any more."""
        gone = set(names)
        self._write(
            records=tuple(record for record in self.records if record.name not in gone),
            pending_callbacks=tuple(
                pending for pending in self.pending_callbacks if pending.backup not in gone
            ),
        )

    def kept(self) -> tuple[Record, ...]:
        """The backups that nobody has taken over yet, the oldest first."""
        return tuple(record for record in self.records if record.state == "kept")

    def held(self) -> tuple[Record, ...]:
        """The backups that a restored server may need again, the oldest first: the kept, and those not proven yet."""
        return tuple(record for record in self.records if not record.given_up)

    def unproven(self) -> tuple[Record, ...]:
        """The backups of whose receipts no pull has proven yet that the server keeps what it has."""
        return tuple(record for record in self.held() if record.state == "receipted")

    def proven(self) -> None:
        """A pull has ended that began after all receipts had come."""
        if self.unproven():
            self._write(
                records=tuple(
                    replace(record, proven=True) if record.state == "receipted" else record
                    for record in self.records
                )
            )

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
                settled=record.settled,
            )
            for record in self.records
        ]

    def delete(self) -> None:
        """Remove the journal itself; what it names must be gone."""
        remove(self._path)
        self.reload()

    def _write(self, **changes: Any) -> None:
        """Change entries: on the disk first, so that nothing is done that the disk does not know of."""
        entries = {name: changes.get(name, getattr(self, name)) for name in ENTRIES}
        write_json(
            self._path, {"format": "syncreset-resets/1"} | {name: _plain(entries[name]) for name in ENTRIES}
        )
        for name, entry in changes.items():
            setattr(self, name, entry)


def _plain(entry: Any) -> Any:
    if isinstance(entry, tuple):
        return [each if isinstance(each, str) else asdict(each) for each in entry]
    return None if entry is None else asdict(entry)


def _plan(value: dict[str, Any]) -> ResetPlan:
    snapshot = value["snapshot"]
    if snapshot is not None:
        outlived = tuple((model, pk) for model, pk in snapshot["outlived"])
        snapshot = SnapshotFile(**{**snapshot, "covers": tuple(snapshot["covers"]), "outlived": outlived})
    return ResetPlan(**{**value, "allowed": tuple(value["allowed"]), "snapshot": snapshot})
