"""A database restored in three ways, to where it is behind a device, level with it, or past it; and plain failovers."""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from django.db import connections

from syncreset.feed.checkpoints import Checkpoint, prove
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from tests.kills.cluster import Cluster
from tests.kills.stage import Stage
from tests.shelters.models import Dog, Shelter

WAYS = ("dump", "files", "basebackup", "moment")
PLACES = ("behind", "equal", "overtaken")


class Scenario(Protocol):
    """Plays on a stage, and returns what did not hold."""

    def __call__(self, stage: Stage, *, seed: int) -> list[str]: ...


def scenarios() -> dict[str, Scenario]:
    """All of them by name."""
    found: dict[str, Scenario] = {
        f"{way}, {place}": partial(_restore, way=way, place=place) for way in WAYS for place in PLACES
    }
    found["failover to a standby"] = _failover
    found["crash and restart"] = _crash
    found["the database without the storage"] = _storage_lost
    return found


def _prepare(stage: Stage, seed: int) -> None:
    stage.start_http()
    stage.start_worker()
    for device in stage.devices:
        stage.ask(device, "live", str(seed), "6")


def _work(stage: Stage, seed: int) -> None:
    """What is acknowledged after the backup, and pulled: twice, so that checkpoints come and go."""
    for more in (1, 2):
        for device in stage.devices:
            stage.ask(device, "live", str(seed + more), "5")


def _restore(stage: Stage, *, seed: int, way: str, place: str) -> list[str]:
    _prepare(stage, seed)
    put_back = {"dump": _dump, "files": _files, "basebackup": _basebackup, "moment": _moment}[way](stage)
    stage.tell(f"backed up by {way}")
    _work(stage, seed)
    number = Checkpoint.objects.latest("number").number
    # What nobody has sent yet is to come through as well.
    stage.ask(stage.devices[0], "act", str(seed + 9), "4")
    lost_ledger = list(Item.objects.all())
    put_back()
    stage.tell("restored")
    _go_on(number, place)
    heard = [stage.ask(device, "once") for device in stage.devices]
    reasons = [[reason for reason, _, _ in each["syncs"][0]["resets"]] for each in heard]
    found = [
        f"{device.name} noticed nothing: {reasons}"
        for device, each in zip(stage.devices, reasons, strict=True)
        if "history_diverged" not in each
    ]
    return found + stage.violations(stage.settle(), lost_ledger=lost_ledger)


def _go_on(number: int, place: str) -> None:
    """Others write on the restored server, until its checkpoint is where the devices' was, or past it."""
    wanted = {"behind": 0, "equal": number, "overtaken": number + 5}[place]
    shelter = Shelter.objects.get()
    while place != "behind" and Checkpoint.objects.latest("number").number < wanted:
        Dog.objects.create(shelter=shelter, name="made after the restore")
        prove()


def _new(stage: Stage) -> Cluster:
    return Cluster(stage.directory / f"cluster{next(stage.numbers)}")


def _dump(stage: Stage) -> Callable[[], None]:
    path = stage.directory / "dump"
    stage.cluster.dump(path)

    def put_back() -> None:
        stage.cluster.kill()
        cluster = _new(stage)
        cluster.create(stage.archive)
        cluster.start()
        cluster.load(path)
        stage.run_on(cluster)

    return put_back


def _files(stage: Stage) -> Callable[[], None]:
    stage.cluster.stop()
    kept = stage.directory / "files"
    stage.cluster.copy_files(kept)
    stage.cluster.start()
    connections.close_all()
    return lambda: _from_files(stage, kept)


def _basebackup(stage: Stage) -> Callable[[], None]:
    kept = _base(stage)
    return lambda: _from_files(stage, kept)


def _base(stage: Stage, *options: str) -> Path:
    # The server's user writes it.
    folder = Cluster(stage.directory / f"base{next(stage.numbers)}")
    stage.cluster.base_backup(folder.data, *options)
    return folder.data


def _from_files(stage: Stage, kept: Path) -> None:
    stage.cluster.kill()
    cluster = _new(stage)
    cluster.take_files(kept)
    cluster.start()
    stage.run_on(cluster)


def _moment(stage: Stage) -> Callable[[], None]:
    kept = _base(stage)
    stage.ask(stage.devices[0], "live", "3", "3")
    moment = stage.cluster.sql("SELECT clock_timestamp()")

    def put_back() -> None:
        stage.cluster.sql("SELECT pg_switch_wal()")
        # A stop waits until everything is archived.
        stage.cluster.stop()
        cluster = _new(stage)
        cluster.take_files(kept)
        cluster.recover_until(moment, stage.archive)
        cluster.start()
        _await(lambda: cluster.sql("SELECT pg_is_in_recovery()") == "f", "the server stays in recovery")
        stage.run_on(cluster)

    return put_back


def _await(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.1)


def _nothing_noticed(stage: Stage, *, seed: int) -> list[str]:
    stage.ask(stage.devices[0], "act", str(seed + 5), "4")
    heard = [stage.ask(device, "once") for device in stage.devices]
    found = [
        f"{device.name} resets for nothing: {each['syncs']}"
        for device, each in zip(stage.devices, heard, strict=True)
        if each["syncs"][0]["resets"]
    ]
    return found + stage.violations(stage.settle())


def _failover(stage: Stage, *, seed: int) -> list[str]:
    _prepare(stage, seed)
    kept = _base(stage, "-R", "-X", "stream")
    standby = Cluster(kept.parent)
    standby.start()
    _work(stage, seed)
    standby.caught_up_with(stage.cluster)
    stage.cluster.kill()
    standby.promote()
    stage.run_on(standby)
    stage.tell("the standby is promoted")
    return _nothing_noticed(stage, seed=seed)


def _crash(stage: Stage, *, seed: int) -> list[str]:
    _prepare(stage, seed)
    _work(stage, seed)
    stage.kill_database()
    return _nothing_noticed(stage, seed=seed)


def _storage_lost(stage: Stage, *, seed: int) -> list[str]:
    """The pieces of a snapshot are gone before its recovery runs: nothing may be given up by the device."""
    _prepare(stage, seed)
    if stage.worker is not None:
        stage.worker.kill()
    device = stage.devices[0]
    stage.ask(device, "act", str(seed + 5), "6")
    stage.force(device)
    stage.ask(device, "once")
    shutil.rmtree(stage.media)
    stage.start_worker()
    stage.tell("the storage is gone, and the worker runs")
    for _ in range(4):
        stage.sweep()
        stage.ask(device, "once")
    states = list(Recovery.objects.values_list("state", "problem"))
    stage.tell(f"recoveries: {states}")
    return stage.violations(stage.settle())
