"""A device in a process of its own: it writes into its replica and syncs until it is killed, and keeps an account.

``python -m tests.kills.device STORE URL TOKEN work SEED`` goes on for ever, ``rest`` syncs until nothing moves,
``once`` syncs once, ``act SEED COUNT`` writes so often, ``live SEED COUNT`` does that and rests; these print what they
saw as JSON. Before each write an intent is noted, after it that it was done. An intent that a kill left open is settled
at the next start, before anything syncs: the store tells whether the write was committed.
"""

import json
import os
import random
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from syncreset.protocol import uuid7
from syncreset.sdk import Replica, ReplicaError

PRODUCT, DOG = "market.product", "shelters.dog"
#: So often a device syncs until nothing moves.
SYNCS = 8
#: Seconds that one sync waits for a recovery.
WAIT = 15.0


class Worker:
    """One replica and its account, a file of lines of JSON."""

    def __init__(self, store: Path, url: str, token: str) -> None:
        self.name = store.stem
        self.replica = Replica(store, url, token, name=self.name)
        self.account = store.with_name(f"{store.name}.account")
        self._settle()

    # -- the account ----------------------------------------------------------------------------------------------

    def _note(self, line: dict[str, Any]) -> None:
        with self.account.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _settle(self) -> None:
        """Find out what became of an intent that was left open."""
        lines = self.account.read_text().split("\n") if self.account.exists() else []
        if lines and lines[-1]:
            # The kill came in the middle of a line: what it was to say was not done, or is said anew.
            self.account.write_text("\n".join(lines[:-1]) + "\n" if lines[:-1] else "")
        whole = [json.loads(line) for line in lines[:-1] if line]
        if whole and "do" in whole[-1]:
            self._note({"did": self._was_done(whole[-1])})

    def _was_done(self, intent: dict[str, Any]) -> bool:
        row = self.replica.get(PRODUCT if intent["do"] == "count" else DOG, intent["pk"])
        if intent["do"] == "count":
            return row is not None and bool(row["ordered"] == intent["before"] + intent["by"])
        if intent["do"] == "age":
            return row is not None and bool(row["age"] == intent["age"])
        return bool((row is None) == (intent["do"] == "delete"))

    def _do(self, intent: dict[str, Any], *, statement: str, values: list[Any]) -> None:
        self._note(intent)
        done = self.replica.connection.execute(statement, values).rowcount == 1
        self._note({"did": done})

    # -- what it does ---------------------------------------------------------------------------------------------

    def act(self, chance: random.Random, shelter: str) -> None:
        """Write once."""
        dogs = self.replica.all(DOG)
        kind = chance.choices(("count", "make", "age", "delete"), (5, 4, 4, 1))[0]
        if kind == "count":
            (product,) = self.replica.all(PRODUCT, name="Figs")
            intent = {"do": "count", "pk": product["id"], "by": chance.choice((-2, -1, 1, 2, 3, 5))}
            intent |= {"before": product["ordered"] or 0}
            statement = "UPDATE market_product SET ordered = coalesce(ordered, 0) + ? WHERE id = ?"
            self._do(intent, statement=statement, values=[intent["by"], intent["pk"]])
        elif kind == "make" or not dogs:
            pk = str(uuid7())
            # One in ten takes a value that another device may take as well.
            chip = f"common-{chance.randrange(20)}" if chance.random() < 0.1 else pk[-20:]
            mother = chance.choice(dogs)["id"] if dogs and chance.random() < 0.5 else None
            if any(dog["chip"] == chip for dog in dogs):
                chip = pk[-20:]
            statement = (
                "INSERT INTO shelters_dog (id, shelter, name, age, chip, mother, notes, intake_no) "
                "VALUES (?, ?, ?, NULL, ?, ?, '', '')"
            )
            values = [pk, shelter, f"{self.name} {pk[-4:]}", chip, mother]
            self._do({"do": "make", "pk": pk, "chip": chip}, statement=statement, values=values)
        else:
            dog = chance.choice(dogs)
            intent = {"do": kind, "pk": dog["id"], "before": dog["age"]}
            if kind == "delete":
                statement, values = "DELETE FROM shelters_dog WHERE id = ?", [dog["id"]]
            else:
                # No two writes have one value: so the ledger can be asked for each.
                intent["age"] = chance.randrange(2**31 - 1)
                statement, values = "UPDATE shelters_dog SET age = ? WHERE id = ?", [intent["age"], dog["id"]]
            self._do(intent, statement=statement, values=values)

    def shelter(self) -> str:
        return str(self.replica.all("shelters.shelter")[0]["id"])

    def bootstrap(self) -> None:
        """Sync until there is something to write on. The services may be away for a while."""
        deadline = time.monotonic() + 60
        while "shelters.shelter" not in self.replica.models or not self.replica.all("shelters.shelter"):
            try:
                self.replica.sync(wait=WAIT)
            except ReplicaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def work(self, seed: int) -> None:
        """Write and sync until the process is killed."""
        chance = random.Random(f"{self.name} {seed}")
        self.bootstrap()
        while os.getppid() != 1:
            for _ in range(chance.randrange(1, 6)):
                self.try_to_act(chance)
                time.sleep(chance.random() * 0.03)
            try:
                self.replica.sync(wait=2.0)
            except ReplicaError as error:
                sys.stderr.write(f"{type(error).__name__}: {str(error)[:300]}\n")
                time.sleep(0.05)

    def try_to_act(self, chance: random.Random) -> None:
        """A unique value that a pull has just brought is taken: then nothing was written."""
        if not self.replica.all(PRODUCT, name="Figs"):
            return
        try:
            self.act(chance, self.shelter())
        except sqlite3.IntegrityError:
            self._note({"did": False})

    def once(self) -> dict[str, Any]:
        """One sync, and what it said."""
        try:
            report = self.replica.sync(wait=WAIT)
        except ReplicaError as error:
            return {"error": f"{type(error).__name__}: {str(error)[:500]}", "quiet": False, "resets": []}
        resets = [[reset.reason, reset.state, dict(reset.totals)] for reset in report.resets]
        quiet = not (report.pushed or report.pending or report.resets)
        return {"quiet": quiet, "pulled": report.pulled, "pushed": report.pushed, "resets": resets}

    def rest(self) -> list[dict[str, Any]]:
        """Sync until nothing moves here, ``SYNCS`` times at the most."""
        said = []
        for _ in range(SYNCS):
            said.append(self.once())
            if said[-1]["quiet"] and not said[-1]["pulled"]:
                break
        return said

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        return {
            model: sorted(self.replica.all(model), key=lambda row: str(row["id"])) for model in (PRODUCT, DOG)
        }


def main(store: str, url: str, token: str, what: str, *numbers: str) -> None:
    worker = Worker(Path(store), url, token)
    if what == "work":
        worker.work(int(numbers[0]))
        return
    syncs: list[dict[str, Any]] = []
    if what in ("act", "live"):
        worker.bootstrap()
        chance = random.Random(f"{worker.name} {numbers[0]}")
        for _ in range(int(numbers[1])):
            worker.try_to_act(chance)
    if what != "act":
        syncs = [worker.once()] if what == "once" else worker.rest()
    backups = [backup.state for backup in worker.replica.backups()]
    told = {"syncs": syncs, "rows": worker.rows(), "client": worker.replica.client_id, "backups": backups}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
