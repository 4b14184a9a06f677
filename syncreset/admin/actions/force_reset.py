"""Forcing resets from a list: the question before it, the order itself, and the trace of who gave it."""

from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import Prefetch, QuerySet, Sum
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ...clients.client import Client
from ...clients.resets import Reset
from ...protocol.clock import now
from ..shown.html import Table, badge, change_link, isolated, moment
from .confirm import Confirmation, confirm, is_confirmed

#: How many clients the question names one by one, and how many resets the answer links to.
NAMED = 100
LINKED = 10

_WHAT_A_RESET_DOES = (
    "A client that resets backs its store up, downloads everything afresh and uploads the backup; what it had not "
    "synced is then recovered here. Clients that discard on reset keep the backup on the device alone."
)


class ForceResetForm(forms.Form):
    """What may be said with the order."""

    detail = forms.CharField(
        label="Why",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"size": 80}),
        help_text="For whoever looks at the reset later; clients are not told.",
    )
    full = forms.BooleanField(
        label="Heal the server from these clients",
        required=False,
        help_text="They then upload every row they hold, not only what is unsynced, and rows and values newer than "
        "the server's are taken over. Only after the server has lost data.",
    )


def with_open_resets(clients: QuerySet[Client]) -> QuerySet[Client]:
    """The clients, each with ``open_resets``: the list of the one reset it has yet to bootstrap with, or empty."""
    awaited = Reset.objects.open()
    return clients.prefetch_related(Prefetch("resets", queryset=awaited, to_attr="open_resets"))


def clients_holding(scopes: Collection[str]) -> list[Any]:
    """The keys of the clients that held at least one of the scopes at their last pull.

    Read in batches and compared here: containment in a JSON list is not a lookup on every database.
    """
    wanted = frozenset(scopes)
    held = Client.objects.values_list("pk", "scopes").iterator(chunk_size=500)
    return [pk for pk, keys in held if not wanted.isdisjoint(keys)]


def force_reset_confirmed(
    model_admin: admin.ModelAdmin, request: HttpRequest, clients: QuerySet[Client], *, action: str, about: str
) -> TemplateResponse | None:
    """Order the clients to reset if the question was answered with yes, else ask it. ``about`` says whom."""
    form = ForceResetForm(request.POST if is_confirmed(request) else None)
    if form.is_valid():
        _order(model_admin, request, list(clients), **form.cleaned_data)
        return None
    return confirm(model_admin, request, action, _question(clients, form, about))


def _question(clients: QuerySet[Client], form: forms.Form, about: str) -> Confirmation:
    count = clients.count()
    pending = clients.aggregate(pending=Sum("pending"))["pending"] or 0
    shown = with_open_resets(clients.select_related("user").defer("scopes"))[:NAMED]
    return Confirmation(
        title="Force a reset of clients",
        sentences=[
            about,
            _told(count, pending),
            _WHAT_A_RESET_DOES,
        ],
        tables=[
            Table(
                caption="Clients",
                columns=["Client", "User", "Last seen", "Unsynced changes", "What happens"],
                rows=[
                    [
                        change_link(client),
                        isolated(str(client.user)),
                        moment(client.last_seen),
                        f"{client.pending:,}",
                        _what_happens(client),
                    ]
                    for client in shown
                ],
                note=f"and {count - NAMED:,} more" if count > NAMED else "",
            )
        ],
        form=form,
        submit="Force the reset" if count else "",
        warnings=[] if count else ["No client is affected."],
    )


def _told(count: int, pending: int) -> str:
    if count == 1:
        return (
            "1 client will be told to reset at its next contact. When it last pulled, it reported "
            f"{_changes(pending)}."
        )
    return (
        f"{count:,} clients will be told to reset at their next contact. When they last pulled, they reported "
        f"{_changes(pending)} in all."
    )


def _changes(count: int) -> str:
    return "1 unsynced change" if count == 1 else f"{count:,} unsynced changes"


def _what_happens(client: Any) -> str:
    if not client.open_resets:
        return "is ordered to reset"
    (reset,) = client.open_resets
    waits = reset.not_before > now()
    note = (
        badge("scheduled", "its reset falls due now") if waits else badge("ordered", "keeps its open reset")
    )
    return format_html("{} {}", note, change_link(reset))


def _order(
    model_admin: admin.ModelAdmin, request: HttpRequest, clients: list[Client], *, detail: str, full: bool
) -> None:
    with transaction.atomic():
        kept = set(Reset.objects.open().filter(client__in=clients).values_list("pk", flat=True))
        resets = Reset.objects.force(clients, by=request.user, detail=detail, full=full)
        ordered = [reset for reset in resets if reset.pk not in kept]
        if ordered:
            ordered_clients = [reset.client for reset in ordered]
            LogEntry.objects.log_actions(request.user.pk, ordered_clients, CHANGE, "Forced a reset.")  # type: ignore[arg-type]
    if ordered:
        links = format_html_join(", ", "{}", ((change_link(reset),) for reset in ordered[:LINKED]))
        more = f" and {len(ordered) - LINKED:,} more" if len(ordered) > LINKED else ""
        text = format_html("Ordered {} to reset: {}{}.", _counted(len(ordered)), links, more)
        model_admin.message_user(request, text, messages.SUCCESS)
    if len(ordered) < len(resets):
        kept_count = _counted(len(resets) - len(ordered))
        model_admin.message_user(request, f"{kept_count} kept the reset that was open.", messages.WARNING)


def _counted(count: int) -> str:
    return "1 client" if count == 1 else f"{count:,} clients"
