"""A device with work on it whose disk fails: its files copied for each case, and what must never be lost."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncreset.sdk import Replica, StoreDamaged, SyncReport
from syncreset.sdk.reset import procedure
from tests.support.fleet import URL, offline, online
from tests.support.simulated_server import SimulatedServer, State

PAGE = 4096

#: The rows that are edited, deleted and made offline.
EDITED = [f"a{number:03}" for number in range(0, 200, 5)]
DELETED = [f"a{number:03}" for number in range(1, 200, 20)]
MADE = [f"n{number:03}" for number in range(30)]


class Scene:
    """A replica's directory with unsent work, to be copied for each case, with the server as it was then."""

    def __init__(self, server: SimulatedServer, directory: Path, state: State, files: Path) -> None:
        self.server, self._directory, self._state, self.files = server, directory, state, files

    @contextmanager
    def case(self, name: object) -> Iterator[Path]:
        """The path of a store in a fresh copy; the server is as it was."""
        copy = self._directory / f"case-{name}"
        shutil.copytree(self.files, copy)
        self.server.restore(self._state)
        yield copy / "field.db"
        shutil.rmtree(copy, ignore_errors=True)

    @property
    def backup(self) -> str:
        """The file name of the only backup."""
        (path,) = (path for path in self.files.glob("field.db.backup-*"))
        return path.name


def at_work(server: SimulatedServer, directory: Path, *, reset: bool) -> Scene:
    """A replica with much unsent work. With ``reset`` a store has just been set aside, and nothing downloaded yet."""
    for number in range(200):
        server.put("farm.animal", f"a{number:03}", name=f"Dog {number} " + "x" * 40, age=number)
    files = directory / "files"
    files.mkdir()
    with Replica(files / "field.db", URL, client=online(server)) as replica:
        replica.sync()
        with replica.transaction():
            for pk in EDITED:
                replica.update("farm.animal", pk, age=1000)
            for pk in DELETED:
                replica.delete("farm.animal", pk)
            for pk in MADE:
                replica.create("farm.animal", pk=pk, name="Made " + "y" * 60)
        if reset:
            server.force_reset(replica.client_id)
            device = replica._device
            with device.alone():
                problem = {"reset": server.state.clients[replica.client_id].reset, "reason": "admin_forced"}
                procedure.begin(device, problem, begun=1)
                device.set_store_aside()
    return Scene(server, directory, server.dump(), files)


def opened(path: Path, server: SimulatedServer | None, **options: Any) -> Replica:
    """The replica at a path, with a server or without a connection."""
    return Replica(path, URL, client=offline() if server is None else online(server), **options)


def synced(replica: Replica) -> SyncReport:
    """One sync, which may tell once that nothing can be read of a backup."""
    try:
        return replica.sync()
    except StoreDamaged as error:
        assert error.report is not None
        return error.report


def missing(server: SimulatedServer) -> set[str]:
    """The rows whose offline work has not arrived."""
    animals = server.fields("farm.animal")
    lost = {pk for pk in EDITED if pk not in animals or animals[pk]["age"] != 1000}
    return lost | {pk for pk in DELETED if pk in animals} | {pk for pk in MADE if pk not in animals}


def overwrite(path: Path, page: int, *, zeros: bool) -> None:
    """Damage one page, counted from 0."""
    damage = bytes(PAGE) if zeros else random.Random(page).randbytes(PAGE)
    with path.open("rb+") as content:
        content.seek(page * PAGE)
        content.write(damage)


def pages(path: Path) -> range:
    return range(path.stat().st_size // PAGE)


def assert_told(replica: Replica, server: SimulatedServer, *, case: object) -> set[str]:
    """Whatever has not arrived is told of: by its row, or by its table. Returns what has not arrived."""
    lost = missing(server)
    told = {item.pk for item in replica.unresolved()}
    tables = {table for backup in replica.backups() for table in backup.damaged or ()}
    assert lost <= told or tables, (case, sorted(lost - told))
    return lost
