"""`syncreset audit`: whether tracking is whole, and mending it where it is not."""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from ...operations.audit import FAULTS, Finding, audit
from ...tracking.triggers.install import SUPPORTED_VENDORS
from ..console import Console, Report, counted, table

HELP = (
    "Compare triggers, entries and rows of all tracked models. Ends with status 1 if something stays wrong."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--mend",
        action="store_true",
        help="Install triggers, stamp rows, enter what is missing, and make tombstones of what is gone.",
    )
    parser.add_argument(
        "--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS", help="The database to look at (default)."
    )


def run(options: dict[str, Any], console: Console) -> Report:
    alias = options["database"]
    if alias not in connections:
        raise CommandError(f"There is no database {alias!r}; there are {', '.join(connections)}.")
    if connections[alias].vendor not in SUPPORTED_VENDORS:
        raise CommandError(
            f"Writes cannot be tracked on {connections[alias].display_name}: nothing to audit."
        )
    findings = audit(
        connections[alias],
        mend=options["mend"],
        on_model=lambda done, total: console.progress("models compared", done, total),
    )
    return Report(
        data={
            "database": alias,
            "ok": all(finding.mended for finding in findings),
            "findings": [
                {
                    "model": finding.model,
                    "fault": finding.fault,
                    "count": finding.count,
                    "examples": list(finding.examples),
                    "mended": finding.mended,
                }
                for finding in findings
            ],
        },
        lines=list(_lines(findings)),
        failure=_failure(findings, mend=options["mend"]),
    )


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "Triggers, entries and rows agree."
        return
    yield from table(
        ["model", "what is wrong", "count", "mended", "for example"],
        (
            [
                finding.model,
                FAULTS[finding.fault],
                finding.count,
                finding.mended,
                ", ".join(finding.examples[:2]),
            ]
            for finding in findings
        ),
    )


def _failure(findings: Sequence[Finding], *, mend: bool) -> str:
    left = [finding for finding in findings if not finding.mended]
    if not left:
        return ""
    wrong = counted(len(left), "thing is wrong", "things are wrong")
    if any(finding.fault == "not_migrated" for finding in left):
        return f"{wrong}. Run `manage.py migrate`, then audit again."
    if mend:
        return f"{wrong} in spite of mending: is another process writing without triggers? Audit again."
    return f"{wrong}. Run it again with --mend."
