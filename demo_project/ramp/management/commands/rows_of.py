"""`manage.py rows_of USER`: everything that a user may hold, as the database has it now, as one JSON array.

A command, for the walk-through outlives a release: what it asks must be answered by the code that is deployed.
"""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from syncreset.clients.scopes import scopes_of
from syncreset.wire.model import wire_models
from syncreset.wire.rows import all_rows


class Command(BaseCommand):
    help = "Writes the rows that a user may hold: [[model, primary key, {field: value}], …], in wire values."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"there is no user {username}")
        self.stdout.write(json.dumps(list(rows_of(user))))


def rows_of(user: User) -> Iterator[tuple[str, str, Any]]:
    """Model, primary key and fields of each row that the user may hold, parents first."""
    scopes = scopes_of(user)
    for model in wire_models():
        for stored in all_rows(model, scopes):
            yield model.label, stored.pk, stored.row.fields
