"""In what context changes are applied: for whom, as of when, and by which rules."""

from dataclasses import dataclass

from ..clients.client import Client, SyncUser
from ..rules.merge import Policy


@dataclass(frozen=True, kw_only=True)
class Context:
    """For whom changes are applied, as of when, and by which rules.

    ``seen`` is the number of the checkpoint up to which the client knows the feed, ``offset`` the server's time minus
    the client's, ``received`` the time of receipt (both µs). An ``operator`` may write what no client can. A ``policy``
    goes before those of the models. With ``undoing``, what the server itself had is written as it was, and a deletion
    cascades to nothing.
    """

    client: Client
    user: SyncUser
    scopes: frozenset[str]
    seen: int
    received: int
    offset: int = 0
    operator: bool = False
    policy: Policy | None = None
    undoing: bool = False
