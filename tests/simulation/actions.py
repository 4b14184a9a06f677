"""What people, programs and machines do in a schedule. Each returns what it did, None where it found nothing to do."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from syncreset.admin.deciding.form import decide
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import begin_epoch
from syncreset.ledger.item import Item, ItemState
from syncreset.operations.retention import purge
from syncreset.recovery.job import Recovery, RecoveryKind, RecoveryState
from syncreset.recovery.orders import recover_again, undo
from syncreset.recovery.review import NotParked
from tests.simulation.account import SERVER
from tests.simulation.devices import Device
from tests.simulation.fixed import DAY, SECOND
from tests.simulation.house.models import Membership, Note, Part, Room, Thing
from tests.simulation.world import LABEL, NOTE, PART, PATIENCE, ROOM, THING, World
from tests.support.fleet import Killed
from tests.support.fleet import sync as sync_replica
from tests.support.restoring import copy_database

Action = Callable[[World, Device], str | None]

TEXTS = ("a", "c", "s", "n")
CODES = ("K0", "K1", "K2", "K3")
MOST_DEVICES = 5


def _pick(world: World, device: Device, model: str) -> dict[str, Any] | None:
    """A row that the device holds."""
    if model not in device.replica.models:
        return None
    rows = sorted(device.replica.all(model), key=lambda row: str(row.get("id", row.get("name"))))
    return world.dice.choice(rows) if rows else None


# -- on a device --------------------------------------------------------------------------------------------------


def write(world: World, device: Device) -> str | None:
    row = _pick(world, device, THING)
    if row is None:
        return None
    names = world.dice.sample(TEXTS, world.dice.choice((1, 1, 2)))
    values = {name: world.account.value(device.name) for name in names}
    device.replica.update(THING, row["id"], values)
    for name, value in values.items():
        world.account.wrote((THING, row["id"]), name, value, by=device.name, over=row[name])
    return f"{row['id'][-4:]} {', '.join(f'{name} {row[name]} -> {value}' for name, value in values.items())}"


def write_part(world: World, device: Device) -> str | None:
    row = _pick(world, device, PART)
    if row is None:
        return None
    value = world.account.value(device.name)
    device.replica.update(PART, row["id"], a=value)
    # Who deletes the thing without having seen this would delete it, too.
    world.account.touched((THING, row["thing"]), by=device.name)
    world.account.wrote((PART, row["id"]), "a", value, by=device.name, over=row["a"])
    return f"{row['id'][-4:]} {row['a']} -> {value}"


def write_note(world: World, device: Device) -> str | None:
    row = _pick(world, device, NOTE)
    if row is None:
        return None
    name = world.dice.choice(sorted(row.keys() & {"a", "more"}))
    value = world.account.value(device.name)
    device.replica.update(NOTE, row["id"], {name: value})
    world.account.wrote((NOTE, row["id"]), name, value, by=device.name, over=row[name] or "")
    return f"{row['id'][-4:]} {name} {row[name]} -> {value}"


def make_note(world: World, device: Device) -> str | None:
    room = _pick(world, device, ROOM)
    if room is None or NOTE not in device.replica.models:
        return None
    value = world.account.value(device.name)
    made = device.replica.create(NOTE, room=room["id"], a=value)
    world.account.wrote((NOTE, made), "a", value, by=device.name, over="")
    return f"{made[-4:]} {value}"


def count(world: World, device: Device) -> str | None:
    row, amount = _pick(world, device, THING), world.dice.choice((-1, 1, 10, 100))
    if row is None:
        return None
    device.replica.connection.execute(
        "UPDATE house_thing SET qty = coalesce(qty, 0) + ? WHERE id = ?", (amount, row["id"])
    )
    world.account.counted((THING, row["id"]), amount, by=device.name)
    return f"{row['id'][-4:]} {row['qty']} {amount:+}"


def tag(world: World, device: Device) -> str | None:
    row, label = _pick(world, device, THING), _pick(world, device, LABEL)
    if row is None or label is None:
        return None
    name, tags = label["name"], set(row["tags"] or ())
    if name in tags and world.dice.random() < 0.4:
        device.replica.update(THING, row["id"], tags=sorted(tags - {name}))
        world.account.unmarked((THING, row["id"]), name, by=device.name)
        return f"{row['id'][-4:]} -{name}"
    device.replica.update(THING, row["id"], tags=sorted({*tags, name}))
    if name not in tags:
        world.account.marked((THING, row["id"]), name, by=device.name)
    return f"{row['id'][-4:]} +{name}"


def put_near(world: World, device: Device) -> str | None:
    row, other = _pick(world, device, THING), _pick(world, device, THING)
    if row is None or other is None or row["id"] == other["id"]:
        return None
    near = {*(row["near"] or ()), other["id"]}
    device.replica.update(THING, row["id"], near=sorted(near))
    world.account.touched((THING, row["id"]), (THING, other["id"]), by=device.name)
    return f"{row['id'][-4:]} is near {other['id'][-4:]}"


def code(world: World, device: Device) -> str | None:
    row, given = _pick(world, device, THING), world.dice.choice((*CODES, None))
    if row is None:
        return None
    try:
        device.replica.update(THING, row["id"], code=given)
    except sqlite3.IntegrityError:
        return None
    world.account.touched((THING, row["id"]), by=device.name)
    return f"{row['id'][-4:]} is {given}"


def adopt(world: World, device: Device) -> str | None:
    row, other = _pick(world, device, THING), _pick(world, device, THING)
    if row is None or other is None:
        return None
    parent = None if row["id"] == other["id"] else other["id"]
    device.replica.update(THING, row["id"], parent=parent)
    world.account.touched((THING, row["id"]), (THING, other["id"]), by=device.name)
    return f"{row['id'][-4:]} below {parent and parent[-4:]}"


def make(world: World, device: Device) -> str | None:
    room, parent, label = (_pick(world, device, model) for model in (ROOM, THING, LABEL))
    if room is None:
        return None
    value = world.account.value(device.name)
    more: dict[str, Any] = {}
    if parent is not None and world.dice.random() < 0.4:
        more["parent"] = parent["id"]
        world.account.touched((THING, parent["id"]), by=device.name)
    if label is not None and world.dice.random() < 0.4:
        more["tags"] = [label["name"]]
    amount = world.dice.choice((0, 0, 7))
    if amount:
        more["qty"] = amount
    made = device.replica.create(THING, {"room": room["id"], "a": value, **more})
    world.account.wrote((THING, made), "a", value, by=device.name, over="")
    world.account.counted((THING, made), amount, by=device.name)
    for element in more.get("tags", ()):
        world.account.marked((THING, made), element, by=device.name)
    return f"{made[-4:]} {value} {more}"


def make_part(world: World, device: Device) -> str | None:
    thing = _pick(world, device, THING)
    if thing is None:
        return None
    value = world.account.value(device.name)
    made = device.replica.create(PART, {"room": thing["room"], "thing": thing["id"], "a": value})
    world.account.touched((THING, thing["id"]), by=device.name)
    world.account.wrote((PART, made), "a", value, by=device.name, over="")
    return f"{made[-4:]} of {thing['id'][-4:]} {value}"


def make_label(world: World, device: Device) -> str | None:
    if LABEL not in device.replica.models:
        return None
    name, value = f"M{world.dice.randrange(3)}", world.account.value(device.name)
    before = next((row["colour"] for row in device.replica.all(LABEL) if row["name"] == name), None)
    if before is None:
        device.replica.create(LABEL, name=name, colour=value)
    else:
        device.replica.update(LABEL, name, colour=value)
    world.account.wrote((LABEL, name), "colour", value, by=device.name, over=before or "")
    return f"{name} {before} -> {value}"


def delete(world: World, device: Device) -> str | None:
    row = _pick(world, device, THING)
    if row is None:
        return None
    parts = [part for part in device.replica.all(PART) if part["thing"] == row["id"]]
    device.replica.delete(THING, row["id"])
    values, reset = [row[name] for name in TEXTS], device.replica.reset_state() is not None
    world.account.deleted((THING, row["id"]), by=device.name, seen=values, reset=reset)
    for part in parts:
        world.account.deleted((PART, part["id"]), by=device.name, seen=[part["a"]], with_another=True)
    return f"{row['id'][-4:]} with {len(parts)} parts"


def delete_part(world: World, device: Device) -> str | None:
    row = _pick(world, device, PART)
    if row is None:
        return None
    device.replica.delete(PART, row["id"])
    world.account.deleted((PART, row["id"]), by=device.name, seen=[row["a"]])
    return str(row["id"][-4:])


def move(world: World, device: Device) -> str | None:
    row, room = _pick(world, device, THING), _pick(world, device, ROOM)
    if row is None or room is None:
        return None
    parts = [part["id"] for part in device.replica.all(PART) if part["thing"] == row["id"]]
    device.replica.update(THING, row["id"], room=room["id"])
    for part in parts:
        device.replica.update(PART, part, room=room["id"])
    world.account.touched((THING, row["id"]), *((PART, part) for part in parts), by=device.name)
    return f"{row['id'][-4:]} into {room['name']}, with {[part[-4:] for part in parts]}"


# -- on the server ------------------------------------------------------------------------------------------------


def _thing(world: World) -> Thing | None:
    things = list(Thing.objects.order_by("pk"))
    return world.dice.choice(things) if things else None


def server_write(world: World, device: Device) -> str | None:
    thing = _thing(world)
    if thing is None:
        return None
    name, value = world.dice.choice(TEXTS), world.account.value("server")
    before = getattr(thing, name)
    setattr(thing, name, value)
    thing.save()
    world.account.wrote((THING, str(thing.pk)), name, value, by=SERVER, over=before)
    return f"{str(thing.pk)[-4:]} {name} {before} -> {value}"


def server_write_note(world: World, device: Device) -> str | None:
    notes = list(Note.objects.order_by("pk"))
    if not notes:
        return None
    note, value = world.dice.choice(notes), world.account.value("server")
    before, note.a = note.a, value
    note.save()
    world.account.wrote((NOTE, str(note.pk)), "a", value, by=SERVER, over=before)
    return f"{str(note.pk)[-4:]} a {before} -> {value}"


def server_count(world: World, device: Device) -> str | None:
    thing = _thing(world)
    if thing is None:
        return None
    Thing.objects.filter(pk=thing.pk).update(qty=F("qty") + 1000)
    row = (THING, str(thing.pk))
    world.account.counted(row, 1000, by=SERVER)
    return f"{row[1][-4:]} +1000"


def server_delete(world: World, device: Device) -> str | None:
    thing = _thing(world)
    if thing is None:
        return None
    row = (THING, str(thing.pk))
    for part in Part.objects.filter(thing=thing):
        world.account.deleted((PART, str(part.pk)), by=SERVER, seen=[part.a], with_another=True)
    world.account.deleted(row, by=SERVER, seen=[getattr(thing, name) for name in TEXTS])
    thing.delete()
    return row[1][-4:]


def server_move(world: World, device: Device) -> str | None:
    thing, room = _thing(world), world.dice.choice(world.rooms)
    if thing is None or not Room.objects.filter(pk=room.pk).exists():
        return None
    with transaction.atomic():
        Thing.objects.filter(pk=thing.pk).update(room=room)
        Part.objects.filter(thing=thing).update(room=room)
    parts = Part.objects.filter(thing=thing).values_list("pk", flat=True)
    world.account.touched((THING, str(thing.pk)), *((PART, str(pk)) for pk in parts), by=SERVER)
    return f"{str(thing.pk)[-4:]} into {room.name}"


def server_code(world: World, device: Device) -> str | None:
    thing, given = _thing(world), world.dice.choice((*CODES, None))
    if thing is None:
        return None
    try:
        with transaction.atomic():
            Thing.objects.filter(pk=thing.pk).update(code=given)
    except IntegrityError:
        return None
    world.account.touched((THING, str(thing.pk)), by=SERVER)
    return f"{str(thing.pk)[-4:]} is {given}"


def member(world: World, device: Device) -> str | None:
    """The user of a device wins a room, or loses one."""
    room = world.dice.choice(world.rooms)
    world.account.deletions_unsure = True
    removed, _ = Membership.objects.filter(user=device.user, room=room).delete()
    if not removed:
        Membership.objects.create(user=device.user, room=room)
    return f"{device.user} {'loses' if removed else 'wins'} {room.name}"


# -- on the way ---------------------------------------------------------------------------------------------------


def sync(world: World, device: Device) -> str | None:
    return str(world.synced(device) and "well")


def sync_all(world: World, device: Device) -> str | None:
    order = world.dice.sample(world.devices, len(world.devices))
    for one in order:
        world.synced(one)
    return ", ".join(one.name for one in order)


def lose(world: World, device: Device) -> str | None:
    """A sync whose request, or answer, is lost. The replica goes on, or is opened anew."""
    number, seen = world.dice.randrange(9), world.dice.random() < 0.5
    world.synced(device, cut_at=number, seen=seen)
    if world.dice.random() < 0.3:
        device.reopen()
    return f"the {'answer to' if seen else ''} request {number}"


def delay(world: World, device: Device) -> str | None:
    """A request of a sync is long on its way: the device gives it up, and it arrives later."""
    number = world.dice.randrange(8)
    world.synced(device, cut_at=number, late=True)
    return f"request {number}"


def arrive(world: World, device: Device) -> str | None:
    if not world.network.late:
        return None
    world.network.deliver(world.dice.randrange(1_000))
    return "a late request"


def kill(world: World, device: Device) -> str | None:
    """The app is killed in the middle of a sync: at a request, a commit, or an operation on a file."""
    moment = world.dice.randrange(1, 60)
    world.reaper.arm(moment)
    line = world.network.line(device.user)
    try:
        with world.clock.seen_with(device.skew):
            sync_replica(device.replica, world.reaper.answering(line), patience=PATIENCE)
    except Killed:
        return f"at moment {moment}"
    finally:
        world.reaper.arm(None)
        device.reopen()
    return "it was through already"


# -- behind the server --------------------------------------------------------------------------------------------


def order(world: World, device: Device) -> str | None:
    wave = world.dice.random() < 0.3
    chosen = world.devices if wave else [device]
    Reset.objects.force(Client.objects.filter(pk__in=[one.replica.client_id for one in chosen]))
    return ", ".join(one.name for one in chosen)


def work(world: World, device: Device) -> str | None:
    """The worker stops, or begins again and does what is queued."""
    world.network.works = not world.network.works
    if world.network.works:
        world.network.work_on(world.dice.randrange)
    return "begins" if world.network.works else "stops"


def kill_worker(world: World, device: Device) -> str | None:
    world.network.killed_at = world.dice.randrange(4)
    return f"at transaction {world.network.killed_at}"


def again(world: World, device: Device) -> str | None:
    done = [one for one in _merges(world) if one.kind == RecoveryKind.MERGE]
    if not done:
        return None
    recover_again(world.dice.choice(done))
    if world.network.works:
        world.network.work()
    return "a snapshot is recovered again"


def take_back(world: World, device: Device) -> str | None:
    """An operator undoes a recovery: nobody can foretell what its rows' counters and sets are then."""
    done = [one for one in _merges(world) if one.state in (RecoveryState.DONE, RecoveryState.REVIEW)]
    if not done:
        return None
    chosen = world.dice.choice(done)
    undo(chosen)
    world.account.deletions_unsure = True
    for item in Item.objects.filter(recovery=chosen):
        world.account.unsure.add((item.change["model"], item.change["pk"]))
    if world.network.works:
        world.network.work()
    return f"the recovery of {chosen.client_id}"


def _merges(world: World) -> list[Recovery]:
    merges = Recovery.objects.filter(kind=RecoveryKind.MERGE, upload__purged__isnull=True)
    return list(merges.order_by("created", "pk"))


def review(world: World, device: Device) -> str | None:
    """An operator decides a parked item."""
    parked = list(Item.objects.filter(state=ItemState.PARKED).order_by("created", "pk"))
    if not parked:
        return None
    item, keep = world.dice.choice(parked), world.dice.choice(("client", "server"))
    world.account.unsure.add((item.change["model"], item.change["pk"]))
    try:
        decided = decide(item, keep, world.users["root"])
    except NotParked:
        return None
    world.account.deletions_unsure = True
    return f"{item.change['pk'][-4:]} keeps the {keep}'s: {decided.state}"


def back_up(world: World, device: Device) -> str | None:
    if world.backup is not None and world.dice.random() < 0.6:
        return None
    world.backup = (copy_database(), world.account.held_by(SERVER))
    return "the database"


def restore(world: World, device: Device) -> str | None:
    """The backup stays, and can be restored once more. What runs on it is the release of now."""
    if world.backup is None:
        return None
    put_back, held = world.backup
    world.account.deletions_unsure = True
    world.account.lost_by(put_back, world.holders)
    world.releases.deploy(world.releases.number)
    world.account.holds_again(SERVER, held)
    world.network.late.clear()
    if world.dice.random() < 0.2:
        begin_epoch()
        return "the database, and a new epoch"
    return "the database"


def epoch(world: World, device: Device) -> str | None:
    begin_epoch()
    world.account.deletions_unsure = True
    return "begins"


def release(world: World, device: Device) -> str | None:
    """The second release is deployed, or taken back."""
    world.releases.deploy(3 - world.releases.number)
    return f"number {world.releases.number}"


def season(world: World, device: Device) -> str | None:
    """A long time passes, and what is older than the retention is purged: a backup, too, is not kept for longer."""
    world.clock.pass_by(100 * DAY)
    purge()
    world.backup = None
    return "100 days, and a purge"


# -- with a device itself -----------------------------------------------------------------------------------------


def keep_copy(world: World, device: Device) -> str | None:
    device.keep_copy(world.account.held_by(device.name))
    return f"copy {len(device.copies)}"


def put_back(world: World, device: Device) -> str | None:
    """A device that has nothing unsent gets older files of its own."""
    if not device.copies:
        return None
    report = world.synced(device)
    if report is None or report.pending or device.replica.reset_state() is not None:
        return None
    copy = world.dice.choice(device.copies)
    world.account.lost_by(lambda: device.put_back(copy), world.holders)
    world.account.holds_again(device.name, copy.held)
    return "an older copy"


def clone(world: World, device: Device) -> str | None:
    """The files of a device are copied to another one, and both live on."""
    if len(world.devices) >= MOST_DEVICES:
        return None
    device.keep_copy(world.account.held_by(device.name))
    other = f"{device.name}{len(world.devices)}"
    copy = device.copies.pop()
    copy.directory.rename(world.directory / other)
    world.devices.append(Device(other, device.user, world.directory / other))
    world.account.copied(device.name, other)
    return f"and lives on as {other}"


def skew(world: World, device: Device) -> str | None:
    device.skew = world.dice.choice((0, 40 * SECOND, -40 * SECOND, 3 * DAY, -3 * DAY))
    return f"its clock is wrong by {device.skew / SECOND:.0f} s"


#: How often each happens, in the mean of all schedules.
WEIGHTS: Mapping[Action, int] = {
    write: 8, write_part: 3, count: 5, tag: 3, put_near: 1, code: 3, adopt: 2, make: 4, make_part: 2,
    write_note: 3, make_note: 1, make_label: 2, delete: 3, delete_part: 1, move: 2,
    server_write: 4, server_write_note: 1, server_count: 1, server_delete: 1, server_move: 1, server_code: 1,
    member: 1,
    sync: 16, sync_all: 2, lose: 5, delay: 2, arrive: 2, kill: 5,
    order: 4, work: 2, kill_worker: 1, again: 1, take_back: 1, review: 1,
    back_up: 2, restore: 2, epoch: 1, season: 1, release: 1, keep_copy: 2, put_back: 2, clone: 1, skew: 1,
}  # fmt: skip

ACTIONS: Mapping[str, Action] = {action.__name__: action for action in WEIGHTS}
