"""Replicas against a simulated server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncreset.sdk import Replica
from tests.support.farm import stock
from tests.support.fleet import Fleet
from tests.support.simulated_server import SimulatedServer


@pytest.fixture
def server() -> SimulatedServer:
    return SimulatedServer()


@pytest.fixture
def fleet(server: SimulatedServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(server, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def animals(server: SimulatedServer) -> None:
    stock(server)


@pytest.fixture
def replica(animals: None, fleet: Fleet) -> Replica:
    return fleet.synced()
