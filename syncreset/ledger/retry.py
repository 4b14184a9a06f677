"""Parked changes, merged once more: what they waited for may have come."""

from collections.abc import Sequence
from dataclasses import replace

from ..apply.changes import apply_changes
from ..apply.context import Context
from .item import Item
from .record import change_from_json, renew_item, save_renewed


def merge_again(items: Sequence[Item], context: Context) -> None:
    """Merge the changes of items together, so that cycles of references close, and keep what has become of them.

    Within the caller's transaction. The ledger keeps changes with their clocks corrected: they are not shifted again.
    """
    changes = [change_from_json(item.change) for item in items]
    for item, result in zip(items, apply_changes(changes, replace(context, offset=0)), strict=True):
        renew_item(item, result)
    save_renewed(items)
