"""Where a row's clocks are: in its own columns, or, for models that were registered, in its entry."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..feed.entries import Entry, EntryKind
from ..protocol.clock import now
from ..tracking.fields import CLOCK_FIELDS, MergedClocks, MergedTimestamp
from .model import WireModel, wire_model


class RowClocks(NamedTuple):
    """When a row was last updated, and its fields' clocks (µs)."""

    updated: int
    clocks: Mapping[str, int]


#: Of a row that no trigger has seen yet.
_NEVER = RowClocks(updated=0, clocks={})


def clock_columns(model: WireModel) -> tuple[str, ...]:
    """The columns to read a row's clocks from; none where they are in the entries."""
    return CLOCK_FIELDS if model.keeps_own_clocks else ()


def clocks_in_entries(model: WireModel, pks: Collection[str]) -> dict[str, RowClocks]:
    """The clocks of the rows of these keys, as far as their entries keep them."""
    if model.keeps_own_clocks or not pks:
        return {}
    entries = Entry.objects.filter(
        model=model.label, pk_text__in=pks, kind=EntryKind.ROW, updated__isnull=False
    )
    kept = entries.order_by("updated").values_list("pk_text", "updated", "clocks")
    return {pk: RowClocks(updated=updated or 0, clocks=clocks or {}) for pk, updated, clocks in kept}


def clocks_of(instance: Any) -> RowClocks:
    """The clocks of one row that is in its table."""
    model = wire_model(type(instance))
    if model.keeps_own_clocks:
        return RowClocks(updated=int(instance.last_updated), clocks=dict(instance.field_timestamps))
    pk = model.key_of(instance)
    return clocks_in_entries(model, [pk]).get(pk, _NEVER)


def set_own_clocks(instance: Any, clocks: RowClocks) -> None:
    """Have a merged row written with these clocks, where it holds them itself."""
    if wire_model(type(instance)).keeps_own_clocks:
        instance.last_updated = MergedTimestamp(clocks.updated)
        instance.field_timestamps = MergedClocks(clocks.clocks)


def keep_in_entries(model: WireModel, merged: Mapping[tuple[str, str], RowClocks]) -> None:
    """Give merged rows, named by (key, scope), these clocks, where their entries hold them.

    Call it right after the rows were written and in the same transaction: the triggers have made their entries, with
    clocks of the moment, and the rows' locks keep everybody else from writing them meanwhile.
    """
    if model.keeps_own_clocks:
        return
    Entry.objects.bulk_create(
        [
            Entry(
                model=model.label,
                pk_text=pk,
                scope=scope,
                at=now(),
                updated=clocks.updated,
                clocks=dict(clocks.clocks),
            )
            for (pk, scope), clocks in merged.items()
        ],
        update_conflicts=True,
        unique_fields=["model", "pk_text", "scope"],
        update_fields=["checkpoint", "updated", "clocks"],
    )
