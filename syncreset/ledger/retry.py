"""Parked changes, merged once more: what they waited for may have come."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import QuerySet

from ..apply.changes import CURABLE, apply_changes
from ..apply.context import Context
from ..apply.slots import Applied
from ..clients.client import Client
from ..locks import free_rows
from ..protocol.errors import Problem
from ..rules.merge import Outcome
from .item import Item, ItemState
from .record import change_from_json, key_text, renew_item, save_renewed


def curable(**where: Any) -> "QuerySet[Item]":
    """The items whose change could not be written at all, for something that other changes may bring.

    One of which a part was written, by a merge or by a person's decision, is for that person alone: its change as a
    whole must not be merged a second time.
    """
    return Item.objects.filter(state=ItemState.PARKED, code__in=CURABLE, wrote=False, **where)


def merge_again(items: "QuerySet[Item]", context: Context) -> None:
    """Merge the changes of items together, so that cycles of references close, and keep what has become of them.

    Within the caller's transaction. An item that somebody is deciding at this moment is left out. The ledger keeps
    changes with their clocks corrected: they are not shifted again.
    """
    waiting = list(free_rows(items))
    changes = [change_from_json(item.change) for item in waiting]
    for item, result in zip(waiting, apply_changes(changes, replace(context, offset=0)), strict=True):
        renew_item(item, result)
    save_renewed(waiting)


def close_deleted(client: Client, applied: Sequence[Applied]) -> None:
    """Close the parked changes that the client pushed of rows which it has deleted since.

    Merged again, each would be an edit that the deletion has not seen, and would bring the row back.
    """
    deleted = {
        result.change.row_key: result.change.seq
        for result in applied
        if result.change.op == "delete" and (result.outcome.deletes or result.outcome.state == "identical")
    }
    if not deleted:
        return
    keys = {key_text(pk) for _, pk in deleted}
    closed = []
    for item in free_rows(curable(client=client, recovery=None, pk_text__in=keys)):
        change = change_from_json(item.change)
        seq = deleted.get(change.row_key, 0)
        if seq is None or (item.seq or 0) < seq:
            detail = "the client has deleted the row since"
            superseded = Outcome.superseded(change, Problem(code="replaced", detail=detail))
            renew_item(item, Applied(change=change, outcome=superseded))
            closed.append(item)
    save_renewed(closed)
