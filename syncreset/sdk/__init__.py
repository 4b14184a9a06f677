"""The Python SDK: a replica of the server's data in SQLite, usable offline. Works without Django.

from syncreset.sdk import Replica

with Replica("field.db", "https://example.org/sync/v1/", token) as replica:
    replica.sync()
    replica.update("shelters.dog", pk, age=4)
    replica.sync()
"""

from .errors import (
    CallbackFailed,
    MissingRow,
    ProblemReceived,
    ProtocolViolation,
    RecoveryFailed,
    ReplicaBusy,
    ReplicaError,
    ResetLoop,
    ResetModeNotAllowed,
    ServerUnavailable,
    UnknownField,
    UnknownModel,
)
from .messages import Exchange, Request, Response
from .replica import BackupView, Mode, Replica
from .reports import Backup, LedgerItem, PendingChange, ResetEvent, ResetOutcome, SyncReport, Unresolved

__all__ = [
    "Backup",
    "BackupView",
    "CallbackFailed",
    "Exchange",
    "LedgerItem",
    "MissingRow",
    "Mode",
    "PendingChange",
    "ProblemReceived",
    "ProtocolViolation",
    "RecoveryFailed",
    "Replica",
    "ReplicaBusy",
    "ReplicaError",
    "Request",
    "ResetEvent",
    "ResetLoop",
    "ResetModeNotAllowed",
    "ResetOutcome",
    "Response",
    "ServerUnavailable",
    "SyncReport",
    "UnknownField",
    "UnknownModel",
    "Unresolved",
]
