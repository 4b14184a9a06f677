"""Keeps devices and a Django database in step, and recovers a device's unsynced work after a client reset."""

__version__ = "0.1.0"
