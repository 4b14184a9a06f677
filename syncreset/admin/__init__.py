"""Django's admin of syncreset: clients, resets, uploads, recoveries and the ledger, and the actions of an operator.

``SyncTrackedAdmin`` is for the application's own tracked models.
"""

from .pages.clients import ClientAdmin
from .pages.dashboard import DashboardAdmin
from .pages.entries import EntryAdmin
from .pages.items import ItemAdmin
from .pages.recoveries import RecoveryAdmin
from .pages.resets import ResetAdmin
from .pages.uploads import UploadAdmin
from .tracked import SyncTrackedAdmin

__all__ = [
    "ClientAdmin",
    "DashboardAdmin",
    "EntryAdmin",
    "ItemAdmin",
    "RecoveryAdmin",
    "ResetAdmin",
    "SyncTrackedAdmin",
    "UploadAdmin",
]
