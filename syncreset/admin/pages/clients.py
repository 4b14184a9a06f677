"""Clients in the admin: who is far behind, who has something unsynced, and the order to reset."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html

from ...clients.client import Client
from ...clients.resets import Reset
from ...ledger.item import Item, totals
from ...operations.states import CLIENT_STATES, newest_checkpoint, with_client_state
from ...recovery.job import Recovery
from ...recovery.reset_state import with_reset_state
from ...tracking.registry import EVERYONE
from ...wire.model import WireModel, model_labelled
from ...wire.schema import current_schema
from ..actions.force_reset import force_reset_confirmed, with_open_resets
from ..shown.html import (
    Table,
    badge,
    change_link,
    changelist_url,
    code,
    instant,
    isolated,
    moment,
    row_name,
    totals_badges,
)
from .filters import ClientStateFilter, OpenResetFilter, PlatformFilter, SchemaFilter, UnsyncedFilter
from .records import ActionButton, RecordAdmin
from .recoveries import recoveries_table

#: How many rows the tables of a client's page show.
SHOWN = 20
SCOPES_SHOWN = 200


@admin.register(Client)
class ClientAdmin(RecordAdmin):
    list_display = [
        "client_name", "state", "used_by", "seen", "pending_changes", "checkpoint_number", "open_reset", "runs_on",
    ]  # fmt: skip
    list_filter = [ClientStateFilter, UnsyncedFilter, OpenResetFilter, SchemaFilter, PlatformFilter]
    ordering = ["-last_seen"]
    actions = ["force_reset"]
    fieldsets = [
        (None, {"fields": ["client_name", "used_by", "runs_on", "id", "made"]}),
        (
            "Where it stands",
            {
                "fields": [
                    "state",
                    "seen",
                    "pending_changes",
                    "checkpoint_number",
                    "schema_state",
                    "open_reset",
                    "sequence",
                    "clock",
                ]
            },
        ),
        ("Ledger", {"fields": ["items"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        clients = super().get_queryset(request).select_related("user").defer("scopes")
        return with_open_resets(with_client_state(clients)).annotate(newest_checkpoint=newest_checkpoint())

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return ["name", "id", f"user__{get_user_model().USERNAME_FIELD}"]

    def has_force_reset_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.force_reset_client"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A client may go while there is no reset and no item of it: should it come back, it is only told to reset."""
        if not request.user.has_perm("syncreset.delete_client"):
            return False
        return obj is None or not (obj.resets.exists() or obj.items.exists())

    @admin.display(description="name", ordering="name")
    def client_name(self, client: Client) -> str:
        return isolated(str(client))

    @admin.display(description="user", ordering="user")
    def used_by(self, client: Client) -> str:
        return isolated(str(client.user))

    @admin.display(description="platform", ordering="platform")
    def runs_on(self, client: Client) -> str:
        return isolated(client.platform) or "—"

    @admin.display(description="state", ordering="state")
    def state(self, client: Any) -> str:
        return badge(client.state, CLIENT_STATES[client.state])

    @admin.display(description="last seen", ordering="last_seen")
    def seen(self, client: Client) -> str:
        return moment(client.last_seen)

    @admin.display(description="registered", ordering="created")
    def made(self, client: Client) -> str:
        return moment(client.created)

    @admin.display(description="unsynced", ordering="pending")
    def pending_changes(self, client: Client) -> str:
        return badge("waiting", f"{client.pending:,}") if client.pending else "0"

    @admin.display(description="checkpoint", ordering="checkpoint")
    def checkpoint_number(self, client: Any) -> str:
        if client.checkpoint is None:
            return "never pulled to the end"
        behind = (client.newest_checkpoint or 0) - client.checkpoint
        if behind < 0:
            return format_html("{} {}", client.checkpoint, badge("failed", "beyond the server's newest"))
        return format_html(
            "{} <small>{}</small>", client.checkpoint, f"{behind:,} behind" if behind else "newest"
        )

    @admin.display(description="schema", ordering="schema")
    def schema_state(self, client: Client) -> str:
        if not client.schema:
            return "not reported"
        if client.schema == current_schema()["hash"]:
            return badge("current")
        return format_html("{} {}", badge("old"), code(client.schema[:8]))

    @admin.display(description="open reset")
    def open_reset(self, client: Any) -> str:
        return change_link(client.open_resets[0]) if client.open_resets else "—"

    @admin.display(description="changes pushed")
    def sequence(self, client: Client) -> str:
        return f"up to number {client.acked:,}" if client.acked else "none"

    @admin.display(description="device clock")
    def clock(self, client: Client) -> str:
        seconds = abs(client.clock_offset) / 1_000_000
        if seconds < 1:
            return "less than a second from the server's, when it last pushed"
        side = "behind" if client.clock_offset > 0 else "ahead of"
        return f"{seconds:,.1f} seconds {side} the server's, when it last pushed"

    @admin.display(description="items by state")
    def items(self, client: Client) -> str:
        return totals_badges(totals(Item.objects.filter(client=client)), {"client": str(client.pk)})

    def buttons(self, request: HttpRequest, record: Any) -> Sequence[ActionButton]:
        if not self.has_force_reset_permission(request):
            return []
        return [ActionButton(action="force_reset", label="Force reset")]

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        return [_resets(record), _recoveries(record), _last_synced(record), _scopes(record)]

    @admin.action(description="Force a reset of the selected clients", permissions=["force_reset"])
    def force_reset(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        clients = Client.objects.filter(pk__in=list(queryset.values_list("pk", flat=True))).order_by(
            "-last_seen"
        )
        return force_reset_confirmed(
            self,
            request,
            clients,
            action="force_reset",
            about="You are about to force a reset of the clients below.",
        )


def _resets(client: Client) -> Table:
    resets = (
        with_reset_state(Reset.objects.filter(client=client))
        .select_related("created_by")
        .order_by("-created")
    )
    return Table(
        caption="Resets",
        columns=["Reset", "State", "Ordered", "By", "Downloaded afresh"],
        rows=[
            [
                change_link(reset),
                badge(reset.state),
                moment(reset.created),
                isolated(str(reset.created_by or "the server")),
                moment(reset.bootstrapped, missing="not yet"),
            ]
            for reset in resets[:SHOWN]
        ],
        empty="This client was never told to reset.",
        more=changelist_url("syncreset_reset", client=client.pk),
    )


def _recoveries(client: Client) -> Table:
    recoveries = (
        Recovery.objects.filter(client=client).defer("last_synced", "checkpoint").order_by("-created")
    )
    return recoveries_table(
        recoveries[:SHOWN],
        empty="Nothing was recovered from this client.",
        more=changelist_url("syncreset_recovery", client=client.pk),
    )


def _last_synced(client: Client) -> Table:
    return Table(
        caption="Last synced",
        columns=["Model", "Has everything up to", "Checkpoint"],
        rows=[
            [synced.model, instant(synced.at), f"{synced.checkpoint:,}"]
            for synced in client.last_synced.order_by("model")
        ],
        empty="This client has not pulled to the end yet.",
    )


def _scopes(client: Client) -> Table:
    keys = [key for key in client.scopes if isinstance(key, str)]
    names = _names_of(keys[:SCOPES_SHOWN])
    return Table(
        caption="Held scopes",
        columns=["Scope", "Key"],
        rows=[[names.get(key, "—"), code(key)] for key in keys[:SCOPES_SHOWN]],
        empty="None: this client has not pulled yet.",
        note=f"and {len(keys) - SCOPES_SHOWN:,} more" if len(keys) > SCOPES_SHOWN else "",
    )


def _names_of(scopes: Sequence[str]) -> dict[str, str]:
    """What the rows that are the scopes call themselves, as HTML, read with one query per model."""
    names = {EVERYONE: "rows of everyone who may sync"}
    wanted: dict[WireModel, dict[Any, str]] = {}
    for scope in scopes:
        label, _, text = scope.partition(":")
        model = model_labelled(label)
        if model is not None and (keys := model.canonical_keys([text])):
            wanted.setdefault(model, {})[model.key_value(keys.pop())] = scope
    for model, keys_of_model in wanted.items():
        for key, row in model.rows.in_bulk(list(keys_of_model)).items():
            names[keys_of_model[key]] = row_name(row)
    return names
