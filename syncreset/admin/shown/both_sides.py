"""Both sides of an item as tables: whose value stands in each field, and the row around the change."""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from django.utils.html import format_html, format_html_join

from ...ledger.item import Item
from ...protocol.changes import ROW_CLOCK, same
from .html import Table, code, instant, isolated, wire_text

#: How much is shown of what a client named that the server does not know.
FIELDS_SHOWN = 300
ROWS_SHOWN = 100
NAME_SHOWN = 100

_KEPT = {
    "client": "the client's",
    "server": "the server's",
    "review": "undecided",
    "function": "what the model's function made of both",
    "both": "the elements of both",
}


def both_sides(item: Item, *, without: Collection[str] = ()) -> Table:
    """Each field with both values and whose stands, but those that are shown elsewhere."""
    if not item.fields:
        return _wanted(item, without)
    fields = {name: side for name, side in item.fields.items() if name not in without}
    marked = {
        place
        for place, side in enumerate(fields.values())
        if side["kept"] != "client" and not same(side["client"], side["server"])
    }
    return Table(
        caption="Merged already" if without else "Both sides",
        columns=["Field", "Client's", "Server's", "Based on what was written at", "Kept"],
        rows=[
            [
                field_name(name),
                _clients(item, name, side),
                _servers(name, side),
                base_clock_text(item, side["base_clock"]),
                _kept(item, name, side),
            ]
            for name, side in fields.items()
        ],
        marked=frozenset(marked),
        note="Marked are the fields where the client's value does not stand." if marked else "",
    )


def _wanted(item: Item, without: Collection[str]) -> Table:
    """Refused before it could be merged: all there is to show is what the client wanted."""
    values = {name: value for name, value in item.change.get("fields", {}).items() if name not in without}
    return Table(
        caption="What the client wanted",
        columns=["Field", "The client's value", "Written there at"],
        rows=[
            [field_name(name), value_text(value), written_text(item, name)]
            for name, value in islice(values.items(), FIELDS_SHOWN)
        ],
        empty="The change names no field.",
        note=f"and {len(values) - FIELDS_SHOWN:,} more" if len(values) > FIELDS_SHOWN else "",
    )


def around(item: Item) -> Table:
    """The row before the change and, where one was left, after it."""
    before, after = item.before or {}, item.after or {}
    old, new = before.get("fields", {}), after.get("fields", {})
    names = list({**old, **new})
    changes = [
        not after or not before or name not in new or not same(old.get(name), new[name]) for name in names
    ]
    return Table(
        caption="The row before and after"
        if after and before
        else "The row before"
        if before
        else "The row after",
        columns=["Field", *_sides(before, "Before"), *_sides(after, "After")],
        rows=[[field_name(name), *_cells(before, name), *_cells(after, name)] for name in names],
        marked=frozenset(place for place, changed in enumerate(changes) if changed and after and before),
    )


def cascaded_rows(item: Item) -> Table:
    """The rows that a delete has changed beside its own, and how."""
    return Table(
        caption="Other rows that the deletion changed",
        columns=["Row", "What became of it"],
        rows=[
            [format_html("{} {}", isolated(row["model"]), code(row["pk"])), _fate(row)]
            for row in item.cascaded[:ROWS_SHOWN]
        ],
        note=f"and {len(item.cascaded) - ROWS_SHOWN:,} more" if len(item.cascaded) > ROWS_SHOWN else "",
    )


def _fate(row: Mapping[str, Any]) -> str:
    if row["after"] is None:
        return "deleted with it"
    old, new = row["before"]["fields"], row["after"]["fields"]
    changes = [
        format_html("{} from {} to {}", field_name(name), value_text(old[name]), value_text(value))
        for name, value in new.items()
        if name in old and not same(old[name], value)
    ]
    return format_html_join(", ", "{}", ((change,) for change in changes))


def field_name(name: str) -> str:
    """A field's name, which a client may have made up."""
    if name == ROW_CLOCK:
        return "the whole row"
    return code(name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…")


def value_text(value: Any) -> str:
    """A wire value as it can be read."""
    return code(wire_text(value))


def written_text(item: Item, name: str) -> str:
    """When the client wrote a field."""
    clocks = item.change.get("clocks", {})
    return instant(clocks.get(name, clocks.get(ROW_CLOCK)), missing="unknown")


def base_clock_text(item: Item, clock: int | None) -> str:
    """When the server's value had been written that the client knew."""
    if clock is not None:
        return instant(clock, missing="the beginning")
    return "nothing: made on the device" if item.change.get("base") is None else "unknown"


def _clients(item: Item, name: str, side: Mapping[str, Any]) -> str:
    written = written_text(item, name)
    if name == ROW_CLOCK:
        return format_html("deleted <small>{}</small>", written)
    if _decided_otherwise(item, name):
        return format_html("{} <small>{}</small>", value_text(item.change["fields"].get(name)), written)
    return format_html("{} <small>{}</small>", _side(side, "client"), written)


def _servers(name: str, side: Mapping[str, Any]) -> str:
    if name == ROW_CLOCK:
        return format_html("changed <small>{}</small>", instant(side["server"]))
    clock = side.get("server_clock")
    if clock is None:
        return "no row"
    return format_html("{} <small>{}</small>", _side(side, "server"), instant(clock))


def _side(side: Mapping[str, Any], whose: str) -> str:
    text = value_text(side[whose])
    return format_html("<strong>{}</strong>", text) if side["kept"] == whose else text


def _kept(item: Item, name: str, side: Mapping[str, Any]) -> str:
    if _decided_otherwise(item, name):
        return format_html("another value: <strong>{}</strong>", value_text(side["client"]))
    if name != ROW_CLOCK and same(side["client"], side["server"]):
        return "both the same"
    return _KEPT.get(side["kept"], "unknown")


def _decided_otherwise(item: Item, name: str) -> bool:
    """Whether a person has chosen a value for the field that is not the client's."""
    kept = item.resolution
    if not isinstance(kept, Mapping) or name not in kept:
        return False
    return not same(kept[name], item.change.get("fields", {}).get(name))


def _sides(row: Mapping[str, Any], label: str) -> list[str]:
    return [label, "Written at"] if row else []


def _cells(row: Mapping[str, Any], name: str) -> list[str]:
    if not row:
        return []
    if name not in row["fields"]:
        return ["—", "—"]
    clocks = row["clocks"]
    written = clocks.get(name, clocks.get(ROW_CLOCK))
    return [value_text(row["fields"][name]), instant(written, missing="unknown")]
