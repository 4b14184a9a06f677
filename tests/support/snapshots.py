"""Lines of a device's snapshot, and the way from an order to reset to a finished recovery."""

from collections.abc import Sequence
from typing import Any

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from tests.support.device import Device


def row_line(row: dict[str, Any], base: dict[str, int] | None, **edits: Any) -> RowLine:
    """A pulled row as a device's snapshot holds it, with local edits made now."""
    clocks = {**row["clocks"], **dict.fromkeys(edits, now())}
    return RowLine(
        model=row["model"],
        pk=row["pk"],
        row=Row(fields={**row["fields"], **edits}, updated=max(clocks.values()), clocks=clocks),
        base=base,
    )


def edited(row: dict[str, Any], **edits: Any) -> RowLine:
    clocks = row["clocks"]
    return row_line(row, {name: clocks.get(name, clocks["*"]) for name in edits}, **edits)


def made_here(model: str, pk: str, fields: dict[str, Any]) -> RowLine:
    clock = now()
    return RowLine(model=model, pk=pk, row=Row(fields=fields, updated=clock, clocks={"*": clock}), base=None)


def recover(device: Device, reset: str, lines: Sequence[Line], **header: Any) -> Recovery:
    recovery = device.upload(reset, device.snapshot(reset, lines, **header))
    run(recovery)
    return Recovery.objects.get(pk=recovery)


def forced(device: Device) -> str:
    (reset,) = Reset.objects.force(Client.objects.filter(pk=device.client))
    problem = device.pull(status=409)
    assert (problem["code"], problem["reason"], problem["reset"]) == (
        "client_reset",
        "admin_forced",
        str(reset.pk),
    )
    return str(reset.pk)


def bootstrap(device: Device, reset: str) -> None:
    device.checkpoint = None
    device.rows.clear()
    device.pull(reset=reset)
