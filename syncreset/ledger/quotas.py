"""Whether a user may have more items that wait for a decision."""

from .. import conf
from ..clients.client import Client, SyncUser
from ..clients.quotas import require_quota
from .item import Item, ItemState


def require_room_for_parked(user: SyncUser) -> None:
    """Refuse what could be parked where too much of the user's is already. Raises QuotaExceeded."""
    clients = Client.objects.filter(user=user.pk).values("pk")
    parked = Item.objects.filter(client__in=clients, state=ItemState.PARKED).order_by()
    # Counted no further than it matters.
    count = parked.values("pk")[: conf.get("PARKED_QUOTA")].count()
    require_quota("PARKED_QUOTA", count, "decide what is parked, or have the operator decide it")
