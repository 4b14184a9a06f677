"""Items of the ledger in the admin: both sides of every field, whose value stands, and what can be done."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from ...ledger.item import Item, ItemState
from ...wire.model import model_labelled
from ..actions.decide_many import decide_many
from ..deciding.form import can_decide, offered_fields
from ..deciding.page import decision_context, resolve_posted
from ..shown.advice import explain, what_to_do
from ..shown.both_sides import around, both_sides, cascaded_rows, value_text
from ..shown.html import (
    Table,
    badge,
    change_link,
    changelist_url,
    code,
    isolated,
    moment,
    row_name,
    wire_text,
)
from .filters import ClientFilter, RecoveryFilter, TrackedModelFilter
from .records import RAW_SHOWN, RawText, RecordAdmin, json_file


@admin.register(Item)
class ItemAdmin(RecordAdmin):
    list_display = [
        "row_name",
        "state_badge",
        "kind_of_change",
        "problem_code",
        "client_link",
        "origin",
        "made",
    ]
    list_filter = ["state", TrackedModelFilter, RecoveryFilter, ClientFilter]
    search_fields = ["pk_text", "code"]
    search_help_text = "A row's primary key, or the code of a problem"
    ordering = ["-id"]
    actions = ["keep_client", "keep_server"]

    class Media:
        js = ["syncreset/deciding.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        items = super().get_queryset(request).select_related("client", "recovery", "resolved_by")
        return items.defer(
            "client__scopes",
            "recovery__last_synced",
            "fields",
            "change",
            "before",
            "after",
            "cascaded",
            "resolution",
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """In few lines, so that the values of both sides stand near the top."""
        names = ["state_in_words", "advice"]
        if obj is not None and obj.problem:
            names.insert(1, "problem_in_words")
        if obj is not None and obj.resolved is not None:
            names.append("decision")
        return [(None, {"fields": names}), ("Change", {"fields": ["what", "live_row", "came_with"]})]

    def get_urls(self) -> list[URLPattern]:
        whole = path(
            "<path:object_id>/change.json",
            self.admin_site.admin_view(self.whole_change),
            name="syncreset_item_json",
        )
        resolve = path(
            "<path:object_id>/resolve/",
            self.admin_site.admin_view(require_POST(self.resolve)),
            name="syncreset_item_resolve",
        )
        return [whole, resolve, *super().get_urls()]

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.resolve_item"))

    def resolve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Decide a parked item (POST): ``keep`` for the whole of it, or a choice for each field."""
        item = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, item) and self.has_resolve_permission(request)):
            raise PermissionDenied
        if item is None:
            raise Http404
        return resolve_posted(self, request, item)

    @admin.action(description="Keep the client's side of the selected items", permissions=["resolve"])
    def keep_client(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        return decide_many(self, request, queryset, side="client")

    @admin.action(description="Keep the server's side of the selected items", permissions=["resolve"])
    def keep_server(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        return decide_many(self, request, queryset, side="server")

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Model | None = None,
    ) -> HttpResponse:
        if isinstance(obj, Item) and can_decide(obj):
            context |= decision_context(self, request, obj)
            context["may_decide"] = self.has_resolve_permission(request)
        return super().render_change_form(request, context, add, change, form_url, obj)

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
            "cascaded": item.cascaded,
            "problem": item.problem,
        }
        return json_file(f"item-{item.pk}", kept)

    @admin.display(description="row", ordering="id")
    def row_name(self, item: Item) -> str:
        if not item.pk_text:
            return f"unreadable line {item.line}"
        return format_html("{}<br><small>{}</small>", isolated(item.model), isolated(item.pk_text))

    @admin.display(description="change", ordering="op")
    def kind_of_change(self, item: Item) -> str:
        return item.op

    @admin.display(description="problem", ordering="code")
    def problem_code(self, item: Item) -> str:
        return item.code or ("a conflict" if item.state == ItemState.PARKED else "—")

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
            isolated(item.model),
            code(item.pk_text),
            url,
            "its only item" if count == 1 else f"the {count:,} items of this row",
        )

    @admin.display(description="came with")
    def came_with(self, item: Item) -> str:
        place = f"change {item.seq} of a" if item.recovery is None else f"line {item.line} of"
        return format_html(
            "{} {} of {}, used by {}, {}",
            place,
            self.origin(item),
            change_link(item.client),
            isolated(str(item.client.user)),
            moment(item.created),
        )

    @admin.display(description="problem")
    def problem_in_words(self, item: Item) -> str:
        problem = item.problem
        if not problem:
            return "—"
        field = format_html(" (field {})", code(problem["field"])) if "field" in problem else ""
        return format_html("{} {}{}", code(problem["code"]), isolated(problem["detail"]), field)

    @admin.display(description="what to do")
    def advice(self, item: Item) -> str:
        return what_to_do(item)

    @admin.display(description="decision")
    def decision(self, item: Item) -> str:
        if item.resolved is None:
            return "—"
        kept = item.resolution
        chosen = (
            f"keep the {kept}'s side" if isinstance(kept, str) else format_html("keep {}", value_text(kept))
        )
        by = isolated(str(item.resolved_by or "a user who is no more"))
        return format_html("{}, by {}, {}", chosen, by, moment(item.resolved))

    @admin.display(description="the row now")
    def live_row(self, item: Item) -> str:
        """A link to the row's own page, where there is a row, and a page for its model in this admin."""
        model = model_labelled(item.model)
        if model is None:
            return "its model is not tracked"
        if not model.canonical_keys([item.change["pk"]]):
            return "its key is not one that the model can have"
        row = model.find(item.change["pk"])
        if row is None:
            return "there is none"
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        try:
            url = reverse(name, args=[quote(row.pk)], current_app=self.admin_site.name)
        except NoReverseMatch:
            return row_name(row)
        return format_html('<a href="{}">{}</a>', url, row_name(row))

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        surroundings = [] if record.before is None and record.after is None else [around(record)]
        if record.cascaded:
            surroundings.append(cascaded_rows(record))
        if not can_decide(record):
            return [both_sides(record), *surroundings]
        shown = record.fields.keys() if record.op == "delete" else offered_fields(record)
        decided = both_sides(record, without=shown)
        return [*([decided] if decided.rows else []), *surroundings]

    def raw_texts(self, request: HttpRequest, record: Any) -> Sequence[RawText]:
        url = reverse("admin:syncreset_item_json", args=[record.pk], current_app=self.admin_site.name)
        return [
            RawText(
                summary="The change as it came",
                text=wire_text(record.change, limit=RAW_SHOWN, indent=2),
                url=url,
            )
        ]
