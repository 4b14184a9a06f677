"""All the processes of one round, and what is done to them."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import OperationalError, connections
from rest_framework.authtoken.models import Token

from demo_project import services
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.tasks import sweep
from tests.kills.account import Account, ledger_violations, replica_rows, server_rows
from tests.kills.cluster import Cluster
from tests.market.models import Product
from tests.shelters.models import Membership, Shelter
from tests.support.servers import threaded_server

#: Seconds that a device may take to come to rest, and how often all of them are asked in turn.
REST_SECONDS, REST_ROUNDS = 180, 6


@dataclass(kw_only=True)
class Device:
    """A device: its store, whose it is, and its process while it works."""

    name: str
    store: Path
    token: str
    process: "subprocess.Popen[bytes] | None" = None


def template(home: Path) -> Path:
    """The files of a cluster with the tables, users and rows that every round begins with."""
    first = Cluster(home)
    first.create(home.parent / "archive")
    first.start()
    _point_to(home)
    call_command("migrate", verbosity=0)
    shelter = Shelter.objects.create(name="North")
    Product.objects.create(name="Figs", ordered=0)
    writable = Permission.objects.filter(content_type__app_label__in=("shelters", "market"))
    for name in ("ada", "ben"):
        user = User.objects.create_user(name)
        Membership.objects.create(user=user, shelter=shelter)
        user.user_permissions.set(writable)
        Token.objects.create(user=user)
    connections.close_all()
    first.stop()
    return first.data


def _live() -> Path:
    return Path(os.environ["SYNCRESET_TEST_DATABASE_HOST"])


def _point_to(home: Path) -> None:
    connections.close_all()
    new = _live().with_name("live.new")
    new.symlink_to(home)
    new.replace(_live())


class Stage:
    """One round's processes. ``story`` tells what was done, with seconds."""

    def __init__(self, directory: Path, data: Path, redis: services.Service) -> None:
        self.directory, self.redis = directory, redis
        self.began = time.monotonic()
        self.story: list[str] = []
        self.cluster = Cluster(directory / "first")
        self.cluster.take_files(data)
        self.archive = directory / "archive"
        self.archive.mkdir()
        os.chmod(self.archive, 0o777)
        self.cluster.configure(archive_command=f"cp %p {self.archive}/%f")
        self.cluster.start()
        _point_to(self.cluster.home)
        self.media = directory / "media"
        self.port = services.free_port()
        self.stack = ExitStack()
        self.http: services.Service | None = None
        self.worker: services.Service | None = None
        self.numbers = itertools.count(1)
        tokens = dict(Token.objects.values_list("user__username", "key"))
        owners = {"ada1": "ada", "ada2": "ada", "ben1": "ben"}
        self.devices = [
            Device(name=name, store=directory / f"{name}.db", token=tokens[owner])
            for name, owner in owners.items()
        ]

    def tell(self, text: str) -> None:
        self.story.append(f"{time.monotonic() - self.began:6.2f} {text}")

    # -- the processes --------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "SYNCRESET_TEST_MEDIA": str(self.media),
            "SYNCRESET_TEST_CHUNK": "5",
            "SYNCRESET_TEST_LEASE": "2",
            "CELERY_BROKER_URL": self.redis.url,
        }

    def start_http(self) -> None:
        self.http = self.stack.enter_context(
            threaded_server(log=self.directory / "http.log", env=self.environment, port=self.port, threads=4)
        )

    def start_worker(self) -> None:
        self.worker = self.stack.enter_context(
            services.celery_worker(
                app="tests.celeryapp", log=self.directory / "worker.log", env=self.environment, concurrency=1
            )
        )

    def kill_http(self) -> None:
        self.tell("the HTTP server is killed")
        if self.http is not None:
            self.http.kill()
        self.start_http()

    def kill_worker(self) -> None:
        self.tell("the worker is killed")
        if self.worker is not None:
            self.worker.kill()
        self.start_worker()

    def kill_database(self) -> None:
        self.tell("the database is killed")
        connections.close_all()
        self.cluster.kill()
        self.cluster.start()

    def run_on(self, cluster: Cluster) -> None:
        """Let everybody's database be another one from now on."""
        self.cluster = cluster
        _point_to(cluster.home)

    # -- the devices ----------------------------------------------------------------------------------------------

    def _command(self, device: Device, *what: str) -> list[str]:
        url = f"http://{services.HOST}:{self.port}/sync/v1/"
        return [sys.executable, "-m", "tests.kills.device", str(device.store), url, device.token, *what]

    def start_device(self, device: Device, seed: int) -> None:
        with (self.directory / f"{device.name}.log").open("ab") as log:
            device.process = subprocess.Popen(
                self._command(device, "work", str(seed)), cwd=services.PROJECT_DIR, stdout=log, stderr=log
            )

    def kill_device(self, device: Device) -> None:
        self.tell(f"{device.name} is killed")
        if device.process is not None:
            device.process.kill()
            device.process.wait()
            device.process = None

    def ask(self, device: Device, *what: str) -> dict[str, Any]:
        """Let a device do something to its end, and hear what it saw."""
        done = subprocess.run(
            self._command(device, *what),
            cwd=services.PROJECT_DIR,
            capture_output=True,
            text=True,
            timeout=REST_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{device.name} failed at {what}:\n{done.stderr[-3000:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        self.tell(f"{device.name} {' '.join(what)}: {told['syncs']}")
        return told

    def force(self, device: Device) -> None:
        """The operator orders a device to reset."""
        name = device.name
        ordered = Reset.objects.force(Client.objects.filter(name=name).order_by("-created")[:1])
        self.tell(f"{name} is ordered to reset: {ordered}")

    def sweep(self) -> None:
        try:
            sweep()
        except OperationalError:
            connections.close_all()

    # -- the end --------------------------------------------------------------------------------------------------

    def settle(self) -> list[dict[str, Any]]:
        """Everybody syncs until nothing moves. Returns the last that each device said."""
        told: list[dict[str, Any]] = []
        for _ in range(REST_ROUNDS):
            self._await_recoveries()
            told = [self.ask(device, "rest") for device in self.devices]
            # Who has been quiet at once has heard nothing new from the others.
            if all(len(each["syncs"]) == 1 and each["syncs"][0]["quiet"] for each in told):
                break
        return told

    def _await_recoveries(self) -> None:
        """Until every recovery is through: what a killed worker held is handed out once its lease is over."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            self.sweep()
            if not sweep():
                break
            time.sleep(0.3)

    def violations(
        self, told: list[dict[str, Any]], *, lost_ledger: Sequence[Item] | None = None
    ) -> list[str]:
        """What does not hold now that all is at rest."""
        found = Account.of(self.directory.glob("*.account")).violations(lost_ledger=lost_ledger)
        found += ledger_violations()
        rows, items = server_rows(), Item.objects.count()
        for device, each in zip(self.devices, told, strict=True):
            if not each["syncs"][-1]["quiet"]:
                found.append(f"{device.name} does not come to rest: {each['syncs'][-1]}")
            mine = replica_rows(each["rows"])
            for model, theirs in rows.items():
                differing = [
                    key for key in {*theirs, *mine[model]} if theirs.get(key) != mine[model].get(key)
                ]
                found += [
                    f"{device.name} shows {mine[model].get(key)} for {model} {key}, the server {theirs.get(key)}"
                    for key in sorted(differing)
                ]
            if "kept" in each["backups"]:
                found.append(f"{device.name} has a backup that was never recovered")
        again = [self.ask(device, "once") for device in self.devices]
        if any(not each["syncs"][0]["quiet"] or each["syncs"][0]["pulled"] for each in again):
            found.append(f"something moves at rest: {[each['syncs'] for each in again]}")
        if Item.objects.count() != items:
            found.append("the ledger grows at rest")
        return found

    def figures(self) -> str:
        """How much happened."""
        account = Account.of(self.directory.glob("*.account"))
        killed = sum(" killed" in line for line in self.story)
        return (
            f"{killed} kills, {len(account.made)} rows, {sum(map(len, account.ages.values()))} edits, "
            f"{len(account.deleted)} deletions, {account.counted} counted"
        )

    def close(self) -> None:
        for device in self.devices:
            if device.process is not None:
                device.process.kill()
                device.process.wait()
        self.stack.close()
        connections.close_all()
        self.cluster.kill()


@contextmanager
def staged(base: Path, data: Path, redis: services.Service) -> Iterator[Stage]:
    """A round's processes, without the services that a scenario starts itself."""
    with tempfile.TemporaryDirectory(prefix="round-", dir=base, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        os.chmod(directory, 0o755)
        stage = Stage(directory, data, redis)
        try:
            yield stage
        finally:
            stage.close()
