"""What a sync did, what a reset is doing, and what the server did not simply apply: data for apps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ResetState = Literal[
    "recovered",
    "waiting",
    "refused",
    "discarded",
    "handed_over",
    "postponed",
    "unfinished",
    "looping",
]
BackupState = Literal["kept", "receipted", "discarded", "handed_over", "salvaged", "unreadable"]
Stage = Literal[
    "noted",
    "backed_up",
    "downloading",
    "downloaded",
    "uploaded",
    "recovering",
    "recovered",
    "refused",
    "done",
]


@dataclass(frozen=True, kw_only=True)
class PendingChange:
    """A change that the server has not acknowledged. ``fields`` holds what was changed, in wire values.

    ``steps`` says of the counters and sets among them what was done to them: ``{"delta": n}``, or ``{"add": [...],
    "remove": [...]}``. What was sent and not answered is part of it.
    """

    model: str
    pk: str
    op: Literal["put", "delete"]
    fields: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """A change of this replica that the server did not simply apply. Kept until acknowledged by ``id``."""

    id: int
    model: str
    pk: str
    op: Literal["put", "delete"]
    #: The server's word for it; ``removed`` where the row left this replica's scopes, ``withdrawn`` where the steps of
    #: counters and sets may have been counted before, by this store's later life.
    state: str
    #: What is wrong: a stable code, a sentence, and the field; None where nothing is.
    code: str | None
    detail: str | None
    field: str | None
    #: The ledger's item, if there is one.
    item: str | None
    #: The values and steps that were sent.
    fields: Mapping[str, Any]
    #: The server's row at that time; None where it has none, or none that is visible.
    server: Mapping[str, Any] | None
    #: When it was answered (µs).
    at: int


@dataclass(frozen=True, kw_only=True)
class LedgerItem:
    """One item of the server's ledger. ``fields`` has, by name, ``client``, ``server``, ``base_clock`` and ``kept``."""

    id: str
    model: str
    pk: str
    op: Literal["put", "delete"]
    state: str
    fields: Mapping[str, Mapping[str, Any]]
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A store set aside by a reset. ``created`` and ``settled`` in µs; ``settled`` is None while it is ``kept``.

    ``state``: ``kept`` (not yet recovered), ``receipted`` (the server holds it all: ``receipt``), ``discarded``,
    ``handed_over`` (to the app's callback), ``salvaged`` (a damaged store: what can be read of it is in the live one),
    ``unreadable`` (nothing of it can be read).
    """

    path: Path
    reset: str
    reason: str
    created: int
    state: BackupState
    receipt: Mapping[str, Any] | None
    recovery: str | None
    settled: int | None = None
    #: Where the file is damaged: the tables of which something could not be read. Such a file is deleted by the app
    #: alone.
    damaged: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ResetEvent:
    """One step of a reset, for the app to show."""

    stage: Stage
    reset: str
    #: Why the server ordered the reset.
    reason: str
    #: What becomes of the unsynced changes.
    mode: str
    #: The store that was set aside.
    backup: Path
    #: Of ``total``: rows downloaded in this sync, bytes of the upload, or changes merged while recovering.
    sent: int = 0
    total: int = 0
    #: The ledger's items by state, once recovered.
    totals: Mapping[str, int] = field(default_factory=dict)
    #: What the server said, where it refused.
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ResetOutcome:
    """How far a reset is: what became of it in a sync, or what ``Replica.reset_state`` shows at any time.

    ``recovered``, ``discarded`` and ``handed_over`` are its ends. ``waiting``: the server is still merging.
    ``postponed``: the server asked to start over no earlier than ``until``, and nothing has been begun.
    ``unfinished``: it was interrupted. ``refused``: the server would not recover the backup, ``problem`` says why.
    ``looping``: the server orders it again though it was done.
    """

    reset: str
    #: Why the server ordered it.
    reason: str
    #: What becomes of the unsynced changes.
    mode: str
    state: ResetState
    #: The newest backup; None where nothing was begun.
    backup: Path | None = None
    #: The server's recovery, once there is one.
    recovery: str | None = None
    #: The ledger's items by state, once recovered.
    totals: Mapping[str, int] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None
    #: µs, by this device's clock.
    until: int | None = None

    @property
    def advice(self) -> str:
        """One sentence on what happens next, or on what to do."""
        return _ADVICE[self.state]


_ADVICE: Mapping[ResetState, str] = {
    "recovered": "Nothing is to be done: the server has a receipt for everything that the backup held.",
    "discarded": "Nothing is to be done; the backup is still there to be read.",
    "handed_over": "Nothing is to be done: the app has taken over what it wanted.",
    "waiting": "Nothing is to be done: the next sync asks whether the server is done merging.",
    "postponed": "Nothing is to be done: work goes on offline, and the first sync after that time starts over.",
    "unfinished": "Nothing is to be done: the next sync goes on where this one was interrupted.",
    "refused": (
        "Tell the operator. Each sync asks whether the cause is mended; retry_reset() uploads the backup anew, "
        "and with another mode gives up recovering it."
    ),
    "looping": (
        "Tell the operator. Work goes on offline and every backup is kept; another reset ends it, and so does "
        "retry_reset() once the server is mended."
    ),
}


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What one sync did.

    ``pushed`` changes sent, ``pulled`` changes received, ``results`` the sent ones by state, ``pending`` changes left
    to send, ``unresolved`` changes waiting to be looked at, ``resets`` those met on the way. ``damaged``: the files
    beside the store, or backups of it, that were found damaged since the last report; all are kept.
    """

    pushed: int
    pulled: int
    results: Mapping[str, int]
    pending: int
    unresolved: int
    resets: tuple[ResetOutcome, ...] = ()
    damaged: tuple[Path, ...] = ()

    @property
    def reset(self) -> ResetOutcome | None:
        """The last reset of this sync, if there was one."""
        return self.resets[-1] if self.resets else None
