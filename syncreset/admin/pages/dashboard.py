"""The dashboard: how clients, resets and recoveries stand, and what needs a person now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from ...clients.client import Client
from ...clients.resets import Reset, ResetReason
from ...feed.entries import Entry
from ...ledger.item import Item, ItemState
from ...operations.states import CLIENT_STATES, SILENT_DAYS
from ...operations.statistics import beginning_of, last_days, outcomes_by_day
from ...operations.status import Dashboard, clients_by_state, resets_by_reason, unsynced
from ...recovery.job import Recovery
from ...recovery.reset_state import RESET_STATES
from ...recovery.uploads import Upload
from ..shown.attention import attention_context, may_view
from ..shown.html import Table, badge, change_link, changelist_url, count_link, isolated, moment, tone
from ..shown.plot import Plot, stacked_bars
from .filters import AGES

#: How many days are shown unless others are asked for, and how many clients are named.
DAYS = 30
NAMED = 10

_CLIENT_HINTS = {
    "reset": "told to start over at their next contact",
    "scheduled": "told to start over later",
    "silent": f"not seen for {SILENT_DAYS} days",
    "never": "have not pulled to the end yet",
    "old_schema": "have not synced since the schema changed",
    "behind": "somebody has written since they last pulled",
    "current": "have everything",
}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A number that leads to what it counts."""

    count: int
    label: str
    hint: str
    tone: str
    url: str


@dataclass(frozen=True, kw_only=True)
class DailyTotals:
    """The plot, its legend, the same numbers in words and as a table, and where the recoveries are listed."""

    plot: Plot
    legend: Sequence[tuple[str, str, int]]
    words: str
    zone: str
    table: Table
    url: str


@admin.register(Dashboard)
class DashboardAdmin(admin.ModelAdmin):
    """One page in the place of a list. There is nothing to add, change or delete."""

    class Media:
        css = {"all": ["syncreset/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For whoever may view clients or recoveries; each part asks for the permission of what it shows."""
        return bool({Client, Recovery} & self._seen(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.changelist_view)
        return [path("", page, name="syncreset_dashboard_changelist")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        days = _asked_days(request)
        seen = self._seen(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Dashboard",
            "opts": self.opts,
            "media": self.media + forms.Media(css={"all": ["syncreset/admin.css"]}),
            "days": days,
            "ranges": AGES,
            **attention_context(seen),
            "tiles": _client_tiles() if Client in seen else None,
            "unsynced": _unsynced() if Client in seen else None,
            "outcomes": _outcomes(last_days(days)) if {Recovery, Item} <= seen else None,
            "resets": _resets(days) if Reset in seen else None,
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/syncreset/dashboard.html", context)

    def _seen(self, request: HttpRequest) -> set[type[Model]]:
        models = (Client, Entry, Item, Recovery, Reset, Upload)
        return {model for model in models if may_view(self.admin_site, request, model)}


def _asked_days(request: HttpRequest) -> int:
    """The chosen range. Whatever is none is the usual one."""
    asked = request.GET.get("days", "")
    return next((days for days in AGES if str(days) == asked), DAYS)


def _client_tiles() -> list[Tile]:
    counted = clients_by_state()
    every = Tile(
        count=sum(counted.values()),
        label="all clients",
        hint="each in the first state that fits",
        tone="muted",
        url=changelist_url("syncreset_client"),
    )
    states = [
        Tile(
            count=counted[state],
            label=label,
            hint=_CLIENT_HINTS[state],
            tone=tone(state) if counted[state] else "muted",
            url=changelist_url("syncreset_client", state=state),
        )
        for state, label in CLIENT_STATES.items()
    ]
    return [every, *states]


def _unsynced() -> Table:
    found = unsynced(named=NAMED)
    return Table(
        caption="Oldest unsynced",
        columns=["Client", "User", "Unsynced", "Last seen"],
        rows=[
            [
                change_link(client),
                isolated(client.user.get_username()),
                badge("waiting", f"{client.pending:,}"),
                moment(client.last_seen),
            ]
            for client in found.oldest
        ],
        empty="No client has reported unsynced changes.",
        note=f"Changes that exist nowhere else: {found.changes:,}, on {found.clients:,} of the clients."
        if found.clients
        else "",
        more=changelist_url("syncreset_client", unsynced="yes"),
    )


def _resets(days: int) -> Table:
    counted = resets_by_reason(since=beginning_of(last_days(days)[0]))
    shown = [state for state in RESET_STATES if any(state in states for states in counted.values())]
    return Table(
        caption="Resets by reason",
        columns=["Reason", *(state.capitalize() for state in shown), "All"],
        rows=[
            [
                ResetReason(reason).label,
                *(_reset_count(states.get(state, 0), days, reason, state=state) for state in shown),
                _reset_count(sum(states.values()), days, reason),
            ]
            for reason, states in counted.items()
        ],
        empty=f"No reset was ordered within the last {days} days.",
        more=changelist_url("syncreset_reset", days=days),
    )


def _reset_count(count: int, days: int, reason: str, **state: str) -> str:
    url = changelist_url("syncreset_reset", reason__exact=reason, days=days, **state)
    return count_link(count, url)


def _outcomes(days: Sequence[date]) -> DailyTotals:
    counted = outcomes_by_day(days)
    totals = {
        state.label: sum(states.get(state.value, 0) for states in counted.values()) for state in ItemState
    }
    named = [f"{count:,} {label}" for label, count in totals.items() if count]
    return DailyTotals(
        plot=stacked_bars(counted, ItemState.values),
        legend=[(state.value, state.label, totals[state.label]) for state in ItemState],
        words=f"{sum(totals.values()):,} items in {len(days)} days: {', '.join(named)}." if named else "",
        zone=str(timezone.get_current_timezone()),
        table=_days_table(counted),
        url=changelist_url("syncreset_recovery", kind__exact="merge", days=len(days)),
    )


def _days_table(counted: Mapping[date, Mapping[str, int]]) -> Table:
    return Table(
        caption="Items by day",
        columns=["Day", *(state.label.capitalize() for state in ItemState), "All"],
        rows=[
            [
                day.isoformat(),
                *(f"{states.get(state.value, 0):,}" for state in ItemState),
                f"{sum(states.values()):,}",
            ]
            for day, states in counted.items()
            if states
        ],
    )
