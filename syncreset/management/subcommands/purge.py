"""`syncreset purge`: remove what the settings no longer keep."""

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.template.defaultfilters import filesizeformat

from ...operations.retention import Purged, purge
from ..console import Console, Report, counted, facts

HELP = "Remove old tombstones, uploads, snapshots and items, clients that never synced, and files that no upload names."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what would be removed, and remove nothing."
    )


def run(options: dict[str, Any], console: Console) -> Report:
    purged = purge(
        dry_run=options["dry_run"], on_step=lambda done, total: console.progress("steps", done, total)
    )
    return Report(
        data={"dry_run": options["dry_run"], **asdict(purged)}, lines=list(_lines(purged, options["dry_run"]))
    )


def _lines(purged: Purged, dry_run: bool) -> Iterator[str]:
    yield "Would be removed" if dry_run else "Removed"
    orphans = "unknown: the storage cannot list its files" if purged.orphans is None else purged.orphans
    yield from facts(
        [
            ("  tombstones and departures", purged.entries),
            ("  expired uploads", purged.uploads),
            ("  snapshots long recovered", purged.snapshots),
            ("  refused snapshots", purged.refused),
            ("  items of pushes", purged.items),
            ("  clients that never synced", purged.clients),
            ("  files that nobody names", orphans),
            ("  size of uploads and snapshots", filesizeformat(purged.bytes).replace("\xa0", " ")),
        ]
    )
    if purged.expired:
        yield (
            f"{counted(purged.expired, 'client')} stopped before checkpoint {purged.horizon:,} and must reset at the"
            f" next contact; unsynced changes that they reported: {purged.unsynced:,}. Their resets recover these."
        )
    if dry_run:
        yield "This was a rehearsal: nothing was removed."
