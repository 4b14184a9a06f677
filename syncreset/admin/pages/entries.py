"""The feed's entries in the admin, for whoever asks why a row did or did not reach a client."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from ...feed.checkpoints import Checkpoint, FeedState
from ...feed.entries import Entry, EntryKind
from ..shown.html import badge, code, instant, isolated, moment, wire_text
from .filters import TrackedModelFilter
from .records import RAW_SHOWN, RawText, RecordAdmin, json_file

_TONES = {EntryKind.ROW: "current", EntryKind.DELETED: "rejected", EntryKind.DEPARTED: "parked"}


@admin.register(Entry)
class EntryAdmin(RecordAdmin):
    list_display = ["entry_name", "kind_badge", "row_name", "number", "touched", "scope_key"]
    list_filter = ["kind", TrackedModelFilter]
    search_fields = ["pk_text", "scope"]
    search_help_text = "A row's primary key, or a scope"
    ordering = ["-checkpoint", "-id"]
    fieldsets = [
        (None, {"fields": ["id", "kind_badge", "model", "key", "scope_key", "number", "touched_at"]})
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("row")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"subtitle": _feed_in_words(), **(extra_context or {})})

    @admin.display(description="entry", ordering="id")
    def entry_name(self, entry: Entry) -> str:
        return str(entry.pk)

    @admin.display(description="kind", ordering="kind")
    def kind_badge(self, entry: Entry) -> str:
        return badge(_TONES.get(EntryKind(entry.kind), ""), entry.get_kind_display())

    @admin.display(description="row", ordering="pk_text")
    def row_name(self, entry: Entry) -> str:
        return format_html("{}<br><small>{}</small>", isolated(entry.model), isolated(entry.pk_text))

    @admin.display(description="primary key", ordering="pk_text")
    def key(self, entry: Entry) -> str:
        return code(entry.pk_text)

    @admin.display(description="scope", ordering="scope")
    def scope_key(self, entry: Entry) -> str:
        return code(entry.scope)

    @admin.display(description="checkpoint", ordering="checkpoint")
    def number(self, entry: Entry) -> str:
        return "none yet" if entry.checkpoint is None else f"{entry.checkpoint}"

    @admin.display(description="touched", ordering="at")
    def touched(self, entry: Entry) -> str:
        return moment(entry.at)

    @admin.display(description="touched")
    def touched_at(self, entry: Entry) -> str:
        return instant(entry.at)

    def get_urls(self) -> list[URLPattern]:
        whole = path(
            "<path:object_id>/row.json",
            self.admin_site.admin_view(self.whole_row),
            name="syncreset_entry_json",
        )
        return [whole, *super().get_urls()]

    def whole_row(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The row that the entry keeps, as a file."""
        entry = self.get_object(request, unquote(object_id))
        if entry is None or entry.row is None:
            raise Http404
        if not self.has_view_permission(request, entry):
            raise PermissionDenied
        return json_file(f"entry-{entry.pk}", entry.row)

    def raw_texts(self, request: HttpRequest, record: Any) -> Sequence[RawText]:
        if record.row is None:
            return []
        url = reverse("admin:syncreset_entry_json", args=[record.pk], current_app=self.admin_site.name)
        text = wire_text(record.row, limit=RAW_SHOWN, indent=2)
        return [RawText(summary="The row as it was", text=text, url=url)]


def _feed_in_words() -> str:
    state = FeedState.objects.filter(pk=1).first()
    newest = Checkpoint.objects.order_by("-number").values_list("number", flat=True).first()
    if state is None or newest is None:
        return "the feed has no checkpoint yet"
    return f"newest checkpoint {newest}, deletions forgotten up to {state.horizon}, epoch {state.epoch}"
