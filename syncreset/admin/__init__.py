"""Django's admin of syncreset: clients, resets, uploads, recoveries and the ledger, and the actions of an operator.

``SyncTrackedAdmin`` is for the application's own tracked models.
"""

from .clients import ClientAdmin
from .dashboard import DashboardAdmin
from .entries import EntryAdmin
from .items import ItemAdmin
from .recoveries import RecoveryAdmin
from .resets import ResetAdmin
from .tracked import SyncTrackedAdmin
from .uploads import UploadAdmin

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
