"""What a sync did, what a reset is doing, and what the server did not simply apply: data for apps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Backup", "LedgerItem", "PendingChange", "ResetEvent", "ResetOutcome", "SyncReport", "Unresolved"]

ResetState = Literal["recovered", "waiting", "refused", "discarded", "handed_over"]
Stage = Literal["noted", "backed_up", "downloaded", "uploaded", "recovering", "recovered", "refused", "done"]


@dataclass(frozen=True, kw_only=True)
class PendingChange:
    """A change that the server has not acknowledged. ``fields`` holds what was changed, in wire values."""

    model: str
    pk: str
    op: Literal["put", "delete"]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """A change of this replica that the server did not simply apply. Kept until acknowledged by ``id``.

    ``state`` is the server's word for it, or ``removed`` where the row left this replica's scopes. ``fields`` are the
    values that were sent, ``server`` the server's row at that time (None: it has none, or it is not visible), ``item``
    the ledger's item if there is one, ``at`` the time (µs).
    """

    id: int
    model: str
    pk: str
    op: Literal["put", "delete"]
    state: str
    code: str | None
    detail: str | None
    field: str | None
    item: str | None
    fields: Mapping[str, Any]
    server: Mapping[str, Any] | None
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
    """A store set aside by a reset. ``created`` in µs.

    ``state``: ``kept`` (not yet recovered), ``receipted`` (the server holds it all: ``receipt``), ``discarded``,
    ``handed_over`` (to the app's callback).
    """

    path: Path
    reset: str
    reason: str
    created: int
    state: Literal["kept", "receipted", "discarded", "handed_over"]
    receipt: Mapping[str, Any] | None
    recovery: str | None


@dataclass(frozen=True, kw_only=True)
class ResetEvent:
    """One step of a reset, for the app to show.

    ``sent`` and ``total`` are bytes of the upload, or changes merged while recovering. ``totals`` counts the ledger's
    items by state, once recovered.
    """

    stage: Stage
    reset: str
    reason: str
    mode: str
    backup: Path
    sent: int = 0
    total: int = 0
    totals: Mapping[str, int] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ResetOutcome:
    """What became of a reset in this sync. ``waiting``: the server is still merging; the next sync asks again."""

    reset: str
    reason: str
    mode: str
    state: ResetState
    backup: Path
    recovery: str | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What one sync did.

    ``pushed`` changes sent, ``pulled`` changes received, ``results`` the sent ones by state, ``pending`` changes left
    to send, ``unresolved`` changes waiting to be looked at, ``resets`` those met on the way.
    """

    pushed: int
    pulled: int
    results: Mapping[str, int]
    pending: int
    unresolved: int
    resets: tuple[ResetOutcome, ...] = ()

    @property
    def reset(self) -> ResetOutcome | None:
        """The last reset of this sync, if there was one."""
        return self.resets[-1] if self.resets else None
