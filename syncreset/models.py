"""What Django looks for here: the tables, each defined beside the only code that writes it."""

from .clients import Client, LastSynced
from .feed import Checkpoint, Entry, FeedState
from .ledger import Item
from .overview import Dashboard
from .recovery_job import Recovery
from .resets import Reset
from .schemas import PublishedSchema
from .tracking.models import SyncTrackedModel
from .uploads import Piece, Upload

__all__ = [
    "Checkpoint",
    "Client",
    "Dashboard",
    "Entry",
    "FeedState",
    "Item",
    "LastSynced",
    "Piece",
    "PublishedSchema",
    "Recovery",
    "Reset",
    "SyncTrackedModel",
    "Upload",
]
