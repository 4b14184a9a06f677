"""Recoveries in the admin: how far each has got, what it came to, and running it again."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ..ledger import Item, ItemState
from ..protocol import DEFAULT_STRATEGY, STRATEGIES, now
from ..recovery import Recovery, RecoveryState, recover_again
from .confirming import Confirmation, confirm, is_confirmed
from .display import (
    Table,
    badge,
    change_link,
    changelist_url,
    code,
    instant,
    moment,
    printable,
    progress_bar,
    totals_badges,
)
from .filters import ClientFilter
from .records import ActionButton, RecordAdmin

__all__ = ["RecoveryAdmin"]

_IN_PROGRESS = (RecoveryState.QUEUED, RecoveryState.MERGING)
#: How many parked and rejected items a recovery's page names.
SHOWN = 20


class RecoverAgainForm(forms.Form):
    """How the snapshots are to be read this time."""

    strategy = forms.ChoiceField(
        choices=[("", "each with the strategy it had"), *((name, name) for name in STRATEGIES)],
        required=False,
        help_text=f"What of a snapshot is taken for a change. The usual one is {DEFAULT_STRATEGY}: the fields that the "
        "device knew to be unsynced.",
    )


@admin.register(Recovery)
class RecoveryAdmin(RecordAdmin):
    list_display = [
        "recovery_name",
        "client_link",
        "reset_link",
        "state_badge",
        "strategy",
        "progress",
        "totals_by_state",
        "begun",
    ]
    list_filter = ["state", "strategy", "healing", ClientFilter]
    search_fields = ["id", "client__name", "client__id", "reset__id"]
    ordering = ["-created"]
    actions = ["recover_again"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "id",
                    "client_link",
                    "reset_link",
                    "upload_link",
                    "strategy",
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
        recoveries = super().get_queryset(request).select_related("client", "reset", "upload", "created_by")
        return recoveries.defer("last_synced", "client__recent", "client__scopes")

    def has_recover_again_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.recover_again_recovery"))

    @admin.display(description="recovery", ordering="created")
    def recovery_name(self, recovery: Recovery) -> str:
        return str(recovery.pk)[:8]

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
        if recovery.healing:
            return "unsynced changes, and whatever the server has lost and the snapshot still holds"
        return "unsynced changes"

    @admin.display(description="begun", ordering="created")
    def begun(self, recovery: Recovery) -> str:
        return moment(recovery.created)

    @admin.display(description="begun by")
    def begun_by(self, recovery: Recovery) -> str:
        return printable(str(recovery.created_by or "the client's upload"))

    @admin.display(description="ended")
    def ended(self, recovery: Recovery) -> str:
        return moment(recovery.finished, missing="not yet")

    @admin.display(description="state", ordering="state")
    def state_badge(self, recovery: Recovery) -> str:
        return badge(recovery.state, recovery.get_state_display())

    @admin.display(description="state")
    def state_in_words(self, recovery: Recovery) -> str:
        return format_html("{} {}", self.state_badge(recovery), _state_in_words(recovery))

    @admin.display(description="lines merged")
    def progress(self, recovery: Recovery) -> str:
        return progress_bar(recovery.position, recovery.total)

    @admin.display(description="items by state")
    def totals_by_state(self, recovery: Recovery) -> str:
        return totals_badges(recovery.totals, {"recovery": str(recovery.pk)})

    @admin.display(description="sums")
    def sums(self, recovery: Recovery) -> str:
        return f"{recovery.changes:,} changes; {recovery.unchanged:,} lines carried none"

    @admin.display(description="problem")
    def problem_in_words(self, recovery: Recovery) -> str:
        if not recovery.problem:
            return "—"
        return format_html(
            "{} {}", code(recovery.problem["code"]), printable(str(recovery.problem["detail"]))
        )

    @admin.display(description="sha256")
    def digest(self, recovery: Recovery) -> str:
        return code(recovery.upload.sha256)

    @admin.display(description="lines")
    def lines(self, recovery: Recovery) -> str:
        return f"{recovery.rows:,} rows, {recovery.tombstones:,} tombstones, {recovery.updates:,} updates"

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
        return record.state in _IN_PROGRESS

    def buttons(self, request: HttpRequest, record: Any) -> Sequence[ActionButton]:
        if not self.has_recover_again_permission(request) or record.state in _IN_PROGRESS:
            return []
        return [ActionButton(action="recover_again", label="Recover again")]

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        return [
            _open_items(record, ItemState.PARKED),
            _open_items(record, ItemState.REJECTED),
            _others(record),
        ]

    @admin.action(description="Recover the selected snapshots again", permissions=["recover_again"])
    def recover_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        chosen = list(queryset)
        ended = [recovery for recovery in chosen if recovery.state not in _IN_PROGRESS]
        form = RecoverAgainForm(request.POST if is_confirmed(request) else None)
        if form.is_valid():
            self._recover(request, ended, form.cleaned_data["strategy"] or None)
            return None
        return confirm(self, request, "recover_again", _question(ended, len(chosen) - len(ended), form))

    def _recover(self, request: HttpRequest, recoveries: Sequence[Recovery], strategy: str | None) -> None:
        for recovery in recoveries:
            with transaction.atomic():
                again = recover_again(recovery, strategy=strategy, by=request.user)  # type: ignore[arg-type]
                self.log_change(request, recovery, f"Recovered again as {again}, {again.strategy}.")
            text = format_html("{} of {} is queued.", change_link(again), change_link(recovery.client))
            self.message_user(request, text, messages.SUCCESS)


def _state_in_words(recovery: Recovery) -> str:
    if recovery.state in _IN_PROGRESS:
        if recovery.lease_until > now():
            return "a worker is at it; this page loads itself again"
        if recovery.state == RecoveryState.QUEUED:
            return "it waits for a worker; this page loads itself again"
        return "its worker was lost; the sweeper hands it to another one, which goes on from here"
    if recovery.state == RecoveryState.REVIEW:
        return "merged, but for the parked items, which wait for a person"
    if recovery.state == RecoveryState.FAILED:
        return "what was merged before is kept; once the cause is mended, recover again"
    return "every line is merged"


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
                format_html("{} {}", printable(item.model), code(printable(item.pk_text))),
                printable((item.problem or {}).get("detail", item.code)) or "a value waits for a decision",
            ]
            for item in shown
        ],
        empty=f"Nothing is {state.label}.",
        more=changelist_url("syncreset_item", **filters),
    )


def _others(recovery: Recovery) -> Table:
    others = Recovery.objects.filter(reset=recovery.reset_id).exclude(pk=recovery.pk).order_by("created")
    return Table(
        caption="Other recoveries of this reset",
        columns=["Recovery", "State", "Strategy", "Begun"],
        rows=[
            [
                change_link(other),
                badge(other.state, other.get_state_display()),
                other.strategy,
                moment(other.created),
            ]
            for other in others.defer("last_synced")
        ],
        empty="There is no other.",
    )


def _question(recoveries: Sequence[Recovery], left_out: int, form: forms.Form) -> Confirmation:
    warnings = []
    if left_out:
        warnings.append(f"{left_out:,} of the selected are still being merged and are left out.")
    return Confirmation(
        title="Recover snapshots again",
        sentences=[
            "Each snapshot below is merged once more, with a ledger of its own; the earlier ledger stays.",
            "What is merged already turns out identical; what people changed since is a concurrent change.",
        ],
        tables=[
            Table(
                caption="Recoveries",
                columns=["Recovery", "Client", "Unsynced changes reported", "State", "Strategy", "Items"],
                rows=[
                    [
                        change_link(recovery),
                        change_link(recovery.client),
                        f"{recovery.client.pending:,}",
                        badge(recovery.state, recovery.get_state_display()),
                        recovery.strategy,
                        format_html_join(
                            " ",
                            "{}",
                            ((f"{count:,} {state}",) for state, count in recovery.totals.items() if count),
                        )
                        or "—",
                    ]
                    for recovery in recoveries
                ],
            )
        ],
        form=form,
        submit="Recover again" if recoveries else "",
        warnings=warnings,
    )
