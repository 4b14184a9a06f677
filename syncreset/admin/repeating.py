"""What may be done to a recovery: recover again, preview with another strategy, undo. Each asks before it is done."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ..ledger import Item
from ..protocol import DEFAULT_STRATEGY, STRATEGIES
from ..recovery import CannotUndo, Recovery, RecoveryKind, RecoveryState, preview, recover_again, undo
from .confirming import Confirmation, confirm, is_confirmed
from .display import Table, badge, change_link, printable

__all__ = [
    "IN_PROGRESS",
    "can_repeat",
    "can_undo",
    "preview_confirmed",
    "recover_again_confirmed",
    "recovery_badge",
    "undo_confirmed",
]

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


def can_undo(recovery: Recovery) -> bool:
    """Whether it is finished, and neither undone nor being undone. Its undoings should be prefetched."""
    if recovery.kind != RecoveryKind.MERGE or recovery.state not in (
        RecoveryState.DONE,
        RecoveryState.REVIEW,
    ):
        return False
    return not any(undoing.state in IN_PROGRESS for undoing in recovery.undone_by.all())


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


def undo_confirmed(
    model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> TemplateResponse | None:
    """Queue the undoing of each recovery, once confirmed."""
    chosen = list(queryset)
    possible = [recovery for recovery in chosen if can_undo(recovery)]
    if not is_confirmed(request):
        return confirm(model_admin, request, "undo", _undo_question(possible, len(chosen) - len(possible)))
    for recovery in possible:
        _undo(model_admin, request, recovery)
    return None


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
        _told_of(model_admin, request, made)
    return None


def _undo(model_admin: admin.ModelAdmin, request: HttpRequest, recovery: Recovery) -> None:
    try:
        with transaction.atomic():
            undoing = undo(recovery, by=request.user)
            model_admin.log_change(request, recovery, f"Undone as {undoing}.")
    except CannotUndo as error:
        text = format_html("{}: {}", change_link(recovery), printable(error.detail))
        model_admin.message_user(request, text, messages.ERROR)
    else:
        _told_of(model_admin, request, undoing)


def _told_of(model_admin: admin.ModelAdmin, request: HttpRequest, made: Recovery) -> None:
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
                        printable(recovery.strategy),
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


def _undo_question(recoveries: Sequence[Recovery], left_out: int) -> Confirmation:
    written = _written_by(recoveries)
    warnings = []
    if left_out:
        warnings.append(
            f"Left out: {left_out:,} of the selected. Only what is merged to the end can be undone, and only once."
        )
    return Confirmation(
        title="Undo recoveries",
        sentences=[
            "The rows that each recovery below has written are given back as they were before it.",
            "What people or devices have changed since is never overwritten: it is parked, and you decide.",
            "The ledger stays, and so does the snapshot: it can be recovered again.",
        ],
        tables=[
            Table(
                caption="Recoveries",
                columns=[
                    "Recovery",
                    "Client",
                    "State",
                    "Rows it changed: given back",
                    "Rows it made: deleted",
                    "Rows it deleted: made again",
                ],
                rows=[
                    [
                        change_link(recovery),
                        change_link(recovery.client),
                        recovery_badge(recovery),
                        *(f"{count:,}" for count in written.get(recovery.pk, (0, 0, 0))),
                    ]
                    for recovery in recoveries
                ],
            )
        ],
        form=forms.Form(),
        submit="Undo" if recoveries else "",
        warnings=warnings,
    )


def _written_by(recoveries: Iterable[Recovery]) -> dict[Any, tuple[int, int, int]]:
    """How many rows each recovery has changed, made and deleted."""
    rows = Concat("model", Value(" "), "pk_text")
    deleted, made = Q(op="delete"), Q(op="put", before=None)
    counted = (
        Item.objects.filter(recovery__in=recoveries, wrote=True)
        .order_by()
        .values_list("recovery")
        .annotate(
            changed=Count(rows, distinct=True, filter=~deleted & ~made),
            made=Count(rows, distinct=True, filter=made),
            deleted=Count(rows, distinct=True, filter=deleted),
        )
    )
    return {key: (changed, new, gone) for key, changed, new, gone in counted}


def recovery_badge(recovery: Recovery) -> str:
    """The recovery's state. Of a preview nothing waits: its items only tell what would be parked."""
    if recovery.kind == RecoveryKind.PREVIEW and recovery.state in (RecoveryState.REVIEW, RecoveryState.DONE):
        return badge("preview", "previewed")
    return badge(recovery.state, recovery.get_state_display())


def _items(recovery: Recovery) -> str:
    counted = ((f"{count:,} {state}",) for state, count in recovery.totals.items() if count)
    return format_html_join(", ", "{}", counted) or "—"
