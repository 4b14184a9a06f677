"""What may be done to a recovery: recover again, preview with another strategy, undo. Each asks before it is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ...protocol.snapshot.lines import DEFAULT_STRATEGY
from ...recovery.job import Recovery, RecoveryKind, RecoveryState
from ...recovery.orders import preview, recover_again
from ...rules.strategies import STRATEGIES
from ..shown.html import Table, badge, change_link, isolated
from .confirm import Confirmation, confirm, is_confirmed

IN_PROGRESS = (RecoveryState.QUEUED, RecoveryState.MERGING)


class StrategyForm(forms.Form):
    """How the snapshots are to be read this time."""

    strategy = forms.ChoiceField(
        choices=[("", "each with the strategy it had"), *((name, name) for name in STRATEGIES)],
        required=False,
        help_text=f"What of a snapshot is taken for a change. The usual one is {DEFAULT_STRATEGY}: the fields that the "
        "device knew to be unsynced.",
    )


@dataclass(frozen=True, kw_only=True)
class _Repetition:
    """One of the two ways to merge a snapshot once more, in the words of its pages."""

    action: str
    queue: Callable[..., Recovery]
    title: str
    sentences: Sequence[str]
    submit: str
    logged: str


_AGAIN = _Repetition(
    action="recover_again",
    queue=recover_again,
    title="Recover snapshots again",
    sentences=[
        "Each snapshot below is merged once more, with a ledger of its own; the earlier ledger stays.",
        "What is merged already turns out identical; what people changed since is a concurrent change.",
    ],
    submit="Recover again",
    logged="Recovered again",
)
_PREVIEW = _Repetition(
    action="preview",
    queue=preview,
    title="Preview recoveries",
    sentences=[
        "Each snapshot below is merged for show: you get the ledger that recovering it again would have now.",
        "No row is written. While it runs, rows of the snapshot are locked, as they are by a recovery.",
    ],
    submit="Preview",
    logged="Previewed",
)


def can_repeat(recovery: Recovery) -> bool:
    """Whether its snapshot can be merged or previewed once more."""
    return (
        recovery.kind != RecoveryKind.UNDO
        and recovery.state not in IN_PROGRESS
        and recovery.upload.purged is None
    )


def recover_again_confirmed(
    model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> TemplateResponse | None:
    """Queue each snapshot's recovery once more, once confirmed."""
    return _repeat_confirmed(model_admin, request, queryset, _AGAIN)


def preview_confirmed(
    model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> TemplateResponse | None:
    """Queue a dry run of each snapshot's recovery, once confirmed."""
    return _repeat_confirmed(model_admin, request, queryset, _PREVIEW)


def _repeat_confirmed(
    model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any], repetition: _Repetition
) -> TemplateResponse | None:
    chosen = list(queryset)
    possible = [recovery for recovery in chosen if can_repeat(recovery)]
    form = StrategyForm(request.POST if is_confirmed(request) else None)
    if not form.is_valid():
        question = _question(repetition, possible, len(chosen) - len(possible), form)
        return confirm(model_admin, request, repetition.action, question)
    for recovery in possible:
        with transaction.atomic():
            made = repetition.queue(recovery, strategy=form.cleaned_data["strategy"] or None, by=request.user)
            model_admin.log_change(request, recovery, f"{repetition.logged} as {made}, {made.strategy}.")
        described(model_admin, request, made)
    return None


def described(model_admin: admin.ModelAdmin, request: HttpRequest, made: Recovery) -> None:
    text = format_html("{} of {} is queued.", change_link(made), change_link(made.client))
    model_admin.message_user(request, text, messages.SUCCESS)


def _question(
    repetition: _Repetition, recoveries: Sequence[Recovery], left_out: int, form: forms.Form
) -> Confirmation:
    warnings = []
    if left_out:
        warnings.append(
            f"Left out: {left_out:,} of the selected. What is still being merged, what undoes another one, and what "
            "has no snapshot any more cannot be merged again."
        )
    return Confirmation(
        title=repetition.title,
        sentences=repetition.sentences,
        tables=[
            Table(
                caption="Recoveries",
                columns=["Recovery", "Client", "Unsynced changes reported", "State", "Strategy", "Items"],
                rows=[
                    [
                        change_link(recovery),
                        change_link(recovery.client),
                        f"{recovery.client.pending:,}",
                        recovery_badge(recovery),
                        isolated(recovery.strategy),
                        _items(recovery),
                    ]
                    for recovery in recoveries
                ],
            )
        ],
        form=form,
        submit=repetition.submit if recoveries else "",
        warnings=warnings,
    )


def recovery_badge(recovery: Recovery) -> str:
    """The recovery's state. Of a preview nothing waits: its items only tell what would be parked."""
    if recovery.kind == RecoveryKind.PREVIEW and recovery.state in (RecoveryState.REVIEW, RecoveryState.DONE):
        return badge("preview", "previewed")
    return badge(recovery.state, recovery.get_state_display())


def _items(recovery: Recovery) -> str:
    counted = ((f"{count:,} {state}",) for state, count in recovery.totals.items() if count)
    return format_html_join(", ", "{}", counted) or "—"
