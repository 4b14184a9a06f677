"""A row that the server refuses leaves the device once, and is told once."""

import json
from typing import Any

import pytest

from syncreset.protocol.changes import Change
from syncreset.sdk import Replica
from tests.support.fleet import Fleet, online
from tests.support.simulated_server import SimulatedServer

CRATE = "farm.crate"


@pytest.fixture
def field(server: SimulatedServer, fleet: Fleet) -> Replica:
    """A replica whose new rows are refused; the model has counters and a set, which they leave unset."""
    replica = fleet.synced()
    server.refuse = refuse
    return replica


def refuse(change: Change) -> dict[str, Any] | None:
    return {"code": "unique", "detail": "taken"} if change.base is None else None


def puts(server: SimulatedServer) -> int:
    bodies = [json.loads(request.body) for request in server.requests if request.path == "push"]
    return sum(len(body["changes"]) for body in bodies)


def test_a_refused_new_row_with_unset_counters_and_sets_is_pushed_once(
    server: SimulatedServer, fleet: Fleet, field: Replica
) -> None:
    field.create(CRATE, pk="c9", name="Refused")

    for _ in range(3):
        fleet.sync(field)

    assert puts(server) == 1
    assert field.pending() == 0
    assert len(field.unresolved()) == 1
    assert field.get(CRATE, "c9") is None


def test_a_device_with_a_refused_row_can_be_left_once_it_was_told(
    server: SimulatedServer, fleet: Fleet
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    server.refuse = refuse
    replica.create(CRATE, pk="c9", name="Refused")
    replica.sync()

    replica.acknowledge(*replica.unresolved())
    replica.safe_logout()

    assert not replica.path.exists()


@pytest.mark.parametrize("meanwhile", [{"eggs": 3}, {"labels": ["fresh"]}, {"name": "Renamed"}], ids=str)
def test_what_is_edited_while_the_row_is_under_way_keeps_it(
    server: SimulatedServer, fleet: Fleet, field: Replica, meanwhile: dict[str, Any]
) -> None:
    def edit_and_refuse(change: Change) -> dict[str, Any] | None:
        server.refuse = lambda change: None
        field.update(CRATE, "c9", **meanwhile)
        return refuse(change)

    server.refuse = edit_and_refuse
    field.create(CRATE, pk="c9", name="Refused")
    fleet.sync(field)

    assert server.fields(CRATE)["c9"].items() >= meanwhile.items()
    row = field.get(CRATE, "c9")
    assert row is not None
    assert row.items() >= meanwhile.items()
