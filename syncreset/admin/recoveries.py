"""Recoveries in the admin: how far each has got, what it came to, and running it again."""

from collections.abc import Iterable, Sequence
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
from ..recovery import Recovery, RecoveryKind, RecoveryState, recover_again
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

__all__ = ["RecoveryAdmin", "recoveries_table"]

_IN_PROGRESS = (RecoveryState.QUEUED, RecoveryState.MERGING)
_DONE = {
    RecoveryKind.MERGE: "every line is merged",
    RecoveryKind.PREVIEW: "the ledger is complete",
    RecoveryKind.UNDO: "the rows are as they were",
}
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
        "kind",
        "state_badge",
        "client_link",
        "strategy_name",
        "progress",
        "totals_by_state",
        "begun",
    ]
    list_filter = ["state", "kind", "strategy", "healing", ClientFilter]
    search_fields = ["id", "client__name", "client__id", "reset__id"]
    ordering = ["-created"]
    actions = ["recover_again"]
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
        return recoveries.defer("last_synced", "undoes__last_synced", "client__recent", "client__scopes")

    def has_recover_again_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.recover_again_recovery"))

    @admin.display(description="recovery", ordering="created")
    def recovery_name(self, recovery: Recovery) -> str:
        return str(recovery.pk)[:8]

    @admin.display(description="kind", ordering="kind")
    def what(self, recovery: Recovery) -> str:
        if recovery.undoes is not None:
            return format_html("gives back what {} wrote", change_link(recovery.undoes))
        if recovery.kind == RecoveryKind.PREVIEW:
            return "a preview: the ledger as a recovery would write it; nothing else was written"
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
        return _progress(recovery)

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
        if not self.has_recover_again_permission(request) or not _can_repeat(record):
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
        possible = [recovery for recovery in chosen if _can_repeat(recovery)]
        form = RecoverAgainForm(request.POST if is_confirmed(request) else None)
        if form.is_valid():
            self._recover(request, possible, form.cleaned_data["strategy"] or None)
            return None
        return confirm(self, request, "recover_again", _question(possible, len(chosen) - len(possible), form))

    def _recover(self, request: HttpRequest, recoveries: Sequence[Recovery], strategy: str | None) -> None:
        for recovery in recoveries:
            with transaction.atomic():
                again = recover_again(recovery, strategy=strategy, by=request.user)
                self.log_change(request, recovery, f"Recovered again as {again}, {again.strategy}.")
            text = format_html("{} of {} is queued.", change_link(again), change_link(recovery.client))
            self.message_user(request, text, messages.SUCCESS)


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
                badge(recovery.state, recovery.get_state_display()),
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
    return "—" if recovery.kind == RecoveryKind.UNDO else printable(recovery.strategy)


def _progress(recovery: Recovery) -> str:
    """Lines of the snapshot and deletions that it tells by absence; for an undoing, which is one step, its changes."""
    undoes = recovery.kind == RecoveryKind.UNDO
    return progress_bar(recovery.position, recovery.changes if undoes else recovery.total + recovery.absent)


def _can_repeat(recovery: Recovery) -> bool:
    return (
        recovery.kind != RecoveryKind.UNDO
        and recovery.state not in _IN_PROGRESS
        and recovery.upload.purged is None
    )


def _state_in_words(recovery: Recovery) -> str:
    if recovery.state in _IN_PROGRESS:
        if recovery.lease_until > now():
            return "a worker is at it; this page loads itself again"
        if recovery.state == RecoveryState.QUEUED:
            return "it waits for a worker; this page loads itself again"
        return "its worker was lost; the sweeper hands it to another one, which goes on from here"
    if recovery.state == RecoveryState.REVIEW:
        return "all but the parked items, which wait for a person"
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
    return recoveries_table(
        others.defer("last_synced"), caption="Other recoveries of this reset", empty="There is no other."
    )


def _question(recoveries: Sequence[Recovery], left_out: int, form: forms.Form) -> Confirmation:
    warnings = []
    if left_out:
        warnings.append(
            f"Left out: {left_out:,} of the selected. What is still being merged, what undoes another one, and what "
            "has no snapshot any more cannot be recovered again."
        )
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
