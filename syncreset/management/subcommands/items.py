"""`syncreset items`: the ledger, filtered."""

import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from ...ledger.item import Item, ItemState
from ...protocol.printable import printable
from ...wire.model import model_labelled, wire_models
from ..console import Console, Report, counted, moment, table

HELP = (
    "List the ledger: what became of each recovered change, and of pushed ones that were not simply applied."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--recovery", type=uuid.UUID, metavar="ID", help="Items of this recovery.")
    parser.add_argument(
        "--state",
        choices=ItemState.values,
        metavar="NAME",
        help="Items in this state: " + ", ".join(ItemState.values) + ".",
    )
    parser.add_argument("--model", metavar="LABEL", help="Items of this model, such as `shelters.dog`.")
    parser.add_argument("--object", metavar="PK", help="Items of the object with this primary key.")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="At most N, the newest (100).")


def run(options: dict[str, Any], console: Console) -> Report:
    chosen = {
        "recovery_id": options["recovery"],
        "state": options["state"],
        "model": options["model"] and options["model"].lower(),
        "pk_text": options["object"],
    }
    items = Item.objects.filter(**{name: value for name, value in chosen.items() if value is not None})
    total = items.count()
    shown = list(
        items.select_related("client__user").order_by("-created", "line", "part")[: max(options["limit"], 0)]
    )
    return Report(
        data={"total": total, "items": [_as_json(item) for item in shown]},
        lines=list(_lines(shown, total, chosen["model"])),
    )


def _as_json(item: Item) -> dict[str, Any]:
    return {
        "item": str(item.pk),
        "recovery": None if item.recovery_id is None else str(item.recovery_id),
        "client": str(item.client_id),
        "user": item.client.user.get_username(),
        "line": item.line,
        "part": item.part,
        "seq": item.seq,
        "model": item.model,
        "pk": item.pk_text,
        "op": item.op,
        "state": item.state,
        "code": item.code,
        "problem": item.problem,
        "fields": item.fields,
        "change": item.change,
        "before": item.before,
        "created": item.created,
    }


def _lines(shown: list[Item], total: int, model: str | None) -> Iterator[str]:
    if not total:
        yield "No item matches."
        if model is not None and model_labelled(model) is None:
            known = ", ".join(sorted(tracked.label for tracked in wire_models()))
            yield f"{printable(model)} is not a tracked model; there are: {known}."
        return
    yield from table(
        ["item", "state", "op", "model", "primary key", "user", "when", "why"],
        (
            [
                item.pk,
                item.state,
                item.op,
                item.model,
                item.pk_text,
                item.client.user.get_username(),
                moment(item.created),
                item.code,
            ]
            for item in shown
        ),
        more=total - len(shown),
    )
    yield counted(total, "item")
