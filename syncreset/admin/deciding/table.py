"""A parked item's fields side by side: what the client wants, what the server has now, and what both go back to."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.html import format_html

from ...ledger.item import Item
from ...protocol.changes import ROW_CLOCK, Row
from ...recovery.review import open_fields
from ...wire.model import model_labelled
from ...wire.rows import row_of
from ..shown.both_sides import base_clock_text, field_name, value_text, written_text
from ..shown.html import instant
from .form import DecisionForm

#: How many of a row's other items are searched for the value that a change was based on.
HISTORY = 20


def present_row(item: Item) -> Row | None:
    """The row as the server has it now, or None where it has none."""
    model = model_labelled(item.model)
    instance = None if model is None else model.find(item.change["pk"])
    return None if instance is None else row_of(instance).row


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """One line of the table that is decided over: cells, and the controls where this field can be decided."""

    name: str
    base: str
    client: str
    server: str
    changed: bool
    choice: forms.BoundField | None = None
    value: forms.BoundField | None = None

    @property
    def radios(self) -> dict[str, Any]:
        """The buttons of the choice, each to stand beside its value."""
        return {str(radio.data["value"]): radio for radio in self.choice or ()}


def decision_rows(form: DecisionForm, present: Row | None) -> Iterator[DecisionRow]:
    """The open fields with what the client wants, what the server has now, and what the client's was based on."""
    item = form.item
    if item.op == "delete":
        yield _row_as_whole(item, present)
        return
    wanted = open_fields(item)
    based_on = _base_values(item, form.names)
    for number, name in enumerate(form.names):
        known = item.fields.get(name, {})
        changed = _has_changed(known, name, present)
        yield DecisionRow(
            name=field_name(name),
            base=_base(item, name, based_on),
            client=format_html("{} <small>{}</small>", value_text(wanted[name]), written_text(item, name)),
            server=_server(known, name, present, changed=changed),
            changed=changed,
            choice=form[f"choice__{number}"],
            value=form[f"value__{number}"],
        )


def _row_as_whole(item: Item, present: Row | None) -> DecisionRow:
    known = item.fields.get(ROW_CLOCK, {})
    base = known.get("base_clock", (item.change.get("base") or {}).get(ROW_CLOCK))
    changed = present is None or (known.get("server") is not None and present.updated != known["server"])
    return DecisionRow(
        name=field_name(ROW_CLOCK),
        base=base_clock_text(item, base),
        client=format_html("deleted <small>{}</small>", written_text(item, ROW_CLOCK)),
        server="no row any more"
        if present is None
        else format_html("last changed <small>{}</small>", instant(present.updated)),
        changed=changed,
    )


def _has_changed(known: Mapping[str, Any], name: str, present: Row | None) -> bool:
    parked = known.get("server_clock")
    return parked is not None and (present is None or present.clock(name) != parked)


def _server(known: Mapping[str, Any], name: str, present: Row | None, *, changed: bool) -> str:
    """The server's value now and, where that is another one, when the item was parked."""
    if present is None:
        shown = "no row"
    elif name not in present.fields:
        shown = "no such field"
    else:
        shown = format_html(
            "{} <small>{}</small>", value_text(present.fields[name]), instant(present.clock(name))
        )
    if not changed:
        return shown
    return format_html(
        '{}<span class="syncreset-then">when parked: {} <small>{}</small></span>',
        shown,
        value_text(known["server"]),
        instant(known["server_clock"]),
    )


def _base(item: Item, name: str, based_on: Mapping[str, Any]) -> str:
    clock = _base_clock(item, name)
    if clock is None:
        return base_clock_text(item, clock)
    value = value_text(based_on[name]) if name in based_on else "a value written at"
    return format_html("{} <small>{}</small>", value, base_clock_text(item, clock))


def _base_clock(item: Item, name: str) -> int | None:
    clock: int | None = item.fields.get(name, {}).get("base_clock")
    return (item.change.get("base") or {}).get(name) if clock is None else clock


def _base_values(item: Item, names: Collection[str]) -> dict[str, Any]:
    """What the client's values were based on, where a row that the ledger keeps still has it."""
    wanted = {name: clock for name in names if (clock := _base_clock(item, name)) is not None}
    if not wanted:
        return {}
    others = Item.objects.filter(model=item.model, pk_text=item.pk_text).exclude(pk=item.pk).order_by("-id")
    rows = [item.before, item.after]
    for before, after in others.values_list("before", "after")[:HISTORY]:
        rows += [before, after]
    found: dict[str, Any] = {}
    for kept in rows:
        row = None if kept is None else Row(**kept)
        for name, clock in wanted.items():
            if row is not None and name in row.fields and row.clock(name) == clock:
                found.setdefault(name, row.fields[name])
    return found
