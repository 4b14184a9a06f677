"""`syncreset recover`: run a recovery again, rehearse it or undo it, by a worker or here with progress."""

import threading
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.db import connection
from django.utils.module_loading import import_string

from ...ledger.item import ItemState
from ...protocol.errors import ProtocolError
from ...recovery.job import Recovery, RecoveryKind, RecoveryState
from ...recovery.orders import preview, recover_again, undo
from ...recovery.run import run as run_recovery
from ...rules.strategies import STRATEGIES
from ...tasks import enqueue
from ..console import Console, Report, counted, facts

HELP = "Recover a snapshot again, or go on with a recovery that was interrupted."

_UNFINISHED = (RecoveryState.QUEUED, RecoveryState.MERGING)
_POLL = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recovery",
        type=uuid.UUID,
        metavar="RECOVERY_ID",
        help="The recovery whose snapshot is meant: `syncreset status` and the admin name them.",
    )
    parser.add_argument(
        "--strategy",
        metavar="NAME",
        help=f"Another strategy: {', '.join(STRATEGIES)}, or the dotted path of a function.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--preview",
        action="store_true",
        help="Make the ledger that a recovery would have, and write nothing else.",
    )
    what.add_argument(
        "--undo", action="store_true", help="Give the recovery's rows back as they were before it."
    )
    parser.add_argument(
        "--wait", action="store_true", help="Run it here, with progress, instead of leaving it to a worker."
    )


def run(options: dict[str, Any], console: Console) -> Report:
    recovery = _ordered(_found(options["recovery"]), options)
    if options["wait"]:
        _run_here(recovery, console)
        recovery.refresh_from_db()
    return Report(
        data=_as_json(recovery), lines=list(_lines(recovery)), failure=_failure(recovery, options["wait"])
    )


def _found(recovery_id: uuid.UUID) -> Recovery:
    recovery = (
        Recovery.objects.select_related("client__user", "upload", "reset").filter(pk=recovery_id).first()
    )
    if recovery is None:
        raise CommandError(
            f"There is no recovery {recovery_id}. `syncreset status` names those that want attention, the admin all."
        )
    return recovery


def _ordered(recovery: Recovery, options: dict[str, Any]) -> Recovery:
    """The recovery to run: the one found where it has not finished, else a new one of its snapshot."""
    _check_strategy(options["strategy"])
    if recovery.state in _UNFINISHED:
        if options["strategy"] or options["preview"] or options["undo"]:
            raise CommandError(
                f"The recovery {recovery.pk} is still {recovery.get_state_display()}: let it finish first"
                " (`--wait` without other options runs it here)."
            )
        if not options["wait"]:
            enqueue(recovery)
        return recovery
    if recovery.kind != RecoveryKind.MERGE:
        raise CommandError(
            f"{recovery.pk} is a {recovery.get_kind_display()}: name the recovery that it is of."
        )
    if options["undo"]:
        if options["strategy"]:
            raise CommandError("Undoing has no strategy: leave --strategy out.")
        try:
            return undo(recovery)
        except ProtocolError as error:
            raise CommandError(str(error.detail)) from error
    if recovery.upload.purged is not None:
        raise CommandError(
            f"The snapshot of {recovery.pk} was purged, {recovery.upload.length:,} bytes, long after its recovery was"
            " done. Its ledger is kept: see `syncreset items --recovery`."
        )
    again = preview if options["preview"] else recover_again
    return again(recovery, strategy=options["strategy"])


def _check_strategy(name: str | None) -> None:
    if name is None or name in STRATEGIES:
        return
    try:
        known = callable(import_string(name))
    except ImportError:
        known = False
    if not known:
        raise CommandError(
            f"There is no strategy {name!r}: use {', '.join(STRATEGIES)}, or a function's dotted path."
        )


def _run_here(recovery: Recovery, console: Console) -> None:
    """Run to the end in this process. Interrupted, it goes on behind its last chunk when it is run again."""
    try:
        with _watched(recovery, console):
            run_recovery(recovery.pk)
    except KeyboardInterrupt:
        raise CommandError(
            f"Stopped. What is merged stays; `syncreset recover {recovery.pk} --wait` or the sweeper goes on, once the"
            " lease has run out."
        ) from None
    except ProtocolError as error:
        raise CommandError(f"The recovery {recovery.pk} failed: {error.detail}") from error
    except Exception as error:
        raise CommandError(
            f"The recovery {recovery.pk} crashed: {type(error).__name__}: {error}. What is merged stays; it is tried"
            " again when the sweeper or `syncreset recover` runs it."
        ) from error


@contextmanager
def _watched(recovery: Recovery, console: Console) -> Iterator[None]:
    """Shows progress from beside: the recovery tells it in its row, chunk by chunk."""
    over = threading.Event()

    def watch() -> None:
        try:
            while not over.wait(_POLL):
                position = Recovery.objects.values_list("position", flat=True).get(pk=recovery.pk)
                console.progress("lines merged", position, recovery.total)
        finally:
            connection.close()

    watcher = threading.Thread(target=watch, name="syncreset-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        console.close()


def _failure(recovery: Recovery, waited: bool) -> str:
    if recovery.state == RecoveryState.FAILED:
        detail = (recovery.problem or {}).get("detail", "no reason is known")
        return f"The recovery {recovery.pk} failed: {detail}. Everything is kept; mend the cause and recover again."
    if waited and recovery.state == RecoveryState.QUEUED and recovery.problem is not None:
        return (
            f"The recovery {recovery.pk} could not be run: {recovery.problem['detail']}. It is tried again."
        )
    if waited and recovery.state in _UNFINISHED:
        return f"Another process works on the recovery {recovery.pk}, or did until just now; try again in a minute."
    return ""


def _as_json(recovery: Recovery) -> dict[str, Any]:
    return {
        "recovery": str(recovery.pk),
        "kind": recovery.kind,
        "state": recovery.state,
        "strategy": recovery.strategy,
        "client": str(recovery.client_id),
        "user": recovery.client.user.get_username(),
        "progress": {"done": recovery.position, "total": recovery.total},
        "totals": recovery.totals,
        "problem": recovery.problem,
    }


def _lines(recovery: Recovery) -> Iterator[str]:
    if recovery.state in _UNFINISHED:
        yield f"The {recovery.get_kind_display()} {recovery.pk} is queued for a worker."
        return
    yield from facts(
        [
            (recovery.get_kind_display(), recovery.pk),
            ("state", recovery.get_state_display()),
            ("strategy", recovery.strategy),
            ("client", f"{recovery.client}, of {recovery.client.user.get_username()}"),
            *((state.label, recovery.totals.get(state.value, 0)) for state in ItemState),
        ]
    )
    parked = recovery.totals.get(ItemState.PARKED, 0)
    if parked:
        yield f"{counted(parked, 'item')} wait for a person: `syncreset items --recovery {recovery.pk} --state parked`."
