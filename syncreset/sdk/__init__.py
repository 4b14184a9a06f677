"""The Python SDK: a replica of the server's data in SQLite, usable offline. Works without Django.

from syncreset.sdk import Replica

with Replica("field.db", "https://example.org/sync/v1/", token) as replica:
    replica.sync()
    replica.update("shelters.dog", pk, age=4)
    replica.sync()
"""

from .errors import (
    CallbackFailed,
    DiskFull,
    LogoutRefused,
    MissingRow,
    ProblemReceived,
    ProtocolViolation,
    RecoveryFailed,
    ReplicaBusy,
    ReplicaClosed,
    ReplicaError,
    ResetLoop,
    ResetModeNotAllowed,
    ServerUnavailable,
    StorageFailed,
    StoreDamaged,
    StoreUnreadable,
    UnknownField,
    UnknownModel,
    WrongUser,
)
from .replica import Mode, Replica
from .reports import Backup, LedgerItem, PendingChange, ResetEvent, ResetOutcome, SyncReport, Unresolved
from .store.reader import BackupView
from .transport.messages import Exchange, Request, Response
from .watch import Watch

__all__ = [
    "Backup",
    "BackupView",
    "CallbackFailed",
    "DiskFull",
    "Exchange",
    "LedgerItem",
    "LogoutRefused",
    "MissingRow",
    "Mode",
    "PendingChange",
    "ProblemReceived",
    "ProtocolViolation",
    "RecoveryFailed",
    "Replica",
    "ReplicaBusy",
    "ReplicaClosed",
    "ReplicaError",
    "Request",
    "ResetEvent",
    "ResetLoop",
    "ResetModeNotAllowed",
    "ResetOutcome",
    "Response",
    "ServerUnavailable",
    "StorageFailed",
    "StoreDamaged",
    "StoreUnreadable",
    "SyncReport",
    "UnknownField",
    "UnknownModel",
    "Unresolved",
    "Watch",
    "WrongUser",
]
