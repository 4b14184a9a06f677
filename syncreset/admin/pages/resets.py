"""Resets in the admin: why a client must start over, and how far it has got."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from ...clients.resets import Reset
from ...operations.states import with_upload_state
from ...recovery.job import Recovery
from ...recovery.reset_state import with_reset_state
from ..shown.html import Table, badge, change_link, change_url, isolated, moment, progress_bar
from .filters import AgeFilter, ClientFilter, ResetStateFilter
from .records import RecordAdmin
from .recoveries import recoveries_table
from .uploads import upload_state

_STATES = {
    "scheduled": "the client goes on as if nothing were, until the reset falls due",
    "ordered": "the client has not yet downloaded afresh; it is told at its next contact",
    "recovering": "its snapshot is being merged",
    "recovered": "its snapshot has been merged; the client has not yet downloaded afresh",
    "bootstrapped": "the client has downloaded afresh; its snapshot is awaited",
    "done": "the client has downloaded afresh, and its snapshot has been merged or its app took over what it wanted",
    "discarded": "the client has downloaded afresh and given up what it had not synced",
    "failed": "the recovery of its snapshot failed; once the cause is mended, recover again",
    "expired": "the client has downloaded afresh, and no snapshot came in time; a later one is taken still",
    "replaced": "another reset took its place before the client had downloaded afresh",
}


@admin.register(Reset)
class ResetAdmin(RecordAdmin):
    list_display = ["reset_name", "client_link", "reason", "state", "ordered", "recovery", "ordered_by"]
    list_filter = [ResetStateFilter, "reason", AgeFilter, ClientFilter]
    search_fields = ["id", "client__name", "client__id", "detail"]
    ordering = ["-created"]
    fieldsets = [
        (None, {"fields": ["id", "client_link", "reason", "why", "ordered", "ordered_by"]}),
        (
            "How far it has got",
            {"fields": ["state_in_words", "due", "done", "displaced", "awaited", "wants_everything"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        recoveries = Recovery.objects.defer("last_synced", "checkpoint").order_by("created")
        return (
            with_reset_state(super().get_queryset(request))
            .select_related("client", "created_by")
            .defer("client__scopes")
            .prefetch_related(Prefetch("recoveries", queryset=recoveries))
        )

    @admin.display(description="reset", ordering="created")
    def reset_name(self, reset: Reset) -> str:
        return str(reset.pk)[:8]

    @admin.display(description="client", ordering="client")
    def client_link(self, reset: Reset) -> str:
        return change_link(reset.client)

    @admin.display(description="state", ordering="state")
    def state(self, reset: Any) -> str:
        return badge(reset.state)

    @admin.display(description="state")
    def state_in_words(self, reset: Any) -> str:
        return format_html("{} {}", badge(reset.state), _STATES[reset.state])

    @admin.display(description="detail")
    def why(self, reset: Reset) -> str:
        return isolated(reset.detail) or "—"

    @admin.display(description="ordered", ordering="created")
    def ordered(self, reset: Reset) -> str:
        return moment(reset.created)

    @admin.display(description="by", ordering="created_by")
    def ordered_by(self, reset: Reset) -> str:
        return isolated(str(reset.created_by or "the server"))

    @admin.display(description="recovery")
    def recovery(self, reset: Reset) -> str:
        recoveries = list(reset.recoveries.all())
        if not recoveries:
            return "—"
        newest = recoveries[-1]
        return badge(newest.state, newest.get_state_display(), url=change_url(newest))

    @admin.display(description="downloaded afresh")
    def done(self, reset: Reset) -> str:
        return moment(reset.bootstrapped, missing="not yet")

    @admin.display(description="due", ordering="not_before")
    def due(self, reset: Reset) -> str:
        return moment(reset.not_before)

    @admin.display(description="replaced")
    def displaced(self, reset: Reset) -> str:
        return moment(reset.replaced, missing="no")

    @admin.display(description="snapshot awaited until")
    def awaited(self, reset: Reset) -> str:
        return moment(reset.deadline)

    @admin.display(description="snapshot")
    def wants_everything(self, reset: Reset) -> str:
        if reset.full:
            return "every row the client holds: the server is healed from it"
        return "what the client has not synced is enough"

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        recoveries = recoveries_table(
            record.recoveries.all(), empty="No snapshot has been merged for this reset."
        )
        return [recoveries, _uploads(record)]


def _uploads(reset: Reset) -> Table:
    return Table(
        caption="Uploads",
        columns=["Upload", "State", "Received", "Begun"],
        rows=[
            [
                change_link(upload, str(upload.pk)[:8]),
                upload_state(upload),
                progress_bar(upload.offset, upload.length),
                moment(upload.created),
            ]
            for upload in with_upload_state(reset.uploads.order_by("created"))
        ],
        empty="No snapshot has come.",
    )
