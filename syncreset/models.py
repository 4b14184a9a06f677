"""What Django looks for here: the tables, each defined beside the only code that writes it."""

from .clients.client import Client, LastSynced
from .clients.resets import Reset
from .feed.checkpoints import Checkpoint, FeedState
from .feed.entries import Entry
from .ledger.item import Item
from .operations.status import Dashboard
from .recovery.job import Recovery
from .recovery.uploads import Piece, Upload
from .tracking.models import SyncTrackedModel
from .wire.schema import PublishedSchema

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
