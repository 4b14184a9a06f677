"""The replica: rows of the server on this device, to read and write offline and to sync when there is a connection."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import httpx

from . import engine
from .errors import LogoutRefused, ReplicaError, StoreDamaged
from .reports import Backup, LedgerItem, ResetEvent, ResetOutcome, SyncReport, Unresolved
from .reset import procedure as resetting
from .reset.callbacks import Callbacks
from .reset.device import Device
from .reset.dispose import delete_backups
from .reset.export import export_pending
from .reset.leave import leave
from .reset.state import reset_outcome
from .store.faults import guarded, storage_errors
from .store.reader import BackupView
from .store.store import Store
from .store.writer import Writer
from .sync import decide as deciding
from .transport.http import HttpDriver
from .watch import POLL, Watch

Mode = Literal["manual", "recover", "discard", "recover_or_discard"]
Listener = Callable[[ResetEvent], None]

#: Seconds that a sync waits for the server's recovery: by default, and with ``wait=True``.
PATIENCE, LONG_PATIENCE = 30.0, 600.0

#: Seconds that a backup stays after it need not be recovered any more, by default: 30 days.
KEEP_BACKUPS = 30 * 24 * 60 * 60.0


class Replica(Writer):
    """A replica in one SQLite file. A context manager; to be used by one thread.

    ``url`` is the root of the server's sync API. ``mode`` says what becomes of changes not yet sent when the server
    orders a reset: ``recover`` uploads the backup and lets the server merge it, ``manual`` calls
    ``on_manual(before, live)`` with the backup and this replica, ``discard`` takes the server's data alone,
    ``recover_or_discard`` does that only if the server would not recover. A backup is kept in every mode.
    ``strategy`` names how the server derives changes from the backup; None leaves that to the server.

    ``on_reset`` is a function, or several, called with a ResetEvent at each step. ``on_before(before)`` is called with
    each backup as soon as the store has been set aside, ``on_after(before, live)`` once the reset is through and the
    replica up to date again, ``on_fallback(outcome)`` where ``recover_or_discard`` discarded. These three are called
    again, also after a restart, until they have returned once; they cannot sync.

    ``keep_backups`` is how many seconds backups stay that need not be recovered any more, None for ever. ``client`` is
    an ``httpx.Client`` to send with. ``salvage`` looks whether the file is damaged: if it is, it is set aside as a
    backup, and the replica goes on with what can be read of it.

    Where the device's storage fails, every member raises StoreDamaged, DiskFull or StoreUnreadable.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        url: str,
        token: str | None = None,
        *,
        mode: Mode = "recover",
        name: str | None = None,
        strategy: str | None = None,
        on_reset: Listener | Iterable[Listener] | None = None,
        on_before: Callable[[BackupView], None] | None = None,
        on_after: Callable[[BackupView, "Replica"], None] | None = None,
        on_fallback: Callable[[ResetOutcome], None] | None = None,
        on_manual: Callable[[BackupView, "Replica"], None] | None = None,
        keep_backups: float | None = KEEP_BACKUPS,
        salvage: bool = False,
        headers: Mapping[str, str] | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
        if mode == "manual" and on_manual is None:
            raise ValueError("mode='manual' needs on_manual, which takes over from the backup what is wanted")
        if keep_backups is not None and keep_backups < 0:
            raise ValueError("keep_backups is a number of seconds, or None")
        listeners = (on_reset,) if callable(on_reset) else tuple(on_reset or ())
        callbacks = Callbacks(
            listeners=listeners,
            manual=self._with_both(on_manual),
            before=None if on_before is None else partial(_with_backup, on_before),
            after=self._with_both(on_after),
            fallback=on_fallback,
        )
        self._device = Device(
            Path(path),
            mode=mode,
            strategy=strategy,
            callbacks=callbacks,
            keep_backups=keep_backups,
            salvage=salvage,
        )
        self._driver = HttpDriver(url, token, headers=headers, client=client)
        try:
            with storage_errors(self.path):
                self._introduce(name)
        except BaseException:
            self.close()
            raise

    def _with_both(
        self, callback: Callable[[BackupView, "Replica"], None] | None
    ) -> Callable[[Path], None] | None:
        return None if callback is None else partial(_with_backup, lambda before: callback(before, self))

    def _introduce(self, name: str | None) -> None:
        store = self._device.store
        with store.transaction():
            if store.get("client") is None:
                store.put(client=str(uuid.uuid4()))
            if name is not None and store.get("name") != name:
                store.put(name=name, registered=False)

    def _open_store(self) -> Store:
        return self._device.store

    @property
    def path(self) -> Path:
        """The file of the live store."""
        return self._device.path

    @property
    def client_id(self) -> str:
        """The id by which the server knows this replica."""
        with storage_errors(self.path):
            return str(self._device.store.get("client"))

    # -- syncing --------------------------------------------------------------------------------------------------

    @guarded
    def sync(self, *, wait: bool | float = PATIENCE) -> SyncReport:
        """Push what is pending, pull what is new, and do what a reset asks.

        ``wait`` bounds how many seconds are spent waiting for the server, for its recovery after a reset and for the
        time that it wants the reset to begin (True: ten minutes, False: not at all); the next sync asks again. Raises
        ServerUnavailable, ProblemReceived (WrongUser among them), ReplicaBusy, and of resets ResetLoop,
        ResetModeNotAllowed, CallbackFailed and RecoveryFailed. Whatever is raised, the next sync continues.
        """
        patience = (LONG_PATIENCE if wait else 0.0) if isinstance(wait, bool) else wait
        with self._device.alone():
            return self._driver.run(engine.sync(self._device, patience=patience))

    def watch(self, *, poll: float = POLL, wait: bool | float = PATIENCE) -> Watch:
        """Sync now, and again whenever the server says that there is something to pull: iterate over the reports.

        A context manager; its ``close`` may be called from any thread. Where the server has no events for this
        replica, it syncs every ``poll`` seconds instead. ``wait`` is that of ``sync``.
        """
        return Watch(partial(self.sync, wait=wait), self._driver.listen, poll=poll)

    @guarded
    def unresolved(self) -> list[Unresolved]:
        """Changes of this replica that the server did not simply apply, the oldest first, until acknowledged."""
        return self._device.store.unresolved()

    @guarded
    def acknowledge(self, *items: Unresolved | int) -> None:
        """The app or its user has seen these; they are no longer listed."""
        self._device.store.acknowledge(item if isinstance(item, int) else item.id for item in items)

    @guarded
    def items(self, state: str | None = "parked") -> list[LedgerItem]:
        """The items of the ledgers of this replica's recoveries, by default those that wait for a decision.

        Asks the server: of every recovery whose backup is still here, and of every one that has parked something.
        Changes that were parked when pushed are in ``unresolved``, with their item's id.
        """
        recoveries = [backup.recovery for backup in self.backups() if backup.recovery is not None]
        recoveries += self._device.journal.recoveries
        return self._driver.run(deciding.items_of(dict.fromkeys(recoveries), state))

    @guarded
    def resolve(self, item: LedgerItem | Unresolved | str, keep: deciding.Keep) -> LedgerItem:
        """Decide a parked item: keep ``"client"``, ``"server"``, or ``{field: value}``. The next sync brings the row.

        Returns the item as it is then: still parked where the server's value has changed since, or where the values
        cannot be written. Raises ProblemReceived ``not_parked`` for one that is decided, ValueError for one without
        an id.
        """
        if isinstance(item, Unresolved):
            if item.item is None:
                raise ValueError("the server keeps no item of this change")
            decided = self._driver.run(deciding.resolve(item.item, keep))
            if decided.state != "parked":
                self.acknowledge(item)
            return decided
        return self._driver.run(deciding.resolve(item if isinstance(item, str) else item.id, keep))

    # -- resets -------------------------------------------------------------------------------------------------

    @guarded
    def reset_state(self) -> ResetOutcome | None:
        """Where a reset stands that is not through: to be shown to the user. None where there is none.

        ``state`` is ``postponed``, ``unfinished``, ``waiting``, ``refused`` or ``looping``; ``advice`` says what to do.
        Asks nobody.
        """
        self._device.journal.reload()
        return reset_outcome(self._device.journal, self._device.mode)

    @guarded
    def retry_reset(self, *, mode: Mode | None = None) -> None:
        """Let the next sync take up what was refused, put off, or went round in circles, as if for the first time.

        With ``mode`` the reset under way goes on in that mode: ``discard`` gives up recovering its backups, ``manual``
        hands them to ``on_manual``. Raises ValueError where no reset is under way, ResetModeNotAllowed where the
        server does not allow that mode.
        """
        if mode is not None and mode not in get_args(Mode):
            raise ValueError(f"mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
        with self._device.alone(within=True):
            self._device.journal.reload()
            resetting.retry(self._device, mode)

    # -- backups --------------------------------------------------------------------------------------------------

    @guarded
    def backups(self) -> list[Backup]:
        """The stores that resets have set aside, the oldest first."""
        self._device.journal.reload()
        return self._device.journal.backups()

    @guarded
    def open_backup(self, backup: Backup | str | PathLike[str]) -> BackupView:
        """A backup, to read from; of a damaged one what can be read. Raises StoreDamaged where that is nothing."""
        path: Path | None = backup.path if isinstance(backup, Backup) else Path(backup)
        if path in [known.path for known in self.backups()]:
            path = self._device.backup(path.name)
        if path is None:
            raise StoreDamaged(f"nothing can be read of {backup}", path=self.path)
        return BackupView(path)

    @guarded
    def delete_backup(self, backup: Backup) -> None:
        """Delete a backup's files for good. Raises ValueError for one that has yet to be recovered."""
        if backup.state == "kept":
            raise ValueError(f"{backup.path.name} has not been recovered: syncing recovers it")
        with self._device.alone(within=True):
            self._device.journal.reload()
            delete_backups(self._device.journal, [backup.path.name])

    @guarded
    def export_pending(self, path: str | PathLike[str]) -> int:
        """Write everything unsynced, of this replica and of every backup not yet recovered, into one file.

        It is a snapshot: gzip of lines of JSON. Returns how many rows and deletions it holds. Nothing else changes.
        """
        return export_pending(self._device, Path(path))

    # -- the end --------------------------------------------------------------------------------------------------

    @guarded
    def safe_logout(self, *, force: bool = False) -> None:
        """Sync, close the replica and delete it from this device, with its client id and all backups.

        Raises LogoutRefused where that would lose what no server holds, its cause being the error of the sync if there
        was one; nothing is deleted then. ``force`` deletes all the same.
        """
        failure: ReplicaError | None = None
        try:
            self.sync()
        except ReplicaError as error:
            failure = error
        try:
            leave(self._device, force=force)
        except LogoutRefused as refused:
            raise refused from failure
        self._driver.close()

    @guarded
    def close(self) -> None:
        """Close the store and the connections."""
        self._device.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        """The labels of the models."""
        return iter(self.models)


def _with_backup(callback: Callable[[BackupView], None], path: Path) -> None:
    with BackupView(path) as before:
        callback(before)
