"""One replica's open parts: its store, its journal, what its app chose. What the engine and the resets work on."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ReplicaBusy, ReplicaClosed, StoreDamaged
from ..reports import ResetEvent, Stage
from ..store.faults import storage_errors
from ..store.steps import doubt_if_copied, seal_steps
from ..store.store import Store
from . import backup, damaged
from .callbacks import Callbacks
from .dispose import delete_everything
from .entries import ResetPlan
from .journal import Journal

#: Seconds to wait for another sync of the same replica to end.
LOCK_TIMEOUT = 5.0


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
        callbacks: Callbacks,
        keep_backups: float | None,
        salvage: bool = False,
    ) -> None:
        self.path = path
        self.mode = mode
        self.strategy = strategy
        self.callbacks = callbacks
        #: Seconds that a settled backup is kept; None: for ever.
        self.keep_backups = keep_backups
        self.lock = path.with_name(path.name + ".lock")
        self.closed = False
        self._holds_lock = False
        with storage_errors(path):
            self.journal = Journal(path)
            self.mend_journal()
            plan = self.journal.plan
            if self.journal.salvaging is not None or (
                plan is not None and plan.step in ("set_aside", "renew")
            ):
                with self.alone():
                    self.settle()
            self._store = self._salvaged() if salvage else self._open()

    def _salvaged(self) -> Store:
        """The store; where it is damaged, a new one with what can be read of it."""
        try:
            if not self.path.exists() or not damaged.is_damaged(self.path):
                return self._open()
        except StoreDamaged:
            # What no check of the pages tells, as a value that cannot be read.
            pass
        with self.alone():
            self.journal.reload()
            damaged.salvage_store(self.path, self.journal)
        return self._open()

    def mend_journal(self) -> None:
        """Keep what can be read of a damaged journal, and take up the backups that it has lost."""
        if damaged.needs_mending(self.journal):
            with self.alone(within=True):
                self.journal.reload()
                if damaged.needs_mending(self.journal):
                    damaged.mend(self.path, self.journal, mode=self.mode, strategy=self.strategy)

    def _open(self) -> Store:
        """The store, or a new one in the place of one whose user was leaving: that is finished first."""
        store = Store(self.path)
        try:
            if not store.sealed():
                with store.transaction():
                    seal_steps(store)
                    doubt_if_copied(store)
                return store
        except BaseException:
            store.close()
            raise
        store.close()
        with self.alone(within=True):
            self.settle()
            store = Store(self.path)
            if store.sealed() and store.get("leaving"):
                store.close()
                delete_everything(self.path, self.journal)
                return Store(self.path)
            if store.sealed():
                # It was about to become the backup of a reset that the journal has lost.
                store.unseal()
        return store

    @property
    def store(self) -> Store:
        """The open store. Opened anew where somebody else's reset has replaced the file. Raises ReplicaClosed."""
        if self.closed:
            raise ReplicaClosed(f"the replica of {self.path} was closed")
        with storage_errors(self.path):
            if self._store.closed or self._store.replaced():
                self._store.close()
                with self.alone(within=True):
                    self.settle()
                self._store = self._open()
        return self._store

    def close(self) -> None:
        self.closed = True
        self._store.close()

    @contextlib.contextmanager
    def alone(self, *, within: bool = False) -> Iterator[None]:
        """Keep other threads and processes from syncing this replica meanwhile. Raises ReplicaBusy.

        The lock is SQLite's own on a file of its own, so that it ends with the process, however that ends. With
        ``within`` a callback of the sync that holds it may enter as well.
        """
        if self.closed:
            raise ReplicaClosed(f"the replica of {self.path} was closed")
        if within and self._holds_lock:
            yield
            return
        if self._holds_lock:
            raise ReplicaBusy(f"{self.path} is being synced: a callback cannot sync it")
        with storage_errors(self.lock):
            lock = sqlite3.connect(self.lock, isolation_level=None, timeout=LOCK_TIMEOUT)
        try:
            try:
                with storage_errors(self.lock):
                    lock.execute("BEGIN EXCLUSIVE")
            except ReplicaBusy as error:
                raise ReplicaBusy(f"{self.path} is being synced by another thread or process") from error
            except StoreDamaged:
                # It holds nothing, so that nothing is lost: the next call makes it anew.
                self.lock.unlink(missing_ok=True)
                raise
            self._holds_lock = True
            yield
        finally:
            self._holds_lock = False
            lock.close()

    def settle(self) -> None:
        """Take the steps of a reset that need no server: until there is a store again. Repeats what was interrupted."""
        self.journal.reload()
        if self.journal.salvaging is not None:
            damaged.salvage_store(self.path, self.journal)
        plan = self.journal.plan
        if plan is not None and plan.step == "set_aside":
            backup.set_aside(self.path, self.journal.path(plan.backup))
            plan = self.advance(plan, step="renew")
        if plan is not None and plan.step == "renew":
            record = self.journal.record(plan.backup)
            backup.renew(
                self.path,
                damaged.to_renew_from(self.journal, record),
                client=record.client,
                keep_schema=plan.reason != "schema_incompatible",
            )
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

    def backup(self, name: str) -> Path | None:
        """The file to read a backup from, None where nothing of it can be read."""
        with self.alone(within=True):
            return damaged.readable(self.journal, name, self.store)

    def tell(self, stage: Stage, plan: ResetPlan, **details: Any) -> None:
        """Tell the app's listeners. Raises CallbackFailed if one raises."""
        self.callbacks.tell(
            ResetEvent(
                stage=stage,
                reset=plan.reset,
                reason=plan.reason,
                mode=plan.mode,
                backup=self.journal.path(plan.backup),
                **details,
            )
        )

    def call_back(self, *kinds: str) -> bool:
        """Call the callbacks that are pending, the oldest first. Returns whether there was any.

        Raises CallbackFailed; what raised is pending still, and so is what comes after it.
        """
        due = [callback for callback in self.journal.pending_callbacks if callback.callback in kinds]
        for callback in due:
            path = self.backup(callback.backup)
            if path is not None or callback.callback == "fallback":
                self.callbacks.call(callback, path or self.journal.path(callback.backup), self.store)
            self.journal.called_back(callback)
        return bool(due)
