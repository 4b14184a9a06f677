"""Keeps devices and a Django database in step, and recovers a device's unsynced work after a client reset."""

from .tracking.register import register

__all__ = ["__version__", "register"]

__version__ = "0.1.0"
