"""Keeps devices and a Django database in step, and recovers a device's unsynced work after a client reset."""

from .recovery.upcast.register import upcast
from .tracking.register import register

__all__ = ["__version__", "register", "upcast"]

__version__ = "0.1.0"
