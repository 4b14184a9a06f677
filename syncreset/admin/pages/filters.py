"""Filters of the lists: what an operator asks of clients, resets, recoveries and items."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from ...clients.client import Client
from ...clients.resets import Reset
from ...operations.attention import idle_recoveries, overdue_resets, unsettled_recoveries
from ...operations.states import CLIENT_STATES, SILENT_DAYS, UPLOAD_STATES
from ...operations.statistics import beginning_of, last_days
from ...recovery.job import Recovery, RecoveryKind
from ...recovery.reset_state import RESET_STATES
from ...wire.model import wire_models
from ...wire.schema import current_schema
from ..shown.html import isolated

#: Over how many days the dashboard looks back, and lists can.
AGES = (7, 30, 90)


class ClientStateFilter(admin.SimpleListFilter):
    """Clients, with their state, by it: each is in one."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return list({**CLIENT_STATES, "silent": f"not seen for {SILENT_DAYS} days"}.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


class _Condition(admin.SimpleListFilter):
    """What holds for a record or does not."""

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "yes":
                return self.holding(queryset)
            case "no":
                return queryset.exclude(pk__in=self.holding(queryset.order_by()).values("pk"))
        return queryset

    def holding(self, records: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the records for which it holds."""
        raise NotImplementedError


class UnsyncedFilter(_Condition):
    title = "unsynced changes"
    parameter_name = "unsynced"

    def holding(self, records: QuerySet[Any]) -> QuerySet[Any]:
        return records.filter(pending__gt=0)


class OpenResetFilter(_Condition):
    """Clients that have yet to bootstrap with a reset, be it due or not."""

    title = "open reset"
    parameter_name = "reset"

    def holding(self, records: QuerySet[Any]) -> QuerySet[Any]:
        open_resets = Reset.objects.open()
        return records.filter(pk__in=open_resets.values("client"))


class SchemaFilter(admin.SimpleListFilter):
    """Clients by the schema that they last reported."""

    title = "schema"
    parameter_name = "schema"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("current", "current"), ("old", "old"), ("unknown", "not reported")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "current":
                return queryset.filter(schema=current_schema()["hash"])
            case "old":
                return queryset.exclude(schema__in=[current_schema()["hash"], ""])
            case "unknown":
                return queryset.filter(schema="")
        return queryset


class PlatformFilter(admin.SimpleListFilter):
    """Clients by what they say they run on. The most frequent are offered: each client may say what it likes."""

    title = "platform"
    parameter_name = "platform"
    OFFERED = 20
    NAME_SHOWN = 60

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        counted = Client.objects.values_list("platform").annotate(clients=Count("pk"))
        offered = [name for name, _ in counted.order_by("-clients", "platform")[: self.OFFERED]]
        chosen = self.used_parameters.get(self.parameter_name)
        if chosen is not None and str(chosen) not in offered:
            offered.append(str(chosen))
        return [(name, isolated(name, limit=self.NAME_SHOWN) or "not reported") for name in offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(platform=self.value())


class ResetStateFilter(admin.SimpleListFilter):
    """Resets by how far their clients have got. Those that are overdue are some of the ordered ones."""

    title = "state"
    parameter_name = "state"
    OVERDUE = "overdue"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [*((state, state) for state in RESET_STATES), (self.OVERDUE, self.OVERDUE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == self.OVERDUE:
            return queryset.filter(pk__in=overdue_resets().values("pk"))
        return queryset.filter(state=self.value()) if self.value() else queryset


class UploadStateFilter(admin.SimpleListFilter):
    """Uploads by what has become of them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(state, state) for state in UPLOAD_STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


class UnsettledFilter(admin.SimpleListFilter):
    """Recoveries that want a person: to decide their items, to mend a cause, or to start a worker."""

    title = "attention"
    parameter_name = "wants"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("person", "failed or in review, not mended since"), ("worker", "nobody works on it")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "person":
                return queryset.filter(pk__in=unsettled_recoveries().values("pk"))
            case "worker":
                return queryset.filter(pk__in=idle_recoveries().values("pk"))
        return queryset


class AgeFilter(admin.SimpleListFilter):
    """Records made within the last days, today included."""

    title = "age"
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(str(days), f"the last {days} days") for days in AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {str(days) for days in AGES}:
            return queryset
        return queryset.filter(created__gte=beginning_of(last_days(int(self.value() or 0))[0]))


class TrackedModelFilter(admin.SimpleListFilter):
    """By model, of those that are tracked: reading the names off a large table would take long."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(label, label) for label in sorted(model.label for model in wire_models())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class _RecordFilter(admin.SimpleListFilter):
    """By one other record, which links lead to. It is offered only while it is chosen, so that it can be taken away."""

    parameter_name: str
    model: type[Any]
    #: The path from the listed records to the other one, where it is not named as the parameter.
    lookup = ""

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Iterable[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        return [] if chosen is None else self.choices_of(str(chosen))

    def choices_of(self, chosen: str) -> list[tuple[str, str]]:
        return [(chosen, self.name_of(_key(chosen)))]

    def name_of(self, key: UUID) -> str:
        record = self.model.objects.filter(pk=key).first()
        return "unknown" if record is None else isolated(str(record))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return (
            queryset
            if chosen is None
            else queryset.filter(**{self.lookup or self.parameter_name: _key(chosen)})
        )


class ClientFilter(_RecordFilter):
    title = "client"
    parameter_name: str = "client"
    model = Client


class ResetClientFilter(ClientFilter):
    lookup = "reset__client"


class RecoveryFilter(_RecordFilter):
    """Items of one recovery, those that came with pushes and belong to none, or all but those of previews."""

    title = "origin"
    parameter_name: str = "recovery"
    model = Recovery
    PUSHED = "push"
    REAL = "real"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        named = [] if chosen in (None, self.PUSHED, self.REAL) else self.choices_of(str(chosen))
        return [(self.PUSHED, "pushed by a client"), (self.REAL, "all but previews"), *named]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == self.PUSHED:
            return queryset.filter(recovery__isnull=True)
        if self.value() == self.REAL:
            return queryset.exclude(recovery__kind=RecoveryKind.PREVIEW)
        return super().queryset(request, queryset)


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error
