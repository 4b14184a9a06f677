"""What can go wrong in a replica, as exceptions. Every one leaves the replica as it was, or resumable."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reports import SyncReport

__all__ = [
    "CallbackFailed",
    "ClientResetOrdered",
    "MissingRow",
    "ProblemReceived",
    "ProtocolViolation",
    "RecoveryFailed",
    "ReplicaBusy",
    "ReplicaError",
    "ResetLoop",
    "ResetModeNotAllowed",
    "ServerUnavailable",
    "StoreSetAside",
    "UnknownField",
    "UnknownModel",
]


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


class StoreSetAside(ReplicaError):
    """The connection is to a store that a client reset has made a backup: nothing can be written to it any more."""


class ServerUnavailable(ReplicaError):
    """No answer, or only 429 and 5xx. Nothing is lost: the next sync continues."""


class ProtocolViolation(ReplicaError):
    """The server answered something that the protocol does not have."""


class ProblemReceived(ReplicaError):
    """A 4xx: ``status``, the stable ``code``, ``detail``, and all members of the problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.problem = dict(problem)
        super().__init__(f"{status} {self.code}: {self.detail}")


class ClientResetOrdered(ProblemReceived):
    """The 409 ``client_reset``. The engine handles it; an app never sees it."""


class ResetLoop(ReplicaError):
    """The server keeps ordering a reset that has been done. All backups are kept; the operator has to look."""


class ResetModeNotAllowed(ReplicaError):
    """The server does not allow the replica's mode for this reset. Nothing was begun; the store is in use as before."""


class CallbackFailed(ReplicaError):
    """An app's callback raised; its exception is the cause. The reset continues from there at the next sync."""


class RecoveryFailed(ReplicaError):
    """The server would not recover the backup, which is kept. Ordinary syncing was done: see ``report``.

    ``problem`` is what the server said.
    """

    def __init__(self, message: str, *, problem: Mapping[str, Any], report: "SyncReport") -> None:
        super().__init__(message)
        self.problem = dict(problem)
        self.report = report
