"""The feed's entries in the admin, for whoever asks why a row did or did not reach a client."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from ...feed.checkpoints import Checkpoint, FeedState
from ...feed.entries import Entry, EntryKind
from ..shown.html import badge, code, instant, moment, printable, wire_text
from .filters import TrackedModelFilter
from .records import RawText, RecordAdmin

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
        return format_html("{}<br><small>{}</small>", printable(entry.model), printable(entry.pk_text))

    @admin.display(description="primary key", ordering="pk_text")
    def key(self, entry: Entry) -> str:
        return code(printable(entry.pk_text))

    @admin.display(description="scope", ordering="scope")
    def scope_key(self, entry: Entry) -> str:
        return code(printable(entry.scope))

    @admin.display(description="checkpoint", ordering="checkpoint")
    def number(self, entry: Entry) -> str:
        return "none yet" if entry.checkpoint is None else f"{entry.checkpoint}"

    @admin.display(description="touched", ordering="at")
    def touched(self, entry: Entry) -> str:
        return moment(entry.at)

    @admin.display(description="touched")
    def touched_at(self, entry: Entry) -> str:
        return instant(entry.at)

    def raw_texts(self, request: HttpRequest, record: Any) -> Sequence[RawText]:
        if record.row is None:
            return []
        return [RawText(summary="The row as it was", text=wire_text(record.row, limit=20_000, indent=2))]


def _feed_in_words() -> str:
    state = FeedState.objects.filter(pk=1).first()
    newest = Checkpoint.objects.order_by("-number").values_list("number", flat=True).first()
    if state is None or newest is None:
        return "the feed has no checkpoint yet"
    return f"newest checkpoint {newest}, deletions forgotten up to {state.horizon}, epoch {state.epoch}"
