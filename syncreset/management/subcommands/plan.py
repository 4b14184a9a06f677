"""`syncreset plan`: before a deploy, what the unapplied migrations would mean for clients."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from ...operations.deploy_plan import DeployPlan, Planned, plan_deploy
from ..console import Console, Report, counted, facts

HELP = "Before a deploy: tell what the unapplied migrations would break for clients, and how many. Changes nothing."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        default=DEFAULT_DB_ALIAS,
        choices=list(connections),
        metavar="ALIAS",
        help="The database whose migrations are looked at (default).",
    )


def run(options: dict[str, Any], console: Console) -> Report:
    plan = plan_deploy(options["database"])
    return Report(data=_as_json(plan), lines=list(_lines(plan)))


def _as_json(plan: DeployPlan) -> dict[str, Any]:
    clients = plan.clients
    return {
        "migrations": list(plan.migrations),
        "breaking": plan.breaking,
        "drifted": plan.drifted,
        "differences": [
            {
                "kind": planned.difference.kind,
                "model": planned.difference.model,
                "field": planned.difference.field,
                "detail": planned.difference.detail,
                "breaking": planned.difference.breaking,
                "unsynced": [
                    {"field": fate.field, "becomes": fate.kind, "target": fate.target, "detail": fate.detail}
                    for fate in planned.fates
                ],
                "advice": planned.advice,
            }
            for planned in plan.planned
        ],
        "clients": {
            "total": clients.total,
            "go_on": clients.go_on,
            "must_reset": clients.must_reset,
            "unsynced": clients.unsynced,
            "changes": clients.changes,
            "already_due": clients.already_due,
        },
        "renamed": {model: dict(names) for model, names in plan.renamed.items()},
        "renamed_from": {model: list(labels) for model, labels in plan.renamed_from.items()},
        "upcasters": [
            {
                "model": entry.model,
                "field": entry.field,
                "source": entry.source,
                "function": f"{entry.function.__module__}.{entry.function.__qualname__}",
            }
            for entry in plan.upcasters
        ],
    }


def _lines(plan: DeployPlan) -> Iterator[str]:
    yield f"{counted(len(plan.migrations), 'unapplied migration')}" + (":" if plan.migrations else ".")
    yield from (f"  {name}" for name in plan.migrations)
    breaking = [planned for planned in plan.planned if planned.difference.breaking]
    adding = [planned for planned in plan.planned if not planned.difference.breaking]
    yield from _section("What breaks", breaking, "Nothing breaks: clients go on without a reset.")
    if adding:
        yield from _section("What clients take over without a reset", adding, "")
    yield ""
    yield from facts(_clients(plan))
    declared = list(_declared(plan))
    if declared:
        yield ""
        yield "Declared:"
        yield from (f"  {line}" for line in declared)
    if plan.drifted:
        yield ""
        yield "The models differ from what the migrations make of them: run `manage.py makemigrations` first."


def _section(title: str, planned: list[Planned], nothing: str) -> Iterator[str]:
    yield ""
    if not planned:
        yield nothing
        return
    yield f"{title}:"
    for item in planned:
        yield f"  {item.difference.detail}"
        for fate in item.fates:
            named = "" if fate.field in (None, item.difference.field) else f" in {fate.field}"
            yield f"      unsynced values{named}: {fate.detail}"
        if item.advice:
            yield f"      advice: {item.advice}"


def _clients(plan: DeployPlan) -> Iterator[tuple[str, Any]]:
    clients = plan.clients
    yield "clients", clients.total
    yield "must reset", clients.must_reset
    yield "of these with unsynced changes", clients.unsynced
    yield "unsynced changes", clients.changes
    yield "go on", clients.go_on
    yield "had to reset anyway", clients.already_due


def _declared(plan: DeployPlan) -> Iterator[str]:
    for model, names in plan.renamed.items():
        for old, new in names.items():
            yield f"{model}: the field {old} is {new} now"
    for model, labels in plan.renamed_from.items():
        yield f"{model} was {', '.join(labels)}"
    for entry in plan.upcasters:
        source = "" if entry.source is None else f" from {entry.source}"
        yield f"{entry.model}.{entry.field}{source}: {entry.function.__module__}.{entry.function.__qualname__}"
