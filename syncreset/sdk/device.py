"""One replica's open parts: its store, its journal, what its app chose. What the engine and the resets work on."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import backup
from .errors import CallbackFailed, ReplicaBusy
from .journal import Journal, ResetPlan
from .reports import ResetEvent, ResetOutcome, Stage
from .store import Store

__all__ = ["Device", "Tally"]

#: Seconds to wait for another sync of the same replica to end.
LOCK_TIMEOUT = 5.0


@dataclass(kw_only=True)
class Tally:
    """What one sync has done so far."""

    pushed: int = 0
    pulled: int = 0
    results: dict[str, int] = field(default_factory=dict)
    resets: list[ResetOutcome] = field(default_factory=list)
    #: How many resets were begun in this sync.
    begun: int = 0


class Device:
    """The store at a path, whichever file that is at the moment, and the journal beside it.

    Opening finishes what a kill has interrupted between setting a store aside and having the next one, so that there
    always is a store to write to.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: str,
        strategy: str | None,
        listeners: list[Callable[[ResetEvent], None]],
        hand_over: Callable[[Path], None] | None,
    ) -> None:
        self.path = path
        self.mode = mode
        self.strategy = strategy
        self.listeners = listeners
        self.hand_over = hand_over
        self.journal = Journal(path)
        if self.journal.plan is not None:
            with self.alone():
                self.settle()
        self._store = Store(path)

    @property
    def store(self) -> Store:
        """The open store. Opened anew where somebody else's reset has replaced the file."""
        if self._store.replaced():
            self._store.close()
            with self.alone():
                self.settle()
            self._store = Store(self.path)
        return self._store

    def close(self) -> None:
        self._store.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads and processes from syncing this replica meanwhile. Raises ReplicaBusy.

        The lock is SQLite's own on a file of its own, so that it ends with the process, however that ends.
        """
        lock = sqlite3.connect(
            self.path.with_name(self.path.name + ".lock"), isolation_level=None, timeout=LOCK_TIMEOUT
        )
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise ReplicaBusy(f"{self.path} is being synced by another thread or process") from error
            yield
        finally:
            lock.close()

    def settle(self) -> None:
        """Take the steps of a reset that need no server: until there is a store again. Repeats what was interrupted."""
        self.journal.reload()
        plan = self.journal.plan
        if plan is not None and plan.step == "set_aside":
            backup.set_aside(self.path, self.journal.path(plan.backup))
            plan = self.advance(plan, step="renew")
        if plan is not None and plan.step == "renew":
            keep_schema = plan.reason != "schema_incompatible"
            backup.renew(self.path, self.journal.path(plan.backup), keep_schema=keep_schema).close()
            self.advance(plan, step="bootstrap")

    def set_store_aside(self) -> None:
        """Close the store, make it a backup, and open the next one."""
        self._store.close()
        self.settle()
        self._store = Store(self.path)

    def advance(self, plan: ResetPlan, **changes: Any) -> ResetPlan:
        """Write the next step, or a part of one, into the journal before it is taken."""
        changed = ResetPlan(**{**plan.__dict__, **changes})
        self.journal.advance(changed)
        return changed

    def tell(self, stage: Stage, plan: ResetPlan, **details: Any) -> None:
        """Tell the app's listeners. Raises CallbackFailed if one raises."""
        event = ResetEvent(
            stage=stage,
            reset=plan.reset,
            reason=plan.reason,
            mode=plan.mode,
            backup=self.journal.path(plan.backup),
            **details,
        )
        for listener in self.listeners:
            try:
                listener(event)
            except Exception as error:
                raise CallbackFailed(f"on_reset raised at {stage!r}: {error!r}") from error
