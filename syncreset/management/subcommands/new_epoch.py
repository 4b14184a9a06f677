"""`syncreset new_epoch`: declare that the feed's history is another one, as after restoring a backup by hand."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Count, Sum

from ...clients.client import Client
from ...feed.checkpoints import begin_epoch, feed_state
from ..console import Console, Report, counted

HELP = (
    "Begin a new history of the feed: every client must reset, and uploads all it holds to heal the server."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="Do not ask.")


def run(options: dict[str, Any], console: Console) -> Report:
    before = feed_state().epoch
    reported = Client.objects.filter(checkpoint__isnull=False).aggregate(
        clients=Count("pk"), pending=Sum("pending")
    )
    clients, pending = reported["clients"], reported["pending"] or 0
    follows = [
        f"{counted(clients, 'client')} must reset at the next contact; {counted(pending, 'unsynced change')} reported.",
        "Each downloads everything afresh and uploads its whole store. Rows and values that are newer there than here",
        "are taken over, whoever wrote them; its unsynced changes are recovered as ever.",
        "A restored backup is noticed without this. There is no way back to the old epoch.",
    ]
    if not options["yes"] and not console.confirm(
        "\n".join(["You are about to begin a new epoch.", *follows])
    ):
        raise CommandError("Nothing was done: the epoch is the one it was.")
    epoch = begin_epoch()
    return Report(
        data={"before": before, "epoch": epoch, "clients": clients, "pending": pending},
        lines=[f"A new epoch has begun: {epoch} (before: {before}).", *follows[:-1]],
    )
