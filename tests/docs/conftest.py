"""Devices and shelters as the server's tests have them."""

from tests.server.conftest import device, shelter

__all__ = ["device", "shelter"]
