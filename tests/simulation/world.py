"""The world of one schedule: a server, devices on files, and an account of all that was done."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from syncreset.ledger.item import Item
from syncreset.sdk import ReplicaError, SyncReport
from tests.simulation.account import Account
from tests.simulation.devices import Device
from tests.simulation.fixed import Fixed
from tests.simulation.house.models import Label, Membership, Note, Part, Room, Thing
from tests.simulation.network import Network
from tests.simulation.releases import Releases
from tests.simulation.schedule import Step
from tests.support.fleet import Reaper, sync

LABEL, THING, PART, ROOM, NOTE = "house.label", "house.thing", "house.part", "house.room", "house.note"

#: Seconds that a sync waits for the server.
PATIENCE = 2.0


class World:
    """``story`` tells what happened, a line for each step."""

    def __init__(
        self, users: Mapping[str, User], directory: Path, fixed: Fixed, reaper: Reaper, releases: Releases
    ) -> None:
        self.releases = releases
        self.fixed, self.clock, self.reaper = fixed, fixed.clock, reaper
        self.directory, self.users = directory, users
        self.network, self.account = Network(self.clock), Account()
        self.devices: list[Device] = []
        self.backup: tuple[Callable[[], None], set[int]] | None = None
        self.story: list[str] = []
        self.dice = random.Random(0)
        self._furnish()
        for name, user in (("ada", "ann"), ("ben", "ann"), ("cleo", "bob")):
            self.add_device(name, users[user])

    def _furnish(self) -> None:
        """Two rooms of each user, one of them common to both, and a few things that everybody has seen."""
        self.rooms = [Room.objects.create(name=f"room {number}") for number in range(3)]
        for name, numbers in (("ann", (0, 1)), ("bob", (1, 2))):
            for number in numbers:
                Membership.objects.create(user=self.users[name], room=self.rooms[number])
        for number in range(3):
            Label.objects.create(name=f"L{number}")
        for room in self.rooms:
            note = Note.objects.create(room=room, a=(value := self.account.value("first")))
            self.account.wrote((NOTE, str(note.pk)), "a", value, by="server", over="")
        for number in range(4):
            room = self.rooms[(0, 1, 1, 2)[number]]
            thing = Thing.objects.create(room=room, a=(value := self.account.value("first")), qty=0)
            self.account.wrote((THING, str(thing.pk)), "a", value, by="server", over="")
            if number % 2:
                part = Part.objects.create(room=room, thing=thing, a=(value := self.account.value("first")))
                self.account.wrote((PART, str(part.pk)), "a", value, by="server", over="")

    def add_device(self, name: str, user: User) -> Device:
        self.fixed.clock.pass_by(1)
        device = Device(name, user, self.directory / name)
        self.devices.append(device)
        self.synced(device)
        return device

    def close(self) -> None:
        for device in self.devices:
            device.close()

    # -- steps ----------------------------------------------------------------------------------------------------

    def play(self, step: Step, actions: Mapping[str, Callable[["World", Device], str | None]]) -> None:
        """Let one thing happen, and some time pass."""
        self.dice.seed(step.dice)
        self.fixed.chance.seed(step.dice)
        device = self.devices[step.who % len(self.devices)]
        self.story.append(f"[{len(self.story)}] {step.action} ({device.name})")
        told = actions[step.action](self, device)
        self.story[-1] += f": {told or 'nothing to do'}"
        self.clock.pass_by(self.dice.choice((1_000, 500_000, 40_000_000)))

    def synced(self, device: Device, **faults: Any) -> SyncReport | None:
        """One sync of a device. None where it broke off."""
        line = self.network.line(device.user, **faults)
        try:
            with self.clock.seen_with(device.skew):
                report = sync(device.replica, line, patience=PATIENCE)
        except ReplicaError as error:
            self.story[-1:] = [f"{''.join(self.story[-1:])} <{type(error).__name__}: {error}>"]
            return None
        if not report.pending and device.replica.reset_state() is None:
            self.account.reached_server(device.name)
        return report

    # -- who has what ---------------------------------------------------------------------------------------------

    def holders(self) -> str:
        """All that the server and the devices keep, as one text to look for values in."""
        return "\n".join([self.on_server(), *(device.content() for device in self.devices)])

    def on_server(self) -> str:
        return "\n".join(
            [
                *(json.dumps(list(row)) for row in Thing.objects.values_list("a", "c", "s", "n")),
                *Part.objects.values_list("a", flat=True),
                *Label.objects.values_list("colour", flat=True),
                *(json.dumps(list(row)) for row in Note.objects.values_list("a", "more")),
                self.in_ledger(),
            ]
        )

    def in_ledger(self) -> str:
        """Every item, with all that it keeps, and what waits to be recovered."""
        items = Item.objects.values_list("change", "fields", "before", "after", "cascaded")
        return "\n".join(json.dumps(item) for item in items)
