"""How much one user may have kept. Each is asked before anything is made.

No lock is held: requests that come at once may exceed a quota by what each of them brings.
"""

from typing import Any

from .. import conf
from ..protocol.errors import ProtocolError
from .client import Client, SyncUser


class QuotaExceeded(ProtocolError):
    """The user has as much kept as one may have. Nothing was taken; there is room again once something is done."""

    status = 429
    code = "quota_exceeded"


def require_quota(name: str, used: int, advice: str, more: int = 1) -> None:
    """Refuse what would be ``more`` than the setting allows. Raises QuotaExceeded."""
    quota: Any = conf.get(name)
    if used + more > quota:
        raise QuotaExceeded(f"this user's {name} is {quota}, and {used} are used: {advice}")


def require_room_for_client(user: SyncUser) -> None:
    """Whether the user may have another client. Raises QuotaExceeded."""
    require_quota(
        "CLIENTS_QUOTA",
        Client.objects.filter(user=user.pk).count(),
        "the operator can delete clients that are no longer in use",
    )
