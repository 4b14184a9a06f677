"""`make demo`: two inspectors work offline, one is reset, the server loses a morning, and nothing is lost.

The environment changes what it plays on: `PORT` (8000), `DATABASE_URL`, `REDIS_URL`, and `SERVE=0` ends after the
walk-through instead of staying up.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth import get_user_model
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table

from demo_project import (
    configured,  # noqa: F401  it comes first, for the others need Django to be set up
    services,
)
from demo_project.comparison import Rows, differences, rows_of_replica, rows_of_server
from demo_project.operator import Operator
from demo_project.ramp.people import PASSWORD
from demo_project.stage import Stage, StageFailed
from syncreset.sdk import Replica, ReplicaError, ResetEvent, SyncReport

console = Console(highlight=False)

FLIGHT, INSPECTION, DEFECT = "ramp.flight", "ramp.inspection", "ramp.defect"
AIRPORT = "JFK"


@dataclass(kw_only=True)
class Inspector:
    """One inspector with a device: a replica that survives whatever happens to the server."""

    name: str
    replica: Replica
    resets: list[str] = field(default_factory=list)

    def sync(self) -> SyncReport:
        """Sync, and say what happened."""
        report = self.replica.sync(wait=True)
        results = (
            ", ".join(f"{count} {state}" for state, count in sorted(report.results.items())) or "nothing"
        )
        console.print(f"   {self.name}: pushed [b]{results}[/b], pulled [b]{report.pulled}[/b] changes")
        return report


@contextmanager
def act(number: int, title: str) -> Iterator[None]:
    """A numbered part of the walk-through."""
    console.print()
    console.rule(f"[b]{number}. {title}[/b]", align="left")
    yield


class Told:
    """Shows a reset as it happens on a device, with a bar for what takes time."""

    WORDS: Mapping[str, str] = {
        "noted": "the server orders a reset: [yellow]{event.reason}[/yellow]",
        "backed_up": "the store is set aside as a backup",
        "downloaded": "a fresh copy has been downloaded; the app is usable again",
        "recovered": "the server has merged the backup and sent its receipt",
        "refused": "[red]refused: {event.problem}[/red]",
    }
    BARS: Mapping[str, str] = {"uploaded": "uploading", "recovering": "merging"}

    def __init__(self, name: str) -> None:
        self.name = name
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: ResetEvent) -> None:
        if event.stage in self.BARS and event.total:
            self._advance(self.BARS[event.stage], event.sent, event.total)
        elif event.stage in self.WORDS:
            self._finish()
            console.print(f"   {self.name}: {self.WORDS[event.stage].format(event=event)}")

    def _advance(self, word: str, done: int, total: int) -> None:
        if self._progress is None:
            columns = (TextColumn("        {task.description:<9}"), BarColumn(), TaskProgressColumn())
            self._progress = Progress(*columns, console=console)
            self._progress.start()
        if word not in self._bars:
            self._bars[word] = self._progress.add_task(word, total=total)
        self._progress.update(self._bars[word], completed=done, total=total)

    def _finish(self) -> None:
        """The last answer says that it is done, not how far it was."""
        if self._progress is not None:
            for task in self._progress.tasks:
                self._progress.update(task.id, completed=task.total)
            self._progress.stop()
        self._progress, self._bars = None, {}


def main() -> int:
    """Play it. Returns 0 only if nothing is missing anywhere."""
    port = int(os.environ.get("PORT", "8000"))
    serve = os.environ.get("SERVE", "1") != "0"
    stage = Stage(port=port)
    console.print("[b]syncreset[/b]: ramp checks at New York's airports, offline and back\n")
    try:
        with services.signals_as_interrupt():
            stage.prepare()
            return play(stage, os.environ.get("REDIS_URL"), serve=serve)
    except KeyboardInterrupt:
        console.print("\nStopped: all processes have ended.")
        return 0 if serve else 130
    except (StageFailed, services.ServiceFailed) as error:
        console.print(f"[red]The demo cannot run: {error}[/red]")
        return 2


def play(stage: Stage, redis_url: str | None, *, serve: bool) -> int:
    """The walk-through from the first download to the last comparison."""
    with ExitStack() as devices:
        with stage.up(redis_url), act(1, "Ada and Ben, both at JFK, download what they may hold"):
            ada, ben = (devices.enter_context(inspector(stage, name)) for name in ("ada", "ben"))
            plan = bootstrap(ada, ben)
        # The services are down for a moment: a backup is taken while nobody writes.
        stage.back_up()
        with stage.up(redis_url):
            with act(2, "Both go offline and work"):
                work_offline(ada, ben, plan)
            with act(3, "Ada comes back and syncs"):
                ada.sync()
            with act(4, "The administrator forces a reset of Ben's device, which has not synced yet"):
                force_reset(stage, ben)
                ada.sync()
                check_everything_is_there(ada, ben, plan)
                ben.replica.create(INSPECTION, inspection(ben, plan.shared, "one more, while Ada is away"))
                ben.sync()
                before = rows_of_server(user("ada"))
        with act(5, "Disaster: the database is replaced by the copy from before they worked"):
            stage.restore()
            lost = differences(before, rows_of_server(user("ada")))
            console.print(
                f"   The server has forgotten [red]{len(lost)}[/red] things that it had acknowledged."
            )
        with stage.up(redis_url):
            with act(6, "Both come back, and what their devices hold heals the server"):
                ledgers = [heal(person) for person in (ada, ben)]
                ada.sync()
            failures = compare(before, ada, ben, ledgers)
            if failures:
                return 1
            if serve:
                stay_up(stage)
    return 0


@contextmanager
def inspector(stage: Stage, name: str) -> Iterator[Inspector]:
    """A user with a device, logged in by the token endpoint."""
    answer = httpx.post(f"{stage.url}api/token/", json={"username": name, "password": PASSWORD}, timeout=30)
    answer.raise_for_status()
    path = Path(stage.directory) / "devices" / name / "field.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with Replica(
        path, f"{stage.url}sync/v1/", answer.json()["token"], name=f"{name}'s tablet", on_reset=Told(name)
    ) as replica:
        yield Inspector(name=name, replica=replica)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows that the story is about: two flights, and the inspections that exist when it begins."""

    shared: str
    contested: str
    deleted: str
    rescued: str


def bootstrap(ada: Inspector, ben: Inspector) -> Plan:
    """Download, make two inspections online, and choose the flights."""
    with console.status("downloading"):
        ada.sync()
    shared, contested = ada.replica.connection.execute(
        "SELECT id FROM ramp_flight ORDER BY sched_dep, id LIMIT 2"
    ).fetchall()
    deleted, rescued = (
        ada.replica.create(INSPECTION, inspection(ada, shared[0], remarks))
        for remarks in ("to go", "to argue over")
    )
    ada.sync()
    with console.status("downloading"):
        ben.sync()
    return Plan(shared=shared[0], contested=contested[0], deleted=deleted, rescued=rescued)


def inspection(person: Inspector, flight: str, remarks: str) -> dict[str, Any]:
    return {
        "airport": AIRPORT,
        "flight": flight,
        "inspector": person.name.title(),
        "started": "2013-01-01T11:00:00.000000Z",
        "result": "open",
        "remarks": remarks,
        "fuel_kg": "8200.5",
        "checklist": {"chocks": True, "cones": True},
    }


def work_offline(ada: Inspector, ben: Inspector, plan: Plan) -> None:
    """The changes of both, Ada's first."""
    made = ada.replica.create(INSPECTION, inspection(ada, plan.shared, "hydraulic leak"))
    ada.replica.create(
        DEFECT,
        {
            "airport": AIRPORT,
            "inspection": made,
            "code": "29-10",
            "severity": "major",
            "description": "wet wheel well",
        },
    )
    ada.replica.update(FLIGHT, plan.shared, gate="B22")
    ada.replica.update(FLIGHT, plan.contested, stand_notes="Ada: belt loader on the left")
    ada.replica.delete(INSPECTION, plan.deleted)
    ada.replica.delete(INSPECTION, plan.rescued)
    time.sleep(0.01)
    ben.replica.create(INSPECTION, inspection(ben, plan.contested, "all well"))
    ben.replica.update(FLIGHT, plan.contested, stand_notes="Ben: belt loader on the right")
    ben.replica.update(INSPECTION, plan.rescued, result="defects", remarks="found a dent")
    with ben.replica.transaction():
        # Any program may write to a replica: these are tables.
        ben.replica.connection.execute(
            "UPDATE ramp_flight SET stand_notes = 'Ben: chocks are worn' WHERE id = ?", (plan.shared,)
        )
    for person, words in (
        (ada, "an inspection with a defect, two flights edited, two inspections deleted"),
        (ben, "an inspection, the same flights edited (one in plain SQL), and what Ada deletes"),
    ):
        console.print(f"   {person.name}: {words} — [b]{person.replica.pending()}[/b] changes wait")


def force_reset(stage: Stage, ben: Inspector) -> None:
    """The admin's order, and the reset of Ben's device."""
    with Operator(stage.url) as admin:
        admin.force_reset(ben.replica.client_id)
    console.print("   admin: ordered and confirmed")
    report = ben.sync()
    if report.reset is None or report.reset.state != "recovered":
        raise SystemExit(f"the reset was not recovered: {report.reset}")
    show_ledger("The ledger of Ben's recovery", [(ben, report)])
    for backup in ben.replica.backups():
        console.print(f"   ben: the backup is kept on the device, {backup.state}: {backup.path.name[:30]}…")


def check_everything_is_there(ada: Inspector, ben: Inspector, plan: Plan) -> None:
    """Both inspectors' work, merged as the rules say, on the server and on both devices."""
    rows = rows_of_server(user("ada"))
    shared, contested = rows[FLIGHT, plan.shared], rows[FLIGHT, plan.contested]
    rescued = rows.get((INSPECTION, plan.rescued), {})
    facts = {
        "different fields of one flight: both are kept": (shared["gate"], shared["stand_notes"])
        == ("B22", "Ben: chocks are worn"),
        "the same field: the later write won": contested["stand_notes"] == "Ben: belt loader on the right",
        "Ben's edit of what Ada deleted brought it back": rescued.get("remarks") == "found a dent",
        "the other inspection stays deleted": (INSPECTION, plan.deleted) not in rows,
        "both new inspections and the defect are there": (
            sum(model == INSPECTION for model, _ in rows) == 3
            and sum(model == DEFECT for model, _ in rows) == 1
        ),
        "both devices hold what the server holds": not differences(rows, rows_of_replica(ada.replica))
        and not differences(rows, rows_of_replica(ben.replica)),
    }
    for words, true in facts.items():
        console.print(f"   {'[green]✓[/green]' if true else '[red]✗[/red]'} {words}")
    if not all(facts.values()):
        raise SystemExit(1)


def heal(person: Inspector) -> SyncReport:
    """A device meets the restored server."""
    report = person.sync()
    if report.reset is None or report.reset.reason != "history_diverged":
        raise SystemExit(f"{person.name}'s device did not notice that the server had been restored")
    return report


def show_ledger(title: str, reports: list[Any]) -> None:
    """One line a recovery: how many items ended in which state."""
    states = ("applied", "merged", "identical", "superseded", "parked", "rejected")
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("device")
    for heading in (*states, "items"):
        table.add_column(heading, justify="right")
    for person, report in reports:
        totals = report.reset.totals
        table.add_row(
            person.name,
            *(str(totals.get(state, 0)) for state in states),
            str(sum(totals.values())),
        )
    console.print(table)


def compare(before: Rows, ada: Inspector, ben: Inspector, ledgers: list[SyncReport]) -> int:
    """The last word: server and devices against what the server had before the disaster. Returns the differences."""
    console.print()
    show_ledger("The ledgers of the healing", list(zip((ada, ben), ledgers, strict=True)))
    holders = {
        "server": rows_of_server(user("ada")),
        "ada": rows_of_replica(ada.replica),
        "ben": rows_of_replica(ben.replica),
    }
    table = Table(
        title="Rows, compared field by field with those before",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for column in ("model", "before", *holders):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in dict.fromkeys(name for name, _ in before):
        counts = [sum(name == model for name, _ in rows) for rows in (before, *holders.values())]
        table.add_row(model, *map(str, counts))
    console.print(table)
    found = [f"{name}: {words}" for name, rows in holders.items() for words in differences(before, rows)]
    if found:
        console.print(f"[red]{len(found)} differences:[/red]")
        console.print("\n".join(found[:20]))
    else:
        console.print(
            "[green]Nothing is missing, and nothing differs: on the server and on both devices.[/green]"
        )
    return len(found)


def user(name: str) -> Any:
    return get_user_model()._default_manager.get_by_natural_key(name)


def stay_up(stage: Stage) -> None:
    """Leave the admin open until Ctrl-C."""
    console.print(
        f"\nThe demo stays up: [b]{stage.url}[/b] (admin: [b]admin[/b] / [b]{PASSWORD}[/b]). Ctrl-C ends it."
    )
    while True:
        signal.pause()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReplicaError as failure:
        console.print(f"[red]A device could not sync: {failure}[/red]")
        sys.exit(1)
