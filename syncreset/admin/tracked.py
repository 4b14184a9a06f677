"""The admin of an application's own tracked models: their clocks, and a reset of the clients that hold a row."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ..clients import Client
from ..codec import encode_key
from ..protocol import ROW_CLOCK
from ..row_clocks import clocks_of
from ..tracking.registry import EVERYONE, keeps_own_clocks, scope_field, scope_key, scope_model
from .display import instant, moment
from .forcing import clients_holding, force_reset_confirmed

__all__ = ["SyncTrackedAdmin"]

_ACTION = "force_reset_of_holders"
_CLOCKS = ("sync_updated", "sync_clocks")


class SyncTrackedAdmin(admin.ModelAdmin):
    """A ModelAdmin for a tracked model.

    It shows when the row and each of its fields were last written, and has an action that orders the clients holding
    the selected rows to reset. ``sync_updated`` may stand in ``list_display``. The action needs the permission
    ``syncreset.force_reset_client``.
    """

    class Media:
        css = {"all": ["syncreset/admin.css"]}

    def __init__(self, model: type[Model], admin_site: AdminSite) -> None:
        """Adds the action to those that a subclass names; ``actions = None`` turns all off, as in Django."""
        super().__init__(model, admin_site)
        if self.actions is not None and _ACTION not in self.actions:
            self.actions = [*self.actions, _ACTION]

    def has_force_reset_permission(self, request: HttpRequest) -> bool:
        """Whether the user may order clients to reset."""
        return bool(request.user.has_perm("syncreset.force_reset_client"))

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """A registered model has no column of its clocks to sort by."""
        sortable = super().get_sortable_by(request)
        return (
            sortable if keeps_own_clocks(self.model) else [name for name in sortable if name not in _CLOCKS]
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *_CLOCKS]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The model's own fieldsets, and on the page of a row that exists one more with its clocks."""
        own = []
        for name, options in super().get_fieldsets(request, obj):
            fields = [field for field in options["fields"] if field not in _CLOCKS]
            own.append((name, {**options, "fields": fields}))
        if obj is None:
            return own
        return [*own, ("Synchronisation", {"classes": ["collapse"], "fields": list(_CLOCKS)})]

    @admin.display(description="last updated", ordering="last_updated")
    def sync_updated(self, row: Any) -> str:
        """When the row was last written, by anybody."""
        return moment(clocks_of(row).updated)

    @admin.display(description="fields written")
    def sync_clocks(self, row: Any) -> str:
        """When each field was last written; those that were not since the row was made are summed up."""
        clocks = clocks_of(row).clocks
        written = [
            (field.verbose_name, instant(clocks[field.name]))
            for field in row._meta.concrete_fields
            if field.name in clocks
        ]
        return format_html(
            '<table class="syncreset-clocks">{}<tr><th>{}</th><td>{}</td></tr></table>',
            format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", written),
            "all others" if written else "all fields",
            instant(clocks.get(ROW_CLOCK)),
        )

    @admin.action(
        description="Force a reset of the clients that hold the selected rows", permissions=["force_reset"]
    )
    def force_reset_of_holders(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Order every client to reset that held the scope of a selected row at its last pull."""
        clients = Client.objects.filter(pk__in=clients_holding(_scopes_of(queryset))).order_by("-last_seen")
        count = queryset.count()
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        about = f"You are about to force a reset of the clients that hold the selected {count:,} {name}."
        return force_reset_confirmed(self, request, clients, action=_ACTION, about=about)


def _scopes_of(rows: QuerySet[Any]) -> set[str]:
    """The keys of the scopes that the rows are in."""
    field, owner = scope_field(rows.model), scope_model(rows.model)
    if field is None or owner is None:
        return {EVERYONE}
    keys = rows.order_by().values_list(field.attname, flat=True).distinct()
    return {scope_key(owner, encode_key(owner._meta.pk, key)) for key in keys if key is not None}
