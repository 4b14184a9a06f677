"""Parked changes, merged once more: what they waited for may have come."""

from dataclasses import replace
from typing import Any

from django.db.models import QuerySet

from ..apply.changes import CURABLE, apply_changes
from ..apply.context import Context
from ..locks import free_rows
from .item import Item, ItemState
from .record import change_from_json, renew_item, save_renewed


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
