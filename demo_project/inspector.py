"""The inspectors of the walk-through: each a user with a device that survives whatever happens to the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from demo_project.ramp.people import PASSWORD
from demo_project.telling import StoryFailed, Told, say
from syncreset.sdk import LedgerItem, Replica, ResetOutcome, SyncReport

__all__ = ["AIRPORT", "DEFECT", "FLIGHT", "INSPECTION", "VEHICLE", "Inspector", "log_in"]

FLIGHT, INSPECTION, DEFECT, VEHICLE = "ramp.flight", "ramp.inspection", "ramp.defect", "ground.vehicle"
AIRPORT = "JFK"


@dataclass(frozen=True, kw_only=True)
class Inspector:
    """One inspector with a device."""

    name: str
    replica: Replica

    def sync(self) -> SyncReport:
        """Sync, and tell what happened."""
        report = self.replica.sync(wait=True)
        results = (
            ", ".join(f"{count} {state}" for state, count in sorted(report.results.items())) or "nothing"
        )
        say(self.name, f"pushed [b]{results}[/b], pulled [b]{report.pulled}[/b] changes")
        return report

    def sync_after_reset(self, reason: str) -> ResetOutcome:
        """Sync, where the server must order a reset for this reason and recover what the device holds."""
        reset = self.sync().reset
        if reset is None or (reset.reason, reset.state) != (reason, "recovered"):
            raise StoryFailed(f"{self.name}'s device was to be reset ({reason}) and recovered, not: {reset}")
        return reset

    def parked(self) -> list[LedgerItem]:
        """The items of this device's recoveries that wait for a person."""
        return self.replica.items("parked")

    def inspect(self, flight: str, remarks: str) -> str:
        """Make an inspection of a flight. Returns its key."""
        return self.replica.create(INSPECTION, {
            "airport": AIRPORT,
            "flight": flight,
            "inspector": self.name.title(),
            "started": "2013-01-01T11:00:00.000000Z",
            "result": "open",
            "remarks": remarks,
            "fuel_kg": "8200.5",
            "checklist": {"chocks": True, "cones": True},
        })  # fmt: skip

    def report_defect(self, inspection: str, **fields: Any) -> str:
        """Note a defect that an inspection found. Returns its key."""
        return self.replica.create(DEFECT, {"airport": AIRPORT, "inspection": inspection, **fields})


@contextmanager
def log_in(name: str, url: str, devices: Path) -> Iterator[Inspector]:
    """A user with a device in its own directory below ``devices``, logged in by the token endpoint."""
    answer = httpx.post(f"{url}api/token/", json={"username": name, "password": PASSWORD}, timeout=30)
    answer.raise_for_status()
    path = devices / name / "field.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    token = answer.json()["token"]
    with Replica(path, f"{url}sync/v1/", token, name=f"{name}'s tablet", on_reset=Told(name)) as replica:
        yield Inspector(name=name, replica=replica)
