"""Items as their client's user may see them: of the server's side nothing but what that user may see now."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..wire.visibility import seen_now
from .item import Item


def items_as_wire(
    items: Sequence[Item], scopes: Collection[str], *, of_server: bool = False
) -> list[dict[str, Any]]:
    """The items as the protocol shows them to somebody who holds these scopes.

    A row that has moved to another scope since looks as one that is absent. ``of_server``: both sides of the items are
    the server's, as those of an undoing are.
    """
    seen = seen_now(((item.change["model"], item.change["pk"]) for item in items), scopes)
    return [
        _as_wire(item, shown=(item.change["model"], item.change["pk"]) in seen, of_server=of_server)
        for item in items
    ]


def _as_wire(item: Item, *, shown: bool, of_server: bool) -> dict[str, Any]:
    wire = {
        "id": str(item.pk),
        "model": item.model,
        "pk": item.pk_text,
        "op": item.op,
        "state": item.state,
        "fields": item.fields
        if shown
        else {name: _withheld(item, name, side, of_server) for name, side in item.fields.items()},
    }
    if item.problem is not None:
        wire["problem"] = item.problem
    return wire


def _withheld(item: Item, name: str, side: Mapping[str, Any], of_server: bool) -> dict[str, Any]:
    """One field less the server's side, and less what a person chose for it that is not the client's own."""
    own = None if of_server else item.change["fields"].get(name)
    return {**side, "client": own, "server": None, "server_clock": None}
