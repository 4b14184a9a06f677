"""Values of counters and sets that a restored server cannot account for: parked until the steps come that explain them.

A value that a device pulled holds every step that was counted before, whoever made it. Which these were, the value does
not say: so it is not written, and each step is counted when the device comes that made it.
"""

from collections.abc import Collection, Mapping, Sequence

from django.db.models import QuerySet

from ...apply.counted import histories
from ...clients.client import note_told
from ...ledger.item import Item, ItemState
from ...ledger.record import key_text, save_renewed
from ...locks import free_rows
from ...protocol.changes import Row, RowKey
from ...protocol.steps import is_steps, parse_steps
from ...rules.strategies import FieldHistory
from ...wire.model import model_labelled
from ...wire.rows import stored_rows
from ..job import Recovery, RecoveryKind, settle
from .steps import CODE

#: The code of values that wait because steps of theirs are missing.
UNEXPLAINED = "unexplained"


def asked_of(keys: Collection[RowKey]) -> frozenset[tuple[str, str, str, int]]:
    """The values that a person is asked of already, of some rows: by model, key, field and clock (µs)."""
    return frozenset(
        (item.change["model"], item.change["pk"], name, at)
        for item in _waiting(keys, [UNEXPLAINED])
        for name, at in item.change["clocks"].items()
    )


def close_explained(recovery: Recovery, keys: Collection[RowKey], scopes: Collection[str]) -> None:
    """Close the questions that have answered themselves, of rows whose steps a recovery has brought.

    Within its transaction. A value is explained once every step that led to it is counted, a step that was in doubt
    once it is known to be counted. Questions that somebody answers at this moment are left out.
    """
    waiting = list(free_rows(_waiting(keys, [UNEXPLAINED, CODE])))
    if not waiting:
        return
    rows, made_of = _as_they_are(keys, scopes)
    closed = [item for item in waiting if _is_explained(item, rows, made_of)]
    for item in closed:
        item.state, item.code, item.problem = ItemState.IDENTICAL, "", None
        item.fields = {name: {**decision, "kept": "server"} for name, decision in item.fields.items()}
        note_told(item.client_id)
    save_renewed(closed)
    for other in {item.recovery for item in closed if item.recovery_id != recovery.pk}:
        if other is not None and other.finished is not None:
            settle(other)


def _waiting(keys: Collection[RowKey], codes: Sequence[str]) -> "QuerySet[Item]":
    items = Item.objects.filter(
        state=ItemState.PARKED,
        code__in=codes,
        model__in={label for label, _ in keys},
        pk_text__in={key_text(pk) for _, pk in keys},
    )
    return (
        items.exclude(recovery__kind=RecoveryKind.PREVIEW)
        .select_related("recovery")
        .order_by("created", "pk")
    )


def _as_they_are(
    keys: Collection[RowKey], scopes: Collection[str]
) -> tuple[dict[RowKey, Row], dict[RowKey, dict[str, FieldHistory]]]:
    rows: dict[RowKey, Row] = {}
    made_of: dict[RowKey, dict[str, FieldHistory]] = {}
    for label in {label for label, _ in keys}:
        model = model_labelled(label)
        if model is not None:
            typed = model.canonical_keys([pk for other, pk in keys if other == label])
            found = {pk: stored.row for pk, stored in stored_rows(model, scopes, typed).items()}
            rows |= {(label, pk): row for pk, row in found.items()}
            made_of |= histories(model, found)
    return rows, made_of


def _is_explained(
    item: Item, rows: Mapping[RowKey, Row], made_of: Mapping[RowKey, Mapping[str, FieldHistory]]
) -> bool:
    key = (item.change["model"], item.change["pk"])
    row, of_fields = rows.get(key), made_of.get(key, {})
    if row is None:
        return False
    pulled = 0 if item.recovery is None else item.recovery.pulled
    for name, value in item.change["fields"].items():
        history = of_fields.get(name)
        if history is None:
            return False
        if is_steps(value):
            if not {step.id for step in parse_steps(value)} <= history.counted.keys():
                return False
        elif not history.explains(value, item.change["clocks"][name], row.fields[name], pulled=pulled):
            return False
    return True
