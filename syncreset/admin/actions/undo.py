"""Undoing recoveries from a list."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html

from ...ledger.item import Item
from ...recovery.job import Recovery, RecoveryKind, RecoveryState
from ...recovery.orders import CannotUndo, undo
from ..shown.html import Table, change_link, isolated
from .confirm import Confirmation, confirm, is_confirmed
from .recover_again import IN_PROGRESS, described, recovery_badge


def can_undo(recovery: Recovery) -> bool:
    """Whether it is finished, and neither undone nor being undone. Its undoings should be prefetched."""
    if recovery.kind != RecoveryKind.MERGE or recovery.state not in (
        RecoveryState.DONE,
        RecoveryState.REVIEW,
    ):
        return False
    return not any(undoing.state in IN_PROGRESS for undoing in recovery.undone_by.all())


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


def _undo(model_admin: admin.ModelAdmin, request: HttpRequest, recovery: Recovery) -> None:
    try:
        with transaction.atomic():
            undoing = undo(recovery, by=request.user)
            model_admin.log_change(request, recovery, f"Undone as {undoing}.")
    except CannotUndo as error:
        text = format_html("{}: {}", change_link(recovery), isolated(error.detail))
        model_admin.message_user(request, text, messages.ERROR)
    else:
        described(model_admin, request, undoing)


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
