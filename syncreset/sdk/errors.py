"""What can go wrong in a replica, as exceptions. Every one leaves the replica as it was, or resumable."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reports import Backup, PendingChange, ResetOutcome, SyncReport, Unresolved


class ReplicaError(Exception):
    """The root of all errors of the SDK."""


class UnknownModel(ReplicaError, KeyError):
    """The schema has no such model. Before the first sync it has none at all."""

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownField(ReplicaError, KeyError):
    """The model has no such field."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingRow(ReplicaError, KeyError):
    """The replica does not hold a row of this primary key."""

    def __str__(self) -> str:
        return str(self.args[0])


class ReplicaBusy(ReplicaError):
    """Another thread or process is syncing this replica, or a transaction is open on its connection."""


class ReplicaClosed(ReplicaError):
    """The replica was closed: open another one."""


class StorageFailed(ReplicaError):
    """This device's own storage fails, at the file ``path``. What the disk has taken before is as it was."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class StoreDamaged(StorageFailed):
    """A file is damaged: the store, or a backup of which nothing can be read. It is kept as it is.

    For the store, open the replica with ``salvage=True``. For a backup it is raised once, when ordinary syncing was
    done: see ``report``.
    """

    def __init__(self, message: str, *, path: Path, report: "SyncReport | None" = None) -> None:
        super().__init__(message, path=path)
        self.report = report


class DiskFull(StorageFailed):
    """There is no room left. Nothing is lost: make room, and call again what was called."""


class StoreUnreadable(StorageFailed):
    """A file cannot be read or written: no permission, a read-only disk, or an error of the disk.

    Nothing is lost by it: mend the cause, and call again what was called.
    """


class TransactionEnded(ReplicaError):
    """A callback began, committed or rolled back a transaction. The cause of a CallbackFailed; nothing was kept."""

    def __init__(self, operation: str | None) -> None:
        super().__init__(
            f"{operation} in a callback, whose writes are one transaction with what the replica notes of it: "
            "write to the replica without committing, or use its transaction()"
        )


class ServerUnavailable(ReplicaError):
    """No answer, or none in which the server says what is wrong. Nothing is lost: the next sync continues.

    That is 408, 425, 429, 5xx, and whatever a proxy or a login page answers in the server's place. ``status`` is the
    last answer's, None where there was none. ``retry_after``: in how many seconds the server wants to be asked again,
    if it said so.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ProtocolViolation(ReplicaError):
    """The server answered something that the protocol does not have."""


class ProblemReceived(ReplicaError):
    """A 4xx in which the server says what is wrong.

    ``status``, the stable ``code``, ``detail``, and all members of the ``problem`` (RFC 9457).
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem["code"])
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.problem = dict(problem)
        super().__init__(f"{status} {self.code}: {self.detail}")


class ClientResetOrdered(ProblemReceived):
    """The 409 ``client_reset``. The engine handles it; an app never sees it."""

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, problem)
        self.retry_after = retry_after


class WrongUser(ProblemReceived):
    """The token is of another user than this replica's (403 ``client_forbidden``). Nothing was sent or changed.

    Open the replica with its own user's token, or another file for this user; ``safe_logout`` makes room.
    """


class ResetLoop(ReplicaError):
    """The server orders a reset again that has been done, or ever new ones. All backups are kept.

    Raised once; from then on ``Replica.reset_state`` and the reports of syncs say ``looping``. ``outcome`` is that
    state, with its ``reset``, ``reason``, ``problem`` and ``advice``; ``backups`` are those not yet recovered.
    """

    def __init__(self, message: str, *, outcome: "ResetOutcome", backups: "Sequence[Backup]") -> None:
        super().__init__(f"{message}. {outcome.advice}")
        self.outcome = outcome
        self.backups = tuple(backups)


class LogoutRefused(ReplicaError):
    """Logging out would lose what no server has: ``pending`` changes, ``backups`` kept, ``unresolved`` ones.

    The cause is what kept the last sync from sending them, if it failed. Nothing was deleted.
    """

    def __init__(
        self,
        *,
        pending: "Sequence[PendingChange]",
        backups: "Sequence[Backup]",
        unresolved: "Sequence[Unresolved]",
    ) -> None:
        self.pending, self.backups, self.unresolved = tuple(pending), tuple(backups), tuple(unresolved)
        parts = [
            f"{len(lost)} {words}"
            for lost, words in (
                (self.pending, "changes not acknowledged by the server"),
                (self.backups, "backups not recovered"),
                (self.unresolved, "refused changes that only this device holds"),
            )
            if lost
        ]
        super().__init__(
            f"logging out would lose {', '.join(parts)}: sync first, or export_pending() and force=True"
        )


class ResetModeNotAllowed(ReplicaError):
    """The server does not allow the replica's mode for this reset. Nothing was begun; the store is in use as before."""


class CallbackFailed(ReplicaError):
    """An app's callback raised; its exception is the cause. The reset continues from there at the next sync."""


class RecoveryFailed(ReplicaError):
    """The server would not recover the backup, which is kept. Ordinary syncing was done: see ``report``.

    ``problem`` is what the server said. Raised once for each refusal; from then on ``Replica.reset_state`` and the
    reports of syncs say ``refused``, until the server is mended or ``Replica.retry_reset`` is called.
    """

    def __init__(self, message: str, *, problem: Mapping[str, Any], report: "SyncReport") -> None:
        super().__init__(message)
        self.problem = dict(problem)
        self.report = report
