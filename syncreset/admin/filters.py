"""Filters of the lists: what an operator asks of clients, resets, recoveries and items."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Case, CharField, F, Model, OuterRef, Q, QuerySet, Subquery, Value, When
from django.http import HttpRequest

from ..clients import Client
from ..feed import Checkpoint
from ..protocol import now
from ..recovery import Recovery, RecoveryState
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
    "reset_state_expression",
]

_LONG_AGO = timedelta(days=30)


def newest_checkpoint() -> Subquery:
    """The number of the feed's newest checkpoint, as a column."""
    return Subquery(Checkpoint.objects.order_by("-number").values("number")[:1])


def reset_state_expression() -> Case:
    """`syncreset.recovery.reset_state` as a column, so that lists can show and filter it without a query per row.

    One state more than the protocol has: ``replaced``, of a reset that another one took the place of.
    """
    first = Recovery.objects.filter(reset=OuterRef("pk")).order_by("created")
    first_state = Subquery(first.values("state")[:1])
    return Case(
        When(
            Q(Value(True)) & Q(first_recovery_state__in=[RecoveryState.QUEUED, RecoveryState.MERGING]),
            then=Value("recovering"),
        ),
        default=first_state,
    )


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
                return queryset.filter(
                    pk__in=Client.objects.filter(
                        resets__bootstrapped__isnull=True, resets__replaced__isnull=True, resets__isnull=False
                    ).values("pk")
                )
            case "pending":
                return queryset.filter(pending__gt=0)
            case "behind":
                return queryset.filter(Q(checkpoint__isnull=True) | Q(checkpoint__lt=newest_checkpoint()))
            case "schema":
                return queryset.exclude(schema=current_schema()["hash"])
            case "silent":
                return queryset.filter(last_seen__lt=now() - _LONG_AGO // timedelta(microseconds=1))
        return queryset
