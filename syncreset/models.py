"""What Django looks for here: the tables, each defined beside the only code that writes it."""

from .apply.counted import CountedStep
from .clients.client import Client, LastSynced
from .clients.resets import Reset
from .feed.checkpoints import Checkpoint, FeedState
from .feed.entries import Entry
from .ledger.item import Item
from .operations.status import Dashboard
from .recovery.job import Recovery
from .recovery.uploads import Piece, Upload
from .sync.receipts import LastAnswer
from .tracking.models import SyncTrackedModel
from .wire.schema import PublishedSchema

__all__ = [
    "Checkpoint",
    "Client",
    "CountedStep",
    "Dashboard",
    "Entry",
    "FeedState",
    "Item",
    "LastAnswer",
    "LastSynced",
    "Piece",
    "PublishedSchema",
    "Recovery",
    "Reset",
    "SyncTrackedModel",
    "Upload",
]
