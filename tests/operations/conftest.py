"""Devices and shelters as the server's tests have them, and the running of subcommands."""

from tests.server.conftest import device, other_shelter, shelter

__all__ = ["device", "other_shelter", "shelter"]
