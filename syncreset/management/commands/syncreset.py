"""`manage.py syncreset <subcommand>`: what an operator does from a terminal; ``--json`` for scripts."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from ...protocol.printable import printable
from ..console import Console
from ..subcommands import SUBCOMMANDS


class Command(BaseCommand):
    help = "See how sync is doing, order resets, run recoveries again, purge, and mend tracking."

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        for name, subcommand in SUBCOMMANDS.items():
            described = subparsers.add_parser(name, help=subcommand.HELP, description=subcommand.HELP)
            described.add_argument("--json", action="store_true", help="Print one JSON object for scripts.")
            subcommand.add_arguments(described)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._handle(options)
        except CommandError as error:
            raise CommandError(printable(str(error), lines=True)) from error

    def _handle(self, options: dict[str, Any]) -> None:
        console = Console(errors=self.stderr, quiet=options["verbosity"] == 0)
        try:
            report = SUBCOMMANDS[options["subcommand"]].run(options, console)
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(
                f"The database could not do it: {str(error).strip()}. If a table or column is missing, run"
                " `manage.py migrate`; if the database is busy, try again."
            ) from error
        finally:
            console.close()
        if options["json"]:
            self.stdout.write(json.dumps(report.data))
        else:
            self.stdout.write("\n".join(printable(line, lines=True) for line in report.lines))
        if report.failure:
            raise CommandError(report.failure)
