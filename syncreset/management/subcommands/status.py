"""`syncreset status`: how sync is doing as a whole."""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from ...clients.client import Client
from ...operations.attention import IDLE_SECONDS
from ...operations.states import SILENT_DAYS
from ...operations.status import Overview, overview
from ...recovery.job import Recovery
from ...recovery.reset_state import RESET_STATES
from ..console import Console, Report, counted, facts, moment, table

HELP = "Tell how the feed, clients, resets, recoveries, uploads and triggers stand. Changes nothing."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--silent-days",
        type=int,
        default=SILENT_DAYS,
        metavar="N",
        help="Count clients as silent that were not seen for N days (30).",
    )
    parser.add_argument(
        "--idle-seconds",
        type=int,
        default=IDLE_SECONDS,
        metavar="N",
        help="Name the recoveries that nobody has worked on for N seconds (300).",
    )
    parser.add_argument(
        "--limit", type=int, default=10, metavar="N", help="Name at most N clients and recoveries (10)."
    )


def run(options: dict[str, Any], console: Console) -> Report:
    found = overview(
        silent_days=options["silent_days"],
        idle_seconds=options["idle_seconds"],
        named=max(options["limit"], 0),
    )
    return Report(
        data=_as_json(found, options["silent_days"]), lines=list(_lines(found, options["silent_days"]))
    )


def _as_json(found: Overview, silent_days: int) -> dict[str, Any]:
    return {
        "at": found.at,
        "feed": {
            "epoch": found.feed.epoch,
            "checkpoint": found.feed.checkpoint,
            "checkpoint_at": found.feed.at,
            "horizon": found.feed.horizon,
            "unstamped": found.feed.unstamped,
            "entries": found.feed.entries,
        },
        "clients": {
            "total": sum(found.clients.values()),
            "silent_days": silent_days,
            "states": dict(found.clients),
        },
        "unsynced": {
            "clients": found.unsynced.clients,
            "changes": found.unsynced.changes,
            "oldest": [_client_as_json(client) for client in found.unsynced.oldest],
        },
        "resets": {reason: dict(states) for reason, states in found.resets.items()},
        "recoveries": {
            "states": dict(found.recoveries),
            "attention": [_recovery_as_json(recovery) for recovery in found.attention],
            "idle": [_recovery_as_json(recovery) for recovery in found.idle],
        },
        "missing_snapshots": dict(found.missing),
        "parked": found.parked,
        "uploads": dict(found.uploads),
        "triggers": {"ok": not found.triggers, "wrong": found.triggers},
        "schema": {
            "hash": found.schema,
            "published": found.schemas_published,
            "old_clients": found.old_schema_clients,
        },
    }


def _client_as_json(client: Client) -> dict[str, Any]:
    return {
        "client": str(client.pk),
        "name": client.name,
        "user": client.user.get_username(),
        "pending": client.pending,
        "last_seen": client.last_seen,
        "checkpoint": client.checkpoint,
    }


def _recovery_as_json(recovery: Recovery) -> dict[str, Any]:
    return {
        "recovery": str(recovery.pk),
        "state": recovery.state,
        "client": str(recovery.client_id),
        "user": recovery.client.user.get_username(),
        "created": recovery.created,
        "totals": recovery.totals,
        "problem": recovery.problem,
    }


def _lines(found: Overview, silent_days: int) -> Iterator[str]:
    yield from _feed_lines(found)
    yield from _client_lines(found, silent_days)
    yield from _reset_lines(found)
    yield from _recovery_lines(found)


def _feed_lines(found: Overview) -> Iterator[str]:
    yield "Feed"
    yield from facts(
        [
            (
                "  newest checkpoint",
                f"{found.feed.checkpoint:,}, {moment(found.feed.at, missing='none yet')}",
            ),
            ("  entries", f"{found.feed.entries:,}, of which {found.feed.unstamped:,} are not stamped yet"),
            ("  purged up to", f"checkpoint {found.feed.horizon:,}" if found.feed.horizon else "nothing"),
            ("  epoch", found.feed.epoch),
            ("  schema", f"{found.schema}, {counted(found.schemas_published, 'schema')} published"),
            (
                "  triggers",
                f"WRONG on {', '.join(found.triggers)}: run `audit`"
                if found.triggers
                else "as they should be",
            ),
        ]
    )


def _client_lines(found: Overview, silent_days: int) -> Iterator[str]:
    yield from ("", f"Clients: {sum(found.clients.values()):,}")
    yield from facts(
        [
            ("  must reset", found.clients["reset"]),
            ("  must reset later", found.clients["scheduled"]),
            (f"  silent for {silent_days} days", found.clients["silent"]),
            ("  never pulled to the end", found.clients["never"]),
            ("  with an old schema", found.clients["old_schema"]),
            ("  behind the newest checkpoint", found.clients["behind"]),
            ("  current", found.clients["current"]),
        ]
    )
    yield from (
        "",
        f"Unsynced: {counted(found.unsynced.changes, 'change')} on {counted(found.unsynced.clients, 'client')}",
    )
    if found.unsynced.oldest:
        rows = (
            [client.pk, client.name, client.user.get_username(), client.pending, moment(client.last_seen)]
            for client in found.unsynced.oldest
        )
        yield from table(
            ["client", "name", "user", "changes", "last seen"],
            rows,
            more=found.unsynced.clients - len(found.unsynced.oldest),
        )


def _reset_lines(found: Overview) -> Iterator[str]:
    yield from ("", "Resets")
    shown = [state for state in RESET_STATES if any(states.get(state) for states in found.resets.values())]
    if shown:
        yield from table(
            ["reason", *shown],
            ([reason, *(states.get(state, 0) for state in shown)] for reason, states in found.resets.items()),
        )
    else:
        yield "  none"


def _recovery_lines(found: Overview) -> Iterator[str]:
    yield from ("", "Recoveries")
    yield "  " + (
        ", ".join(f"{count:,} {state}" for state, count in found.recoveries.items() if count) or "none"
    )
    yield f"  parked items: {found.parked:,}" + (" (see `items --state parked`)" if found.parked else "")
    yield from _recovery_table(found.attention)
    if found.idle:
        yield "  nobody works on these; the worker or beat does not run, or the problem has to be mended:"
        yield from _recovery_table(found.idle)
    if found.missing:
        yield "  snapshots that are not in the storage; set the same one up for all processes, or bring the files back:"
        # In full: a table would cut the names.
        yield from (f"    upload {upload}: {name}" for upload, name in found.missing.items())
    yield from ("", "Uploads")
    yield "  " + ", ".join(f"{count:,} {state}" for state, count in found.uploads.items())


def _recovery_table(recoveries: Sequence[Recovery]) -> Iterator[str]:
    if recoveries:
        yield from table(
            ["recovery", "state", "user", "begun", "problem"],
            (
                [
                    recovery.pk,
                    recovery.state,
                    recovery.client.user.get_username(),
                    moment(recovery.created),
                    (recovery.problem or {}).get("detail", ""),
                ]
                for recovery in recoveries
            ),
        )
