"""In what context changes are applied: for whom, as of when, and by which rules."""

import uuid
from dataclasses import dataclass

from ..clients.client import Client, SyncUser
from ..feed.cursor import Cursor
from ..rules.merge import Policy


@dataclass(frozen=True, kw_only=True)
class Context:
    """For whom changes are applied, as of when, and by which rules."""

    client: Client
    #: Whose permissions count.
    user: SyncUser
    #: What that user may hold.
    scopes: frozenset[str]
    #: The checkpoint up to which the client knows the feed, None where it is not known to have seen anything.
    seen: Cursor | None
    #: The checkpoint that the client shows with a push, which is genuine and its own. What the push writes is the
    #: client's own touch then. None where the changes come from elsewhere, as by a recovery or a decision.
    shown: Cursor | None = None
    #: The time of receipt (µs).
    received: int
    #: The server's time minus the client's (µs).
    offset: int = 0
    #: Whether what no client can write may be written.
    operator: bool = False
    #: Goes before the policies of the models.
    policy: Policy | None = None
    #: What the server itself had is written as it was, and a deletion cascades to nothing.
    undoing: bool = False
    #: Whether the changes were sent before, and not answered.
    again: bool = False
    #: Whether they are of a history that a restored server has lost.
    restored: bool = False
    #: The recovery whose changes these are, if they are one's.
    recovery: uuid.UUID | None = None

    @property
    def signer(self) -> uuid.UUID:
        """Under which id the feed remembers who touched a row.

        A recovery is not its client, which has yet to pull what it has written, and which may be one of two lives of
        a store.
        """
        return self.recovery or self.client.pk

    @property
    def of_client(self) -> bool:
        """Whether what is written is what the client itself did, by a push or in a snapshot."""
        brought = self.shown is not None or self.recovery is not None
        return brought and not self.operator and not self.undoing
