"""Recoveries in the admin: how far each has got, what it came to, and what may be done with it."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ...ledger.item import Item, ItemState
from ...protocol.clock import now
from ...recovery.job import Recovery, RecoveryKind, RecoveryState
from ..actions.recover_again import (
    IN_PROGRESS,
    can_repeat,
    preview_confirmed,
    recover_again_confirmed,
    recovery_badge,
)
from ..actions.undo import can_undo, undo_confirmed
from ..shown.advice import what_to_do_about
from ..shown.html import (
    Table,
    badge,
    change_link,
    changelist_url,
    code,
    instant,
    isolated,
    moment,
    progress_bar,
    totals_badges,
)
from .filters import AgeFilter, ClientFilter, UnsettledFilter
from .records import ActionButton, RecordAdmin

_DONE = {
    RecoveryKind.MERGE: "every line is merged",
    RecoveryKind.PREVIEW: "the ledger is complete; nothing else was written",
    RecoveryKind.UNDO: "the rows are as they were",
}
#: How many parked and rejected items a recovery's page names.
SHOWN = 20


@admin.register(Recovery)
class RecoveryAdmin(RecordAdmin):
    list_display = [
        "recovery_name",
        "kind",
        "state_badge",
        "client_link",
        "totals_by_state",
        "begun",
        "strategy_name",
        "progress",
    ]
    list_filter = [UnsettledFilter, "state", "kind", AgeFilter, "strategy", "healing", ClientFilter]
    search_fields = ["id", "client__name", "client__id", "reset__id"]
    ordering = ["-created"]
    actions = ["preview", "recover_again", "undo"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "id",
                    "what",
                    "client_link",
                    "reset_link",
                    "upload_link",
                    "strategy_in_words",
                    "purpose",
                    "begun",
                    "begun_by",
                ]
            },
        ),
        (
            "How far it has got",
            {
                "fields": [
                    "state_in_words",
                    "progress",
                    "totals_by_state",
                    "sums",
                    "problem_in_words",
                    "ended",
                ]
            },
        ),
        ("Receipt", {"fields": ["digest", "lines", "based_on"]}),
        ("Runs", {"classes": ["collapse"], "fields": ["attempts", "claims", "lease"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        recoveries = (
            super().get_queryset(request).select_related("client", "reset", "upload", "created_by", "undoes")
        )
        undoings = Recovery.objects.order_by("created").defer("last_synced")
        return recoveries.defer("last_synced", "undoes__last_synced", "client__scopes").prefetch_related(
            Prefetch("undone_by", queryset=undoings)
        )

    def has_recover_again_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.recover_again_recovery"))

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.undo_recovery"))

    @admin.display(description="recovery", ordering="created")
    def recovery_name(self, recovery: Recovery) -> str:
        return str(recovery.pk)[:8]

    @admin.display(description="kind", ordering="kind")
    def what(self, recovery: Recovery) -> str:
        if recovery.undoes is not None:
            return format_html("gives back what {} wrote", change_link(recovery.undoes))
        if recovery.kind == RecoveryKind.PREVIEW:
            return format_html(
                "{} <strong>No row was written.</strong> The ledger below is what a recovery would have come to. "
                "To have it written, recover with this strategy.",
                badge("preview"),
            )
        if undoings := recovery.undone_by.all():
            links = format_html_join(", ", "{}", ((change_link(undoing),) for undoing in undoings))
            return format_html("merges the snapshot; given back by {}", links)
        return "merges the snapshot"

    @admin.display(description="client", ordering="client")
    def client_link(self, recovery: Recovery) -> str:
        return change_link(recovery.client)

    @admin.display(description="reset", ordering="reset")
    def reset_link(self, recovery: Recovery) -> str:
        return change_link(recovery.reset)

    @admin.display(description="snapshot")
    def upload_link(self, recovery: Recovery) -> str:
        return change_link(recovery.upload)

    @admin.display(description="purpose")
    def purpose(self, recovery: Recovery) -> str:
        if recovery.kind == RecoveryKind.UNDO:
            return "to have the rows as they were"
        if recovery.healing:
            return "unsynced changes, and whatever the server has lost and the snapshot still holds"
        return "unsynced changes"

    @admin.display(description="begun", ordering="created")
    def begun(self, recovery: Recovery) -> str:
        return moment(recovery.created)

    @admin.display(description="strategy", ordering="strategy")
    def strategy_in_words(self, recovery: Recovery) -> str:
        if recovery.kind == RecoveryKind.UNDO:
            return _strategy(recovery)
        chosen = "chosen by a person" if recovery.strategy_chosen else "asked for by the snapshot"
        return f"{_strategy(recovery)}, {chosen}"

    @admin.display(description="strategy", ordering="strategy")
    def strategy_name(self, recovery: Recovery) -> str:
        return _strategy(recovery)

    @admin.display(description="begun by")
    def begun_by(self, recovery: Recovery) -> str:
        return isolated(str(recovery.created_by or "the client's upload"))

    @admin.display(description="ended")
    def ended(self, recovery: Recovery) -> str:
        return moment(recovery.finished, missing="not yet")

    @admin.display(description="state", ordering="state")
    def state_badge(self, recovery: Recovery) -> str:
        return recovery_badge(recovery)

    @admin.display(description="state")
    def state_in_words(self, recovery: Recovery) -> str:
        return format_html("{} {}", self.state_badge(recovery), _state_in_words(recovery))

    @admin.display(description="lines merged")
    def progress(self, recovery: Recovery) -> str:
        return _progress(recovery)

    @admin.display(description="items by state")
    def totals_by_state(self, recovery: Recovery) -> str:
        return totals_badges(recovery.totals, {"recovery": str(recovery.pk)})

    @admin.display(description="sums")
    def sums(self, recovery: Recovery) -> str:
        return f"{recovery.changes:,} changes; {recovery.unchanged:,} lines without one"

    @admin.display(description="problem")
    def problem_in_words(self, recovery: Recovery) -> str:
        if not recovery.problem:
            return "—"
        return format_html(
            "{} {} {}",
            code(recovery.problem["code"]),
            isolated(str(recovery.problem["detail"])),
            what_to_do_about(recovery.problem),
        )

    @admin.display(description="sha256")
    def digest(self, recovery: Recovery) -> str:
        return code(recovery.upload.sha256)

    @admin.display(description="lines")
    def lines(self, recovery: Recovery) -> str:
        return (
            f"{recovery.rows:,} rows, {recovery.tombstones:,} tombstones, {recovery.updates:,} updates, "
            f"{recovery.pushed:,} pushed changes"
        )

    @admin.display(description="schema")
    def based_on(self, recovery: Recovery) -> str:
        return code(recovery.schema)

    @admin.display(description="times claimed")
    def claims(self, recovery: Recovery) -> str:
        return f"{recovery.fence:,}"

    @admin.display(description="lease")
    def lease(self, recovery: Recovery) -> str:
        return instant(recovery.lease_until, missing="nobody holds it")

    def is_changing(self, record: Any) -> bool:
        return record.state in IN_PROGRESS

    def buttons(self, request: HttpRequest, record: Any) -> Sequence[ActionButton]:
        offered = []
        if self.has_recover_again_permission(request) and can_repeat(record):
            again = "Recover again"
            if record.kind == RecoveryKind.PREVIEW:
                again = "Recover with this strategy"
            offered.append(ActionButton(action="recover_again", label=again))
            offered.append(ActionButton(action="preview", label="Preview"))
        if self.has_undo_permission(request) and can_undo(record):
            offered.append(ActionButton(action="undo", label="Undo"))
        return offered

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        return [
            _open_items(record, ItemState.PARKED),
            _open_items(record, ItemState.REJECTED),
            _others(record),
        ]

    @admin.action(description="Preview the selected snapshots' recovery", permissions=["recover_again"])
    def preview(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        return preview_confirmed(self, request, queryset)

    @admin.action(description="Recover the selected snapshots again", permissions=["recover_again"])
    def recover_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        return recover_again_confirmed(self, request, queryset)

    @admin.action(description="Undo the selected recoveries", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        return undo_confirmed(self, request, queryset)


def recoveries_table(
    recoveries: Iterable[Recovery], *, caption: str = "Recoveries", empty: str, more: str = ""
) -> Table:
    """A table of some recoveries, on the page of what they belong to."""
    return Table(
        caption=caption,
        columns=["Recovery", "State", "Strategy", "Lines merged", "Items", "Begun"],
        rows=[
            [
                change_link(recovery),
                recovery_badge(recovery),
                _strategy(recovery),
                _progress(recovery),
                totals_badges(recovery.totals, {"recovery": str(recovery.pk)}),
                moment(recovery.created),
            ]
            for recovery in recoveries
        ],
        empty=empty,
        more=more,
    )


def _strategy(recovery: Recovery) -> str:
    """An undoing derives nothing from the snapshot."""
    return "—" if recovery.kind == RecoveryKind.UNDO else isolated(recovery.strategy)


def _progress(recovery: Recovery) -> str:
    """Lines of the snapshot and deletions that it tells by absence; for an undoing, which is one step, its changes."""
    undoes = recovery.kind == RecoveryKind.UNDO
    return progress_bar(recovery.position, recovery.changes if undoes else recovery.total + recovery.absent)


def _state_in_words(recovery: Recovery) -> str:
    if recovery.state in IN_PROGRESS:
        if recovery.lease_until > now():
            return "a worker is at it; this page loads itself again"
        if recovery.state == RecoveryState.QUEUED:
            return "it waits for a worker; this page loads itself again"
        return "its worker was lost; the sweeper hands it to another one, which goes on from here"
    if recovery.state == RecoveryState.REVIEW and recovery.kind != RecoveryKind.PREVIEW:
        return "all is merged but the parked items, which wait for a person"
    if recovery.state == RecoveryState.FAILED:
        return "what was merged before is kept; once the cause is mended, recover again"
    if recovery.state == RecoveryState.UNDONE:
        return "its rows were given back as they were, but for what people had changed since"
    return _DONE[RecoveryKind(recovery.kind)]


def _open_items(recovery: Recovery, state: ItemState) -> Table:
    items = Item.objects.filter(recovery=recovery, state=state).order_by("line", "part")
    shown = items.only("id", "model", "pk_text", "op", "code", "problem", "line")[:SHOWN]
    filters = {"recovery": str(recovery.pk), "state__exact": state.value}
    return Table(
        caption=f"{state.label.capitalize()} items",
        columns=["Item", "Change", "Row", "Problem"],
        rows=[
            [
                change_link(item, f"line {item.line}"),
                item.op,
                format_html("{} {}", isolated(item.model), code(item.pk_text)),
                isolated((item.problem or {}).get("detail", item.code)) or "a value waits for a decision",
            ]
            for item in shown
        ],
        empty=f"Nothing is {state.label}.",
        more=changelist_url("syncreset_item", **filters),
    )


def _others(recovery: Recovery) -> Table:
    others = Recovery.objects.filter(reset=recovery.reset_id).exclude(pk=recovery.pk).order_by("created")
    return recoveries_table(
        others.defer("last_synced"), caption="Other recoveries of this reset", empty="There is no other."
    )
