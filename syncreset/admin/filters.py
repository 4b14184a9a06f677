"""Filters of the lists: what an operator asks of clients, resets, recoveries and items."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet, Subquery
from django.http import HttpRequest

from ..clients import Client
from ..feed import Checkpoint
from ..overview import RESET_STATES
from ..protocol import now
from ..recovery import Recovery
from ..resets import Reset
from ..schemas import current_schema
from ..tracking.registry import tracked_models
from .display import printable

__all__ = [
    "ClientFilter",
    "ClientStateFilter",
    "RecoveryFilter",
    "ResetStateFilter",
    "TrackedModelFilter",
    "newest_checkpoint",
]

_LONG_AGO = timedelta(days=30)


def newest_checkpoint() -> Subquery:
    """The number of the feed's newest checkpoint, as a column."""
    return Subquery(Checkpoint.objects.order_by("-number").values("number")[:1])


class ClientStateFilter(admin.SimpleListFilter):
    """Clients that want attention, by what they want it for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [
            ("reset", "reset is open"),
            ("pending", "has unsynced changes"),
            ("behind", "behind the newest checkpoint"),
            ("schema", "has an old schema"),
            ("silent", "not seen for 30 days"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "reset":
                open_resets = Reset.objects.filter(bootstrapped__isnull=True, replaced__isnull=True)
                return queryset.filter(pk__in=open_resets.values("client"))
            case "pending":
                return queryset.filter(pending__gt=0)
            case "behind":
                return queryset.filter(Q(checkpoint__isnull=True) | Q(checkpoint__lt=newest_checkpoint()))
            case "schema":
                return queryset.exclude(schema=current_schema()["hash"])
            case "silent":
                return queryset.filter(last_seen__lt=now() - _LONG_AGO // timedelta(microseconds=1))
        return queryset


class ResetStateFilter(admin.SimpleListFilter):
    """Resets by how far their clients have got."""

    title = "state"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(state, state) for state in RESET_STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(standing=self.value()) if self.value() else queryset


class TrackedModelFilter(admin.SimpleListFilter):
    """By model, of those that are tracked: reading the names off a large table would take long."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(model._meta.label_lower, model._meta.label_lower) for model in tracked_models()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class _RecordFilter(admin.SimpleListFilter):
    """By one other record, which links lead to. It is offered only while it is chosen, so that it can be taken away."""

    parameter_name: str
    model: type[Any]

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Iterable[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        return [] if chosen is None else self.choices_of(str(chosen))

    def choices_of(self, chosen: str) -> list[tuple[str, str]]:
        return [(chosen, self.name_of(_key(chosen)))]

    def name_of(self, key: UUID) -> str:
        record = self.model.objects.filter(pk=key).first()
        return "unknown" if record is None else printable(str(record))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(**{self.parameter_name: _key(chosen)})


class ClientFilter(_RecordFilter):
    title = "client"
    parameter_name: str = "client"
    model = Client


class RecoveryFilter(_RecordFilter):
    """Items of one recovery, or those that came with pushes and belong to none."""

    title = "origin"
    parameter_name: str = "recovery"
    model = Recovery
    PUSHED = "push"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        named = [] if chosen in (None, self.PUSHED) else self.choices_of(str(chosen))
        return [(self.PUSHED, "pushed by a client"), *named]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == self.PUSHED:
            return queryset.filter(recovery__isnull=True)
        return super().queryset(request, queryset)


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error
