"""Items of the ledger in the admin: both sides of every field, whose value stands, and what can be done."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html

from ..codec import ValueFault, decode_key
from ..ledger import Item
from ..protocol import ROW_CLOCK, dumps, same
from ..tracking.registry import tracked_by_label
from .advice import explain, what_to_do
from .display import Table, badge, change_link, changelist_url, code, instant, moment, printable, wire_text
from .filters import ClientFilter, RecoveryFilter, TrackedModelFilter
from .records import RawText, RecordAdmin

__all__ = ["ItemAdmin"]

#: Characters of a folded text that a page shows; the whole is to be had as a file.
RAW_SHOWN = 20_000
#: How much is shown of what a client named that the server does not know.
FIELDS_SHOWN = 300
NAME_SHOWN = 100

_KEPT = {
    "client": "the client's",
    "server": "the server's",
    "review": "undecided",
    "function": "what the model's function made of both",
    "both": "the elements of both",
}


@admin.register(Item)
class ItemAdmin(RecordAdmin):
    list_display = ["row_name", "state_badge", "op", "problem_code", "client_link", "origin", "made"]
    list_filter = ["state", TrackedModelFilter, RecoveryFilter, ClientFilter]
    search_fields = ["pk_text", "code"]
    search_help_text = "A row's primary key, or the code of a problem"
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        items = super().get_queryset(request).select_related("client", "recovery", "resolved_by")
        return items.defer(
            "client__recent",
            "client__scopes",
            "recovery__last_synced",
            "fields",
            "change",
            "before",
            "after",
            "resolution",
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """In few lines, so that the values of both sides stand near the top."""
        told = ["state_in_words", "advice"]
        if obj is not None and obj.problem:
            told.insert(1, "problem_in_words")
        if obj is not None and obj.resolved is not None:
            told.append("decision")
        return [(None, {"fields": told}), ("Change", {"fields": ["what", "live_row", "came_with"]})]

    def get_urls(self) -> list[URLPattern]:
        whole = path(
            "<path:object_id>/change.json",
            self.admin_site.admin_view(self.whole_change),
            name="syncreset_item_json",
        )
        return [whole, *super().get_urls()]

    def whole_change(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Everything that the item keeps, as a file."""
        item = self.get_object(request, unquote(object_id))
        if item is None:
            raise Http404
        if not self.has_view_permission(request, item):
            raise PermissionDenied
        kept = {
            "change": item.change,
            "fields": item.fields,
            "before": item.before,
            "after": item.after,
            "problem": item.problem,
        }
        name = f'attachment; filename="item-{item.pk}.json"'
        return HttpResponse(
            dumps(kept), content_type="application/json", headers={"Content-Disposition": name}
        )

    @admin.display(description="row", ordering="id")
    def row_name(self, item: Item) -> str:
        if not item.pk_text:
            return f"unreadable line {item.line}"
        return format_html("{}<br><small>{}</small>", printable(item.model), printable(item.pk_text))

    @admin.display(description="problem", ordering="code")
    def problem_code(self, item: Item) -> str:
        return item.code or "—"

    @admin.display(description="state", ordering="state")
    def state_badge(self, item: Item) -> str:
        return badge(item.state, item.get_state_display())

    @admin.display(description="state")
    def state_in_words(self, item: Item) -> str:
        return format_html("{} {}", self.state_badge(item), explain(item))

    @admin.display(description="client", ordering="client")
    def client_link(self, item: Item) -> str:
        return change_link(item.client)

    @admin.display(description="origin", ordering="recovery")
    def origin(self, item: Item) -> str:
        return "push" if item.recovery is None else change_link(item.recovery)

    @admin.display(description="made", ordering="created")
    def made(self, item: Item) -> str:
        return moment(item.created)

    @admin.display(description="change")
    def what(self, item: Item) -> str:
        if not item.pk_text:
            return "a line that could not be read"
        url = changelist_url("syncreset_item", model=item.model, pk_text__exact=item.pk_text)
        count = Item.objects.filter(model=item.model, pk_text=item.pk_text).count()
        return format_html(
            '{} of {} {} <a href="{}">{}</a>',
            item.op,
            printable(item.model),
            code(printable(item.pk_text)),
            url,
            "its only item" if count == 1 else f"all {count:,} items of this row",
        )

    @admin.display(description="came with")
    def came_with(self, item: Item) -> str:
        place = f"change {item.seq} of a" if item.recovery is None else f"line {item.line} of"
        return format_html(
            "{} {} of {}, {}", place, self.origin(item), change_link(item.client), moment(item.created)
        )

    @admin.display(description="problem")
    def problem_in_words(self, item: Item) -> str:
        problem = item.problem
        if not problem:
            return "—"
        field = format_html(" (field {})", code(printable(problem["field"]))) if "field" in problem else ""
        return format_html("{} {}{}", code(problem["code"]), printable(problem["detail"]), field)

    @admin.display(description="what to do")
    def advice(self, item: Item) -> str:
        return what_to_do(item)

    @admin.display(description="decision")
    def decision(self, item: Item) -> str:
        if item.resolved is None:
            return "—"
        kept = item.resolution
        chosen = f"keep the {kept}'s side" if isinstance(kept, str) else f"keep {wire_text(kept)}"
        by = printable(str(item.resolved_by or "a user who is no more"))
        return format_html("{}, by {}, {}", chosen, by, moment(item.resolved))

    @admin.display(description="the row now")
    def live_row(self, item: Item) -> str:
        """A link to the row's own page, where there is a row, and a page for its model in this admin."""
        model = tracked_by_label(item.model)
        if model is None:
            return "its model is not tracked"
        try:
            row = model._base_manager.filter(pk=decode_key(model._meta.pk, item.pk_text)).first()
        except ValueFault:
            return "its key is not one that the model can have"
        if row is None:
            return "there is none"
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        try:
            url = reverse(name, args=[quote(row.pk)], current_app=self.admin_site.name)
        except NoReverseMatch:
            return printable(str(row))
        return format_html('<a href="{}">{}</a>', url, printable(str(row)))

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        around = [] if record.before is None and record.after is None else [_around(record)]
        return [_both_sides(record), *around]

    def raw_texts(self, request: HttpRequest, record: Any) -> Sequence[RawText]:
        url = reverse("admin:syncreset_item_json", args=[record.pk], current_app=self.admin_site.name)
        return [
            RawText(
                summary="The change as it came",
                text=wire_text(record.change, limit=RAW_SHOWN, indent=2),
                url=url,
            )
        ]


def _both_sides(item: Item) -> Table:
    fields: Mapping[str, Any] = item.fields
    if not fields:
        # Refused before it could be merged: all there is to show is what the client wanted.
        values = item.change.get("fields", {})
        rows = [
            [_name(name), _value(value), _clock(item.change, name)]
            for name, value in islice(values.items(), FIELDS_SHOWN)
        ]
        return Table(
            caption="What the client wanted",
            columns=["Field", "The client's value", "Written there at"],
            rows=rows,
            empty="The change names no field.",
            note=f"and {len(values) - FIELDS_SHOWN:,} more" if len(values) > FIELDS_SHOWN else "",
        )
    marked = {
        place
        for place, side in enumerate(fields.values())
        if side["kept"] != "client" and not same(side["client"], side["server"])
    }
    return Table(
        caption="Both sides",
        columns=["Field", "Client's", "Server's", "Based on what was written at", "Kept"],
        rows=[
            [
                "the whole row" if name == ROW_CLOCK else _name(name),
                _clients(item, name, side),
                _servers(name, side),
                _base(item.change, side["base_clock"]),
                "both the same"
                if same(side["client"], side["server"])
                else _KEPT.get(side["kept"], "unknown"),
            ]
            for name, side in fields.items()
        ],
        marked=frozenset(marked),
        note="Marked are the fields where the client's value does not stand." if marked else "",
    )


def _clients(item: Item, name: str, side: Mapping[str, Any]) -> str:
    written = _clock(item.change, name)
    if name == ROW_CLOCK:
        return format_html("deleted <small>{}</small>", written)
    return format_html("{} <small>{}</small>", _side(side, "client"), written)


def _servers(name: str, side: Mapping[str, Any]) -> str:
    if name == ROW_CLOCK:
        return format_html("changed <small>{}</small>", instant(side["server"]))
    clock = side.get("server_clock")
    if clock is None:
        return "no row"
    return format_html("{} <small>{}</small>", _side(side, "server"), instant(clock))


def _side(side: Mapping[str, Any], whose: str) -> str:
    text = _value(side[whose])
    return format_html("<strong>{}</strong>", text) if side["kept"] == whose else text


def _name(name: str) -> str:
    """A field's name, which a client may have made up."""
    return code(printable(name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"))


def _value(value: Any) -> str:
    return code(wire_text(value))


def _clock(change: Mapping[str, Any], name: str) -> str:
    clocks = change.get("clocks", {})
    return instant(clocks.get(name, clocks.get(ROW_CLOCK)), missing="unknown")


def _base(change: Mapping[str, Any], clock: int | None) -> str:
    if clock is not None:
        return instant(clock, missing="the beginning")
    return "nothing: made on the device" if change.get("base") is None else "unknown"


def _around(item: Item) -> Table:
    """The row before the change and, where one was left, after it."""
    before, after = item.before or {}, item.after or {}
    old, new = before.get("fields", {}), after.get("fields", {})
    names = list({**old, **new})
    told = [
        not after or not before or name not in new or not same(old.get(name), new[name]) for name in names
    ]
    return Table(
        caption="The row before and after"
        if after and before
        else "The row before"
        if before
        else "The row after",
        columns=["Field", *_sides(before, "Before"), *_sides(after, "After")],
        rows=[[_name(name), *_cells(before, name), *_cells(after, name)] for name in names],
        marked=frozenset(place for place, changed in enumerate(told) if changed and after and before),
    )


def _sides(row: Mapping[str, Any], label: str) -> list[str]:
    return [label, "Written at"] if row else []


def _cells(row: Mapping[str, Any], name: str) -> list[str]:
    if not row:
        return []
    if name not in row["fields"]:
        return ["—", "—"]
    clocks = row["clocks"]
    written = clocks.get(name, clocks.get(ROW_CLOCK))
    return [_value(row["fields"][name]), instant(written, missing="unknown")]
