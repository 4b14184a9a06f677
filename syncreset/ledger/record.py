"""Items made of changes and their outcomes, and changes read back from items."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..apply.slots import Applied
from ..clients.client import Client
from ..protocol.changes import Row
from ..rules.instruction import Instruction
from .item import Item


def item_for(
    client: Client,
    result: Applied,
    *,
    recovery: Any = None,
    line: int | None = None,
    part: int = 0,
) -> Item:
    """The unsaved item of a change and what became of it."""
    change = result.change
    item = Item(
        client=client,
        recovery=recovery,
        line=line,
        part=part,
        seq=change.seq,
        model=_printable(change.model, 100),
        pk_text=key_text(change.pk),
        op=change.op,
    )
    item.change = change_as_json(change)
    renew_item(item, result)
    return item


def renew_item(item: Item, result: Applied) -> None:
    """Let an unsaved change of the item say what became of its change. The item's own change stays as it came."""
    outcome, problem = result.outcome, result.outcome.problem
    item.state = outcome.state
    item.code = "" if problem is None else problem.code
    item.problem = None if problem is None else problem.as_wire()
    item.fields = {
        name: {
            "client": decision.client,
            "server": decision.server,
            "base_clock": decision.base_clock,
            "server_clock": decision.server_clock,
            "kept": decision.kept,
        }
        for name, decision in outcome.decisions.items()
    }
    item.before = None if result.before is None else as_json(result.before)
    item.after = None if outcome.row is None else as_json(outcome.row)
    item.cascaded = [
        {
            "model": row.model,
            "pk": row.pk,
            "before": as_json(row.before),
            "after": None if row.after is None else as_json(row.after),
        }
        for row in result.cascaded
    ]
    item.wrote = outcome.writes


def save_renewed(items: Sequence[Item]) -> None:
    """Write items that ``renew_item`` has changed."""
    names = ["state", "code", "problem", "fields", "before", "after", "cascaded", "wrote"]
    Item.objects.bulk_update(items, names, batch_size=200)


def change_as_json(change: Instruction) -> dict[str, Any]:
    """The change as the ledger keeps it, complete enough to be merged again."""
    return {
        "model": change.model,
        "pk": change.pk,
        "op": change.op,
        "fields": dict(change.fields),
        "clocks": dict(change.clocks),
        "base": None if change.base is None else dict(change.base),
        "group": change.group,
        "checkpoint": change.checkpoint,
        "healing": change.healing,
        "overrides": change.overrides,
        "restores": change.restores,
        "includes": {name: dict(steps) for name, steps in change.includes.items()},
        "whole": None if change.whole is None else as_json(change.whole),
    }


def change_from_json(kept: Mapping[str, Any]) -> Instruction:
    """The change that an item keeps."""
    whole = kept["whole"]
    return Instruction(
        model=kept["model"],
        pk=kept["pk"],
        op=kept["op"],
        fields=kept["fields"],
        clocks=kept["clocks"],
        base=kept["base"],
        group=kept["group"],
        checkpoint=kept["checkpoint"],
        healing=kept["healing"],
        overrides=kept["overrides"],
        restores=kept["restores"],
        includes=kept["includes"],
        whole=None if whole is None else Row(**whole),
    )


def as_json(row: Row) -> dict[str, Any]:
    """A row as the ledger keeps it."""
    return {"fields": dict(row.fields), "updated": row.updated, "clocks": dict(row.clocks)}


def save_items(items: Iterable[Item]) -> None:
    """Write new items."""
    Item.objects.bulk_create(items, batch_size=500)


def key_text(pk: str) -> str:
    """A wire key as items are found by."""
    return _printable(pk, 255)


def _printable(text: str, length: int) -> str:
    """The text as far as any database can hold it; the whole of it is in the item's change."""
    printable = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return printable[:length]
