"""What a replica must remember beside its store: the reset under way, the backups, what the app is still to be told.

One small file next to the store, replaced atomically: each step of a reset is written here before it is taken. Where
the file is damaged, what can be read of it holds, and the file is kept under another name.
"""

import glob
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...protocol.clock import now
from ..reports import Backup, BackupState
from . import files
from .entries import (
    Completed,
    Halt,
    PendingCallback,
    Postponed,
    Record,
    ResetPlan,
    plan_of,
    record_from,
    record_of,
)
from .journal_file import Entry, read_entries, write_entries

T = TypeVar("T")

#: The entries that are lists, written line by line, and those that are one object or none. What matters most is first.
LISTS = ("records", "pending_callbacks", "recoveries", "untold")
SINGLE = ("salvaging", "plan", "completed", "postponed", "halt")


class Journal:
    """The journal of one store. Every change is on the disk when its method returns."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(store.name + ".resets")
        self.reload()

    def reload(self) -> None:
        """Read what another process may have written."""
        entries, content, whole = read_entries(self._path)
        #: The content of the file where something of it could not be read.
        self._damaged = None if whole else content

        def every(name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
            values = []
            for entry, value in entries:
                try:
                    values += [read(value)] if entry == name else []
                except (KeyError, TypeError, ValueError):
                    self._damaged = content
            return tuple(values)

        def only(name: str, read: Callable[[Any], T]) -> T | None:
            return next(iter(every(name, read)), None)

        self.records = every("records", record_from)
        self.pending_callbacks = every("pending_callbacks", lambda value: PendingCallback(**value))
        #: The recoveries, the oldest first, whose ledgers may have something to decide. They outlive their backups.
        self.recoveries = every("recoveries", str)
        #: The files that were found damaged since the app was last told of such.
        self.untold = every("untold", str)
        #: The backup that a damaged store is becoming.
        self.salvaging: str | None = only("salvaging", str)
        self.plan: ResetPlan | None = only("plan", plan_of)
        self.completed: Completed | None = only("completed", lambda value: Completed(**value))
        self.postponed: Postponed | None = only("postponed", lambda value: Postponed(**value))
        self.halt: Halt | None = only("halt", lambda value: Halt(**value))

    def found(self) -> tuple[Record, ...]:
        """The backups beside the store that no entry names, the oldest first."""
        known = {record.name for record in self.records}
        names = [path.name for path in self._store.parent.glob(f"{glob.escape(self._store.name)}.backup-*")]
        records = [record_of(name, self._store.name) for name in names if name not in known]
        return tuple(sorted((each for each in records if each is not None), key=lambda each: each.created))

    @property
    def damaged(self) -> bool:
        """Whether something of the file could not be read."""
        return self._damaged is not None

    def mend(self, found: Iterable[Record], plan: ResetPlan | None) -> None:
        """Take up backups that no entry names, go on from ``plan``, and set a damaged journal aside."""
        known = tuple(found)
        before = tuple(PendingCallback(callback="before", backup=record.name) for record in known)
        self._write(
            records=tuple(sorted((*self.records, *known), key=lambda record: record.created)),
            pending_callbacks=(*self.pending_callbacks, *before),
            untold=(*self.untold, *(record.name for record in known)),
            plan=plan,
        )

    def begin(self, plan: ResetPlan, client: str | None) -> None:
        """A reset is to be done, with a new backup of a client's store."""
        record = Record(
            name=plan.backup,
            reset=plan.reset,
            reason=plan.reason,
            created=plan.noted,
            full=plan.full,
            client=client,
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

    def begin_salvage(self, record: Record) -> None:
        """The store is damaged, and is to become this backup."""
        self._write(records=(*self.records, record), salvaging=record.name)

    def end_salvage(self) -> None:
        """There is a store again."""
        self._write(salvaging=None)

    def note_damage(self, name: str, tables: tuple[str, ...], state: BackupState | None) -> None:
        """A backup was found damaged, and some tables could not be read wholly. ``state`` where it changes by that."""
        self._write(
            records=tuple(
                replace(record, damaged=tables, state=state or record.state)
                if record.name == name
                else record
                for record in self.records
            ),
            untold=(*(each for each in self.untold if each != name), name),
        )

    def read_again(self) -> None:
        """What could not be read is looked at once more: the disk may have been mended."""
        self._write(
            records=tuple(
                replace(record, state="kept", damaged=None) if record.state == "unreadable" else record
                for record in self.records
            )
        )

    def told(self) -> None:
        """The app knows which files were damaged."""
        if self.untold:
            self._write(untold=())

    def record(self, name: str) -> Record:
        """What is known of a backup. Raises KeyError for a name that is none's."""
        return {record.name: record for record in self.records}[name]

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
                damaged=record.damaged,
            )
            for record in self.records
        ]

    def delete(self) -> None:
        """Remove the journal itself; what it names must be gone."""
        files.remove(self._path)
        self.reload()

    def _write(self, **changes: Any) -> None:
        """Change entries: on the disk first, so that nothing is done that the disk does not know of."""
        if self._damaged is not None:
            aside = self._path.with_name(f"{self._path.name}.damaged-{now()}")
            files.write(aside, self._damaged)
            changes["untold"] = (*changes.get("untold", self.untold), aside.name)
        entries = {name: changes.get(name, getattr(self, name)) for name in (*LISTS, *SINGLE)}
        lines: list[Entry] = [(name, _plain(each)) for name in LISTS for each in entries[name]]
        lines += [(name, _plain(entries[name])) for name in SINGLE if entries[name] is not None]
        write_entries(self._path, lines)
        self._damaged = None
        for name, entry in changes.items():
            setattr(self, name, entry)


def _plain(entry: Any) -> Any:
    return entry if isinstance(entry, str) else asdict(entry)
