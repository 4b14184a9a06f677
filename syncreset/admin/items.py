"""Items of the ledger in the admin: both sides of every field, whose value stands, and what can be done."""

from collections.abc import Mapping, Sequence
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

_KEPT = {
    "client": "the client's",
    "server": "the server's",
    "review": "undecided",
    "function": "what the model's function made of both",
}


@admin.register(Item)
class ItemAdmin(RecordAdmin):
    list_display = [
        "item_name",
        "state_badge",
        "op",
        "model_name",
        "key",
        "code",
        "client_link",
        "origin",
        "made",
    ]
    list_filter = ["state", TrackedModelFilter, RecoveryFilter, ClientFilter]
    search_fields = ["pk_text", "code"]
    search_help_text = "A row's primary key, or the code of a problem"
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["state_in_words", "problem_in_words", "advice"]}),
        ("Change", {"fields": ["op", "model_name", "key", "live_row", "other_items"]}),
        ("Where it came from", {"fields": ["client_link", "origin", "place", "made"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        items = super().get_queryset(request).select_related("client", "recovery")
        return items.defer(
            "client__recent", "client__scopes", "recovery__last_synced", "fields", "change", "before"
        )

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
        kept = {"change": item.change, "fields": item.fields, "before": item.before, "problem": item.problem}
        name = f'attachment; filename="item-{item.pk}.json"'
        return HttpResponse(
            dumps(kept), content_type="application/json", headers={"Content-Disposition": name}
        )

    @admin.display(description="item", ordering="id")
    def item_name(self, item: Item) -> str:
        return f"…{str(item.pk)[-8:]}"

    @admin.display(description="state", ordering="state")
    def state_badge(self, item: Item) -> str:
        return badge(item.state, item.get_state_display())

    @admin.display(description="state")
    def state_in_words(self, item: Item) -> str:
        return format_html("{} {}", self.state_badge(item), explain(item))

    @admin.display(description="model", ordering="model")
    def model_name(self, item: Item) -> str:
        return printable(item.model) or "—"

    @admin.display(description="primary key", ordering="pk_text")
    def key(self, item: Item) -> str:
        return code(printable(item.pk_text)) if item.pk_text else "—"

    @admin.display(description="client", ordering="client")
    def client_link(self, item: Item) -> str:
        return change_link(item.client)

    @admin.display(description="origin", ordering="recovery")
    def origin(self, item: Item) -> str:
        return "push" if item.recovery is None else change_link(item.recovery)

    @admin.display(description="place")
    def place(self, item: Item) -> str:
        if item.recovery is None:
            return f"change number {item.seq}"
        return f"line {item.line} of the snapshot"

    @admin.display(description="made", ordering="created")
    def made(self, item: Item) -> str:
        return moment(item.created)

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

    @admin.display(description="all items of this row")
    def other_items(self, item: Item) -> str:
        url = changelist_url("syncreset_item", model=item.model, pk_text__exact=item.pk_text)
        count = Item.objects.filter(model=item.model, pk_text=item.pk_text).count()
        return format_html('<a href="{}">{}</a>', url, f"{count:,}")

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        return [_both_sides(record), *([] if record.before is None else [_before(record.before)])]

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
    undecided = not fields
    if undecided:
        # Refused before it could be merged: all there is to show is what the client wanted.
        values = item.change.get("fields", {})
        rows = [
            [code(printable(name)), _value(value), _clock(item.change, name)]
            for name, value in values.items()
        ]
        return Table(
            caption="What the client wanted",
            columns=["Field", "The client's value", "Written there at"],
            rows=rows,
            empty="The change names no field.",
        )
    marked = {
        place
        for place, side in enumerate(fields.values())
        if side["kept"] != "client" and not same(side["client"], side["server"])
    }
    return Table(
        caption="Both sides",
        columns=[
            "Field",
            "Client's value",
            "Written there at",
            "Based on the server's of",
            "Server's value",
            "Kept",
        ],
        rows=[
            [
                "the whole row" if name == ROW_CLOCK else code(printable(name)),
                _side(side, "client"),
                _clock(item.change, name),
                _base(item.change, side["base_clock"]),
                _side(side, "server", delete=name == ROW_CLOCK),
                "both the same"
                if same(side["client"], side["server"])
                else _KEPT.get(side["kept"], "unknown"),
            ]
            for name, side in fields.items()
        ],
        marked=frozenset(marked),
        note="Marked are the fields where the client's value does not stand." if marked else "",
    )


def _side(side: Mapping[str, Any], whose: str, *, delete: bool = False) -> str:
    if delete:
        return format_html("last changed {}", instant(side[whose]))
    text = _value(side[whose])
    return format_html("<strong>{}</strong>", text) if side["kept"] == whose else text


def _value(value: Any) -> str:
    return code(wire_text(value))


def _clock(change: Mapping[str, Any], name: str) -> str:
    clocks = change.get("clocks", {})
    return instant(clocks.get(name, clocks.get(ROW_CLOCK)), missing="unknown")


def _base(change: Mapping[str, Any], clock: int | None) -> str:
    if clock is not None:
        return instant(clock, missing="the beginning")
    return "nothing: made on the device" if change.get("base") is None else "unknown"


def _before(row: Mapping[str, Any]) -> Table:
    clocks = row["clocks"]
    return Table(
        caption="The row before",
        columns=["Field", "Value", "Written at"],
        rows=[
            [
                code(printable(name)),
                _value(value),
                instant(clocks.get(name, clocks.get(ROW_CLOCK)), missing="unknown"),
            ]
            for name, value in row["fields"].items()
        ],
    )
