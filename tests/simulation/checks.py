"""What must hold at the end of a schedule. Nothing is taken from the totals of the product."""

import json
from typing import Any

from syncreset.clients.scopes import scopes_of
from syncreset.ledger.item import Item, ItemState
from syncreset.recovery.job import Recovery, RecoveryState
from syncreset.sdk import ResetOutcome
from tests.simulation.account import RowName
from tests.simulation.devices import Device
from tests.simulation.house.models import Label, Note, Part, Room, Thing
from tests.simulation.releases import Releases
from tests.simulation.world import LABEL, NOTE, PART, ROOM, THING, World

#: Syncs of every device until nothing moves: a reset takes two, and so does a name of one's own.
ROUNDS = 6

#: What the server is asked where somebody has to decide over a counter or a set.
_ASKED = ("step_unclear", "unexplained")


def settle(world: World) -> None:
    """Everything that is under way comes to its end, and everybody syncs until nothing moves."""
    world.network.killed_at = None
    while world.network.late:
        world.network.deliver(0)
    world.network.works = True
    world.network.work_on(world.dice.randrange)
    for device in world.devices:
        device.skew = 0
    for _ in range(ROUNDS):
        for device in world.dice.sample(world.devices, len(world.devices)):
            world.story.append(f"at the end {device.name} syncs")
            world.synced(device)
            world.clock.pass_by(700_000_000)


def violations(world: World) -> list[str]:
    """What does not hold."""
    return [
        *_lost_values(world),
        *_wrong_counters(world),
        *_lost_elements(world),
        *_rows_that_came_back(world),
        *_unfinished(world),
        *_not_at_rest(world),
        *_differing(world),
    ]


def _lost_values(world: World) -> list[str]:
    account, server = world.account, world.on_server()
    told = "\n".join(_told_by(device) for device in world.devices)
    accounted = account.superseded() | account.lost | account.lost_before
    return [
        f"{value} of {write.row} {write.name}, written by {write.by} over {write.over!r}, is nowhere"
        for value, write in account.writes.items()
        if value not in accounted and value not in server and value not in told
    ]


def _told_by(device: Device) -> str:
    """What the device has told its user of, or keeps for an operator."""
    told = repr(device.replica.unresolved())
    state = device.replica.reset_state()
    return told if state is None or not _waits_for_an_operator(state) else told + device.content()


def _asked_about(world: World, name: str) -> set[RowName]:
    """Rows of which somebody is asked, or was told, what became of a field."""
    asked = {
        (told.model, told.pk)
        for device in world.devices
        for told in device.replica.unresolved()
        if name in told.fields or told.op == "delete"
    }
    for item in Item.objects.filter(state__in=[ItemState.PARKED, ItemState.REJECTED]):
        if name in item.change["fields"] or item.code in _ASKED or item.op == "delete":
            asked.add((item.change["model"], item.change["pk"]))
    return asked


def _wrong_counters(world: World) -> list[str]:
    asked, sums = _asked_about(world, "qty"), world.account.sums()
    return [
        f"qty of {pk} is {qty}, and {sums[THING, str(pk)]} was counted"
        for pk, qty in Thing.objects.values_list("pk", "qty")
        if (THING, str(pk)) not in world.account.unsure | asked and qty != sums[THING, str(pk)]
    ]


def _lost_elements(world: World) -> list[str]:
    asked, found = _asked_about(world, "tags"), []
    for row, elements in world.account.elements().items():
        thing = Thing.objects.filter(pk=row[1]).first()
        if thing is None or row in world.account.unsure | asked:
            continue
        there = set(thing.tags.values_list("pk", flat=True))
        if elements - there:
            found.append(f"tags of {row[1]} are {sorted(there)}, and {sorted(elements)} were added")
    return found


def _rows_that_came_back(world: World) -> list[str]:
    """Rows which somebody deleted who had seen all that was ever written in them."""
    if world.account.deletions_unsure:
        return []
    there = {(THING, str(pk)) for pk in Thing.objects.values_list("pk", flat=True)}
    there |= {(PART, str(pk)) for pk in Part.objects.values_list("pk", flat=True)}
    superseded = {write.over for write in world.account.writes.values()}
    found = []
    for deletion in world.account.deletions:
        values = {value for value, write in world.account.writes.items() if write.row == deletion.row}
        unseen = values - superseded - deletion.seen
        if deletion.with_another:
            continue
        if deletion.row in there and not unseen and not world.account.touched_beside(deletion):
            found.append(f"{deletion.row} was deleted by {deletion.by}, and is there")
    return found


def _unfinished(world: World) -> list[str]:
    stuck = Recovery.objects.exclude(
        state__in=[RecoveryState.DONE, RecoveryState.REVIEW, RecoveryState.UNDONE]
    )
    return [f"recovery {one.pk} is {one.state}: {one.problem}" for one in stuck]


def _not_at_rest(world: World) -> list[str]:
    found, items = [], Item.objects.count()
    for device in world.devices:
        report = world.synced(device)
        if report is None or report.pushed or report.pulled or report.pending:
            found.append(f"{device.name} is not at rest: {report} {world.story[-1][-300:]}")
        if (state := device.replica.reset_state()) is not None and not _waits_for_an_operator(state):
            found.append(f"{device.name} is in a reset: {state}")
    if Item.objects.count() != items:
        found.append("the ledger grows at rest")
    return found


def _waits_for_an_operator(outcome: ResetOutcome) -> bool:
    """Whether the device keeps its backup for something that a person did, and has been told so.

    The recovery was undone before the device had heard of it, or a release was taken back and its database with it.
    """
    code = (outcome.problem or {}).get("code")
    return code in ("recovery_undone", "unsupported_schema") and outcome.backup is not None


def _differing(world: World) -> list[str]:
    found = []
    for device in world.devices:
        theirs = _rows_of(device, world.releases)
        mine = {
            model: sorted(
                (json.dumps(row, sort_keys=True, default=str) for row in device.replica.all(model))
                if model in device.replica.models
                else ()
            )
            for model in theirs
        }
        for model, rows in theirs.items():
            if rows != mine[model]:
                only = [row for row in rows if row not in mine[model]]
                others = [row for row in mine[model] if row not in rows]
                found.append(f"{device.name}: of {model} the server has {only}, the device {others}")
    return found


def _rows_of(device: Device, releases: Releases) -> dict[str, list[str]]:
    """The server's rows in the scopes of the device's user, as the device would show them."""
    rooms = Room.objects.filter(members=device.user)
    assert scopes_of(device.user), "everybody holds at least what is everyone's"
    rows: dict[str, list[dict[str, Any]]] = {
        ROOM: [{"id": str(room.pk), "name": room.name} for room in rooms],
        LABEL: [{"name": label.name, "colour": label.colour} for label in Label.objects.all()],
        THING: [_thing(thing) for thing in Thing.objects.filter(room__in=rooms)],
        PART: [
            {"id": str(part.pk), "room": str(part.room_id), "thing": str(part.thing_id), "a": part.a}
            for part in Part.objects.filter(room__in=rooms)
        ],
        NOTE: [
            {"id": str(note.pk), "room": str(note.room_id), "a": note.a}
            | ({"more": note.more} if releases.number == 2 else {})
            for note in Note.objects.filter(room__in=rooms)
        ],
    }
    return {model: sorted(json.dumps(row, sort_keys=True) for row in found) for model, found in rows.items()}


def _thing(thing: Thing) -> dict[str, Any]:
    return {
        "id": str(thing.pk),
        "room": str(thing.room_id),
        "a": thing.a,
        "c": thing.c,
        "s": thing.s,
        "n": thing.n,
        "qty": thing.qty,
        "code": thing.code,
        "parent": None if thing.parent_id is None else str(thing.parent_id),
        "tags": sorted(thing.tags.values_list("pk", flat=True)),
        "near": sorted(str(pk) for pk in thing.near.values_list("pk", flat=True)),
    }
