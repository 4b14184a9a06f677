"""`syncreset reset`: order clients to reset, all at once or in waves, or rehearse whom it would hit."""

import uuid
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db.models import QuerySet

from ...clients.client import Client
from ...clients.resets import Reset
from ...protocol.clock import now
from ..console import Console, Report, counted, moment, table

HELP = "Order clients to reset: they back up, download afresh and upload what they had not synced."

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Order:
    """What happens to one client: ``ordered``, its open reset ``kept``, or that one ``brought_forward``.

    ``wave`` counts from 1; None for a client whose reset is due already. ``not_before`` in µs.
    """

    client: Client
    outcome: str
    wave: int | None
    not_before: int
    reset: uuid.UUID | None


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--client",
        type=uuid.UUID,
        action="extend",
        nargs="+",
        default=[],
        metavar="ID",
        help="These clients; several ids may follow.",
    )
    parser.add_argument("--user", metavar="NAME", help="The clients of this user.")
    parser.add_argument(
        "--scope",
        metavar="KEY",
        help="The clients that held this scope at their last pull, such as `shelters.shelter:12`.",
    )
    parser.add_argument(
        "--all", action="store_true", help="Every client. Stands alone; the others narrow down together."
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="They upload every row; what is newer than the server's is taken over. Only after the server lost data.",
    )
    parser.add_argument(
        "--detail", default="", metavar="TEXT", help="Why, for whoever looks at the resets later."
    )
    parser.add_argument(
        "--waves", type=_at_least_one, default=1, metavar="N", help="Spread the clients over N waves (1)."
    )
    parser.add_argument(
        "--every",
        type=_at_least_one,
        default=600,
        metavar="SECONDS",
        help="The time between two waves (600).",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Rehearse: say whom it would hit and how much is unsynced."
    )


def run(options: dict[str, Any], console: Console) -> Report:
    clients = _chosen(options)
    at, dry_run = now(), options["dry_run"]
    orders = []
    planned = list(_planned(clients, at, options["waves"], options["every"] * 1_000_000))
    for done, order in enumerate(planned):
        orders.append(order if dry_run else _given(order, options))
        if not dry_run:
            console.progress("clients ordered", done + 1, len(planned))
    return Report(data=_as_json(orders, dry_run), lines=list(_lines(orders, dry_run, at)))


def _chosen(options: dict[str, Any]) -> "QuerySet[Client]":
    """The clients that all given options name. Raises CommandError where something named does not exist."""
    narrowing = [options["client"], options["user"], options["scope"]]
    if options["all"] == any(narrowing):
        raise CommandError(
            "Say which clients: --all for every one, or --client, --user, --scope, which narrow down together."
        )
    clients = Client.objects.select_related("user").defer("scopes")
    if options["client"]:
        clients = clients.filter(pk__in=options["client"])
        unknown = set(options["client"]) - set(clients.values_list("pk", flat=True))
        if unknown:
            named = ", ".join(sorted(map(str, unknown)))
            raise CommandError(f"There is no client {named}. The admin's list of clients shows the ids.")
    if options["user"] is not None:
        users = get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: options["user"]})
        if not users.exists():
            raise CommandError(f"There is no user {options['user']!r}.")
        clients = clients.filter(user__in=users)
    if options["scope"] is not None:
        clients = clients.filter(pk__in=_holding(options["scope"]))
    return clients


def _holding(scope: str) -> list[uuid.UUID]:
    """Compared here: containment in a JSON list is not a lookup on every database."""
    held = Client.objects.values_list("pk", "scopes").iterator(chunk_size=500)
    return [pk for pk, scopes in held if scope in scopes]


def _planned(clients: "QuerySet[Client]", at: int, waves: int, every: int) -> Iterator[Order]:
    """Clients whose reset is due keep it; the others come in waves, those with the least unsynced first."""
    opened = {reset.client_id: reset for reset in Reset.objects.open().filter(client__in=clients)}
    waiting = []
    for client in clients.order_by("pending", "-last_seen", "pk"):
        reset = opened.get(client.pk)
        if reset is not None and reset.not_before <= at:
            yield Order(client=client, outcome="kept", wave=None, not_before=reset.not_before, reset=reset.pk)
        else:
            waiting.append((client, reset))
    waves = min(waves, len(waiting))
    for place, (client, reset) in enumerate(waiting):
        wave = place * waves // len(waiting)
        due = at + wave * every
        if reset is None:
            yield Order(client=client, outcome="ordered", wave=wave + 1, not_before=due, reset=None)
        else:
            kept = reset.not_before <= due
            yield Order(
                client=client,
                outcome="kept" if kept else "brought_forward",
                wave=wave + 1,
                not_before=min(due, reset.not_before),
                reset=reset.pk,
            )


def _given(order: Order, options: dict[str, Any]) -> Order:
    if order.wave is None:
        return order
    [reset] = Reset.objects.force(
        [order.client], detail=options["detail"], full=options["full"], not_before=order.not_before
    )
    return Order(
        client=order.client,
        outcome=order.outcome,
        wave=order.wave,
        not_before=reset.not_before,
        reset=reset.pk,
    )


def _as_json(orders: Sequence[Order], dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "total": len(orders),
        "outcomes": {
            outcome: sum(order.outcome == outcome for order in orders)
            for outcome in ("ordered", "kept", "brought_forward")
        },
        "unsynced": _unsynced(orders),
        "waves": [
            {
                "wave": wave,
                "not_before": min(order.not_before for order in members),
                "clients": len(members),
                "unsynced": _unsynced(members),
            }
            for wave, members in _by_wave(orders)
        ],
        "clients": [
            {
                "client": str(order.client.pk),
                "name": order.client.name,
                "user": order.client.user.get_username(),
                "pending": order.client.pending,
                "last_seen": order.client.last_seen,
                "outcome": order.outcome,
                "wave": order.wave,
                "not_before": order.not_before,
                "reset": None if order.reset is None else str(order.reset),
            }
            for order in orders
        ],
    }


def _unsynced(orders: Sequence[Order]) -> dict[str, int]:
    pending = [order.client.pending for order in orders]
    return {"clients": sum(count > 0 for count in pending), "changes": sum(pending)}


def _by_wave(orders: Sequence[Order]) -> Iterator[tuple[int, list[Order]]]:
    for wave in sorted({order.wave for order in orders if order.wave is not None}):
        yield wave, [order for order in orders if order.wave == wave]


def _lines(orders: Sequence[Order], dry_run: bool, at: int) -> Iterator[str]:
    if not orders:
        yield "No client matches: nothing is ordered."
        return
    unsynced = _unsynced(orders)
    fresh = [order for order in orders if order.outcome != "kept"]
    verb = "would be ordered" if dry_run else ("was ordered" if len(fresh) == 1 else "were ordered")
    yield f"{counted(len(fresh), 'client')} {verb} to reset; {len(orders) - len(fresh):,} keep an open reset."
    if unsynced["changes"]:
        yield (
            f"When they last pulled, {unsynced['clients']:,} of them reported"
            f" {counted(unsynced['changes'], 'unsynced change')}. A reset uploads these, and they are recovered."
        )
    else:
        yield "None of them reported unsynced changes when it last pulled."
    waves = list(_by_wave(orders))
    if len(waves) > 1:
        yield ""
        yield from table(
            ["wave", "from", "clients", "unsynced changes"],
            (
                [
                    wave,
                    moment(min(order.not_before for order in members)),
                    len(members),
                    _unsynced(members)["changes"],
                ]
                for wave, members in waves
            ),
        )
    yield ""
    yield from table(
        ["client", "name", "user", "unsynced", "last seen", "what happens"],
        (
            [
                order.client.pk,
                order.client.name,
                order.client.user.get_username(),
                order.client.pending,
                moment(order.client.last_seen),
                _what(order, at),
            ]
            for order in orders[:_SHOWN]
        ),
        more=len(orders) - _SHOWN,
    )
    if dry_run:
        yield from ("", "This was a rehearsal: nothing was ordered.")


def _what(order: Order, at: int) -> str:
    when = "" if order.not_before <= at else f", {moment(order.not_before)}"
    said = {
        "ordered": "resets",
        "kept": "keeps its open reset",
        "brought_forward": "resets earlier than ordered",
    }
    return said[order.outcome] + when


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)
