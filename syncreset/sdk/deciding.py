"""The ledger's items of this device's own recoveries, and deciding those that wait for a person."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from .messages import Exchange, call
from .reports import LedgerItem

__all__ = ["Keep", "items_of", "resolve"]

#: ``client``, ``server``, or a value for each field named.
Keep = str | Mapping[str, Any]


def items_of(recoveries: Iterable[str], state: str | None) -> Exchange[list[LedgerItem]]:
    """The items of some recoveries, of one state or of all, page by page."""
    found: list[LedgerItem] = []
    for recovery in recoveries:
        start: int | None = 0
        while start is not None:
            asked = {"start": str(start)} | ({} if state is None else {"state": state})
            page = yield from call("GET", f"recoveries/{recovery}/items?{urlencode(asked)}")
            found += [_item(raw) for raw in page["items"]]
            start = page.get("next")
    return found


def resolve(item: str, keep: Keep) -> Exchange[LedgerItem]:
    """Decide a parked item (protocol, "POST /items/{id}/resolve"). Raises ProblemReceived ``not_parked``."""
    raw = yield from call("POST", f"items/{item}/resolve", {"keep": keep})
    return _item(raw)


def _item(raw: Mapping[str, Any]) -> LedgerItem:
    problem = raw.get("problem") or {}
    return LedgerItem(
        id=raw["id"],
        model=raw["model"],
        pk=raw["pk"],
        op=raw["op"],
        state=raw["state"],
        fields=raw.get("fields") or {},
        code=problem.get("code"),
        detail=problem.get("detail"),
    )
