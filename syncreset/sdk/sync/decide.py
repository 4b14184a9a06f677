"""The ledger's items of this device's own recoveries, and deciding those that wait for a person."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ..errors import ProblemReceived
from ..reports import LedgerItem
from ..transport.messages import Exchange, call, member

#: ``client``, ``server``, or a value for each field named.
Keep = str | Mapping[str, Any]


def items_of(recoveries: Iterable[str], state: str | None) -> Exchange[list[LedgerItem]]:
    """The items of some recoveries, of one state or of all, page by page.

    A recovery that the server does not have any more, as after a restore, has none.
    """
    found: list[LedgerItem] = []
    for recovery in recoveries:
        start: int | None = 0
        while start is not None:
            asked = {"start": str(start)} | ({} if state is None else {"state": state})
            try:
                page = yield from call("GET", f"recoveries/{recovery}/items?{urlencode(asked)}")
            except ProblemReceived as problem:
                if problem.status != 404:
                    raise
                break
            found += [_item(raw) for raw in member(page, "items", list)]
            start = None if page.get("next") is None else member(page, "next", int)
    return found


def resolve(item: str, keep: Keep) -> Exchange[LedgerItem]:
    """Decide a parked item (protocol, "POST /items/{id}/resolve"). Raises ProblemReceived ``not_parked``."""
    raw = yield from call("POST", f"items/{item}/resolve", {"keep": keep})
    return _item(raw)


def _item(raw: Mapping[str, Any]) -> LedgerItem:
    problem = member(raw, "problem", dict, {})
    return LedgerItem(
        id=member(raw, "id", str),
        model=member(raw, "model", str),
        pk=member(raw, "pk", str),
        op="delete" if member(raw, "op", str) == "delete" else "put",
        state=member(raw, "state", str),
        fields=member(raw, "fields", dict, {}),
        code=problem.get("code"),
        detail=problem.get("detail"),
    )
