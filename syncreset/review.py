"""Parked items, decided by a person: applied like any change, and checked again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction

from .apply import apply_changes
from .codec import ValueFault
from .ledger import Item, ItemState, change_from_json, renew_item, save_renewed
from .preparing import Author
from .protocol import ROW_CLOCK, Change, Malformed, ProtocolError, Row, now
from .recovery import settle
from .rows import lock_instances, row_of
from .tracking.registry import tracked_by_label
from .undoing import REVIEW

__all__ = ["NotParked", "resolve"]

Keep = str | Mapping[str, Any]


class NotParked(ProtocolError):
    """The item has been decided already, or never had to be."""

    status = 409
    code = "not_parked"


def resolve(item: Item, keep: Keep, author: Author) -> Item:
    """Decide a parked item: keep the ``client``'s side, the ``server``'s, or a value for each field named.

    What is kept of the client's side is merged once more, based on what the server had when the item was parked: if
    somebody has changed it since, or it still cannot be written, the item stays parked and says so. Fields that are
    not named keep the server's value. Raises NotParked, and Malformed for what is no decision.
    """
    with transaction.atomic():
        locked = Item.objects.filter(pk=item.pk, state=ItemState.PARKED).update(resolved_by=author.user.pk)
        if not locked:
            raise NotParked("this item is not parked: it has been decided already")
        item.refresh_from_db()
        change = _decided(item, keep, _present(item, author))
        if change is None:
            _keep_servers(item)
        else:
            (result,) = apply_changes([change], replace(author, offset=0, policy=REVIEW))
            renew_item(item, result)
            if item.state == ItemState.REJECTED:
                item.state = ItemState.PARKED
        if item.state != ItemState.PARKED:
            item.resolution = keep
            item.resolved = now()
        save_renewed([item])
        Item.objects.filter(pk=item.pk).update(resolution=item.resolution, resolved=item.resolved)
        if item.recovery is not None and item.recovery.finished is not None:
            settle(item.recovery)
    return item


def _decided(item: Item, keep: Keep, present: Row | None) -> Change | None:
    """The change that the decision asks for, or None where the server's side stays as it is."""
    change = change_from_json(item.change)
    if keep == "server" or keep == {}:
        return None
    if keep != "client" and not isinstance(keep, Mapping):
        raise Malformed('keep is neither "client", "server" nor an object of field values')
    if change.op == "delete":
        if keep != "client":
            raise Malformed("a delete is decided as a whole: keep the client's or the server's side")
        return replace(change, clocks={ROW_CLOCK: now()}, base=_bases(item, [ROW_CLOCK], present))
    fields = dict(keep) if isinstance(keep, Mapping) else _clients_fields(item, change)
    if present is None:
        whole = dict(change.fields) if change.whole is None else dict(change.whole.fields)
        return replace(
            change,
            fields={**whole, **fields},
            clocks={ROW_CLOCK: now()},
            base=None,
            whole=None,
            restores=True,
        )
    clock = now()
    return replace(
        change,
        fields=fields,
        clocks=dict.fromkeys(fields, clock),
        base=_bases(item, list(fields), present),
        whole=None,
    )


def _clients_fields(item: Item, change: Change) -> dict[str, Any]:
    """The fields that wait for the decision; all of them where the change as a whole could not be written."""
    waiting = {
        name: decision["client"] for name, decision in item.fields.items() if decision["kept"] == "review"
    }
    return waiting or dict(change.fields)


def _present(item: Item, author: Author) -> Row | None:
    """The row as the server has it now, or None where it has none that the author may see."""
    model = tracked_by_label(item.change["model"])
    if model is None:
        return None
    try:
        found = lock_instances(model, [item.change["pk"]])
    except ValueFault:
        return None
    for instance in found.values():
        stored = row_of(instance)
        return stored.row if author.operator or stored.scope in author.scopes else None
    return None


def _bases(item: Item, names: list[str], present: Row | None) -> dict[str, int]:
    """The server's clocks as they were when the item was parked, for those are what the person has seen.

    Where the change could not be written at all there was no other side to see: then those of the row now.
    """
    bases: dict[str, int] = {}
    for name in names:
        known = item.fields.get(name, {}).get("server_clock")
        if known is None and present is not None:
            known = present.updated if name == ROW_CLOCK else present.clock(name)
        if known is not None:
            bases[name] = known
    return bases


def _keep_servers(item: Item) -> None:
    item.state = ItemState.SUPERSEDED
    item.fields = {name: {**decision, "kept": "server"} for name, decision in item.fields.items()}
