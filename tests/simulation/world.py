"""The world of one schedule: a server, replicas on files, and an account of all that was done on the replicas."""

import random
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.sdk import Replica, Request, Response, ServerUnavailable
from tests.market.models import Product, Tag
from tests.support.fleet import URL, online, sync
from tests.support.real_server import RealServer
from tests.support.restoring import copy_database

PRODUCT = "market.product"

#: Syncs of every replica until nothing moves: a reset takes two, and so does a name of one's own.
ROUNDS = 6


class World:
    """``story`` tells what was done, step by step."""

    def __init__(self, user: User, directory: Path, random: random.Random) -> None:
        self.server, self.directory, self.random = RealServer(user), directory, random
        self.tags = [Tag.objects.create(name=f"tag{number}") for number in range(6)]
        self.figs = Product.objects.create(name="Figs", stock=1000)
        self.replicas: dict[str, Replica] = {}
        self.counted = 0
        self.marked: set[str] = set()
        self.made: set[str] = set()
        self.deleted: set[str] = set()
        self.restore: Callable[[], None] | None = None
        self.story: list[str] = []
        for name in ("ada", "ben", "cleo"):
            self.replicas[name] = self.open(name)
            self.replicas[name].sync()

    def open(self, name: str) -> Replica:
        return Replica(self.directory / f"{name}.db", URL, "token", client=online(self.server))

    def close(self) -> None:
        for replica in self.replicas.values():
            replica.close()

    # -- what happens ---------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let one thing happen."""
        actions = [
            (self.count, 5),
            (self.mark, 3),
            (self.make, 3),
            (self.delete, 1),
            (self.sync, 6),
            (self.lose, 4),
            (self.order, 2),
            (self.work, 1),
            (self.back_up, 1),
            (self.put_back, 2),
            (self.copy, 2),
        ]
        chosen = self.random.choices([action for action, _ in actions], [weight for _, weight in actions])[0]
        chosen(self.random.choice(sorted(self.replicas)))

    def count(self, name: str) -> None:
        step = self.random.choice((-1, 1, 2, 3))
        changed = self.replicas[name].connection.execute(
            "UPDATE market_product SET stock = stock + ? WHERE id = ?", (step, str(self.figs.pk))
        )
        self.counted += step * changed.rowcount
        self.story.append(f"{name} counts {step}")

    def mark(self, name: str) -> None:
        replica, tag = self.replicas[name], self.random.choice(self.tags).pk
        found = replica.get(PRODUCT, self.figs.pk)
        if found is not None:
            replica.update(PRODUCT, self.figs.pk, tags=sorted({*found["tags"], tag}))
            self.marked.add(tag)
            self.story.append(f"{name} marks {tag}")

    def make(self, name: str) -> None:
        made = f"made{len(self.made)}"
        if "market.product" in self.replicas[name].models:
            self.replicas[name].create(PRODUCT, name=made, stock=1)
            self.made.add(made)
            self.story.append(f"{name} makes {made}")

    def delete(self, name: str) -> None:
        mine = [row for row in self.replicas[name].all(PRODUCT) if row["name"] in self.made]
        if mine:
            gone = self.random.choice(mine)
            self.replicas[name].delete(PRODUCT, gone["id"])
            self.deleted.add(gone["name"])
            self.story.append(f"{name} deletes {gone['name']}")

    def sync(self, name: str) -> None:
        self.story.append(f"{name} syncs")
        sync(self.replicas[name], self.server.answer, patience=1.0)

    def lose(self, name: str) -> None:
        """A sync whose request, or whose answer, is lost; the replica is opened anew, as after a kill."""
        number, seen = self.random.randrange(8), self.random.random() < 0.5
        self.story.append(f"{name} syncs and loses {'the answer to' if seen else ''} request {number}")
        requests = iter(range(1_000))

        def answer(request: Request) -> Response:
            lost = next(requests) == number
            if lost and not seen:
                raise ServerUnavailable("the request was lost")
            response = self.server.answer(request)
            if lost:
                raise ServerUnavailable("the answer was lost")
            return response

        try:
            sync(self.replicas[name], answer, patience=1.0)
        except ServerUnavailable:
            self.replicas[name].close()
            self.replicas[name] = self.open(name)

    def order(self, name: str) -> None:
        self.story.append(f"{name} is ordered to reset")
        Reset.objects.force(Client.objects.filter(pk=self.replicas[name].client_id))

    def work(self, name: str) -> None:
        """The worker stops, or begins again and does what is queued."""
        self.server.recovers = not self.server.recovers
        self.story.append("the worker runs" if self.server.recovers else "the worker stops")
        if self.server.recovers:
            for recovery in Recovery.objects.filter(state="queued").values_list("pk", flat=True):
                run(recovery)

    def back_up(self, name: str) -> None:
        self.story.append("the database is backed up")
        self.restore = copy_database()

    def put_back(self, name: str) -> None:
        if self.restore is not None:
            self.story.append("the database is restored")
            self.restore()
            self.restore = None

    def copy(self, name: str) -> None:
        """The store is copied, with something unsent in it, and both live on."""
        self.count(name)
        if len(self.replicas) < 5 and self.replicas[name].reset_state() is None:
            other = f"{name}{len(self.replicas)}"
            self.replicas[name].close()
            for path in list(self.directory.glob(f"{name}.db*")):
                path.with_name(path.name.replace(f"{name}.db", f"{other}.db", 1)).write_bytes(
                    path.read_bytes()
                )
            self.replicas[name], self.replicas[other] = self.open(name), self.open(other)
            self.story.append(f"{name} is copied, and {other} lives on as well")

    # -- at the end -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody syncs until nothing moves."""
        self.server.recovers = True
        for recovery in Recovery.objects.filter(state="queued").values_list("pk", flat=True):
            run(recovery)
        for _ in range(ROUNDS):
            for name in sorted(self.replicas):
                self.sync(name)

    def violations(self) -> list[str]:
        """What does not hold. Nothing is taken from the totals of the product."""
        found = []
        kept = [item.change["fields"] for item in Item.objects.filter(state__in=["parked", "rejected"])]
        figs = Product.objects.get(pk=self.figs.pk)
        unclear = Item.objects.filter(state="parked", code="step_unclear").exists()
        if figs.stock != 1000 + self.counted and not unclear:
            found.append(f"stock is {figs.stock}, and {1000 + self.counted} was counted")
        asked = any("tags" in fields for fields in kept)
        missing = self.marked - set(figs.tags.values_list("pk", flat=True))
        if missing and not asked:
            found.append(f"tags {sorted(missing)} are nowhere")
        names = set(Product.objects.values_list("name", flat=True))
        held = names | {fields.get("name") for fields in kept} | self.deleted
        if self.made - held:
            found.append(f"rows {sorted(self.made - held)} are nowhere")
        items = Item.objects.count()
        for name, replica in self.replicas.items():
            report = sync(replica, self.server.answer, patience=1.0)
            if report.pushed or report.pending:
                found.append(f"{name} is not at rest: {report}")
            mine = {row["id"]: (row["name"], row["stock"], row["tags"]) for row in replica.all(PRODUCT)}
            theirs = {
                str(row.pk): (row.name, row.stock, sorted(row.tags.values_list("pk", flat=True)))
                for row in Product.objects.all()
            }
            if mine != theirs:
                found.append(f"{name} shows {mine}, the server has {theirs}")
        if Item.objects.count() != items:
            found.append("the ledger grows at rest")
        return found
