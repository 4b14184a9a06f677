"""Every case that a recovery can meet, played on the database: what the client did, and what the server has."""

import uuid
from dataclasses import replace
from typing import Any

from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine, TombstoneLine, UpdateLine
from syncreset.tracking import registry
from syncreset.tracking.registry import options_for
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.snapshots import forced, recover

STRATEGIES = ("by_base", "by_object", "by_field", "by_update_log", "overwrite")
POLICIES = ("newest", "client", "server", "review")
ON_DELETE = ("keep", "delete", "review")
CHANGES = ("create", "update", "delete")
SERVER = ("absent", "same", "changed before", "changed after", "deleted")

#: What the client did to a row, and what the server has of it.
Case = tuple[str, str]

OLD, MINE, OTHERS = "old", "the client's", "the server's"
MINUTE = 60_000_000


def play(
    device: Device, shelter: Shelter, monkeypatch: Any, strategy: str, policy: str, on_delete: str
) -> dict[Case, str]:
    """One recovery with a row for every case. Returns, for each, the item's state and what stands afterwards."""
    options = options_for
    monkeypatch.setattr(
        registry,
        "options_for",
        lambda model: _with(options(model), policy, on_delete),
    )
    keys = {(change, server): str(uuid.uuid4()) for change in CHANGES for server in SERVER}
    for (change, server), pk in keys.items():
        if change != "create" or server == "deleted":
            _insert(shelter, pk)
    device.pull()
    edited_at = now() + MINUTE
    lines = [line for case, pk in keys.items() for line in _lines(device, shelter, case, pk, edited_at)]
    lines.sort(key=lambda line: isinstance(line, UpdateLine))
    for (change, server), pk in keys.items():
        _set_server(shelter, change, server, pk, edited_at)
    reset = forced(device)
    monkeypatch.setattr("syncreset.apply.prepare.corrected", lambda clocks, **_: dict(clocks))
    recover(device, reset, lines, strategy=strategy, full=False, last_synced={DOG: edited_at - 1})
    states = dict(Item.objects.values_list("pk_text", "state"))
    names = {str(pk): name for pk, name in Dog.objects.values_list("pk", "name")}
    return {case: _told(states.get(pk), names.get(pk)) for case, pk in keys.items()}


def _with(options: Any, policy: str, on_delete: str) -> Any:
    return replace(options, conflicts={"*": policy}, on_delete=on_delete)


def _insert(shelter: Shelter, pk: str) -> None:
    Dog.objects.create(pk=pk, shelter=shelter, name=OLD)


def _lines(device: Device, shelter: Shelter, case: Case, pk: str, at: int) -> list[Line]:
    change, server = case
    if change == "create":
        name = OTHERS if server == "same" else MINE
        fields = dog_fields(shelter, name=name)
        return [RowLine(model=DOG, pk=pk, row=Row(fields=fields, updated=at, clocks={"*": at}), base=None)]
    pulled = device.rows[DOG, pk]
    if change == "delete":
        return [TombstoneLine(model=DOG, pk=pk, at=at, base=pulled["updated"], pulled=False)]
    row = Row(fields={**pulled["fields"], "name": MINE}, updated=at, clocks={**pulled["clocks"], "name": at})
    base = {"name": pulled["clocks"]["*"]}
    return [RowLine(model=DOG, pk=pk, row=row, base=base), UpdateLine(model=DOG, pk=pk, field="name", at=at)]


def _set_server(shelter: Shelter, change: str, server: str, pk: str, edited_at: int) -> None:
    rows = Dog.objects.filter(pk=pk)
    if server == "deleted" or (server == "absent" and change != "create"):
        rows.delete()
        if server == "absent":
            Entry.objects.filter(pk_text=pk).delete()
        return
    if change == "create" and server != "absent":
        Dog.objects.create(pk=pk, **_columns(shelter))
    if server.startswith("changed"):
        clock = edited_at + (MINUTE if server == "changed after" else -MINUTE // 2)
        stamps = Dog.objects.values_list("field_timestamps", flat=True).get(pk=pk)
        rows.update(name=OTHERS, last_updated=clock, field_timestamps={**stamps, "name": clock})


def _columns(shelter: Shelter) -> dict[str, Any]:
    fields = dog_fields(shelter, name=OTHERS)
    return {
        "shelter": shelter,
        **{name: value for name, value in fields.items() if name not in ("shelter", "mother")},
    }


def _told(state: str | None, name: str | None) -> str:
    left = {MINE: "client's", OTHERS: "server's", OLD: "server's", None: "no row"}[name]
    return f"{state or 'no change'}, {left}"
