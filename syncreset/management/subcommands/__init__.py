"""What `manage.py syncreset` can do, by name. Each subcommand is a module with the members of ``Subcommand``."""

from argparse import ArgumentParser
from typing import Any, Protocol

from ..console import Console, Report
from . import audit, items, new_epoch, plan, purge, recover, reset, status


class Subcommand(Protocol):
    """``HELP`` says in one line what it does; ``run`` does it, and raises CommandError where it cannot."""

    HELP: str

    def add_arguments(self, parser: ArgumentParser) -> None: ...

    def run(self, options: dict[str, Any], console: Console) -> Report: ...


SUBCOMMANDS: dict[str, Subcommand] = {
    "status": status,
    "reset": reset,
    "recover": recover,
    "items": items,
    "purge": purge,
    "new_epoch": new_epoch,
    "audit": audit,
    "plan": plan,
}
