"""The admin of an application's own tracked models: clocks, items, and a reset of the clients that hold a row."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import select_template
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ..clients.client import Client
from ..ledger.item import Item
from ..ledger.record import key_text
from ..protocol.changes import ROW_CLOCK
from ..tracking.registry import EVERYONE
from ..wire.clocks import RowClocks, clocks_in_entries, clocks_of
from ..wire.model import wire_model
from .actions.force_reset import clients_holding, force_reset_confirmed
from .shown.attention import may_view
from .shown.html import changelist_url, count_link, instant, moment

_ACTION = "force_reset_of_holders"
_CLOCKS = ("sync_updated", "sync_clocks")
_HISTORY = "sync_history"
#: The clocks of a row that no trigger has seen yet.
_UNSEEN = RowClocks(updated=0, clocks={})


class SyncTrackedAdmin(admin.ModelAdmin):
    """A ModelAdmin for a tracked model.

    It shows when the row and each of its fields were last written, leads to the row's items in the ledger, and has an
    action that orders the clients holding the selected rows to reset. ``sync_updated`` and ``sync_history`` may stand
    in ``list_display``. The items are shown to whoever may view items; the action needs the permission
    ``syncreset.force_reset_client``.
    """

    change_form_template = "admin/syncreset/tracked_change_form.html"

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
            sortable
            if wire_model(self.model).keeps_own_clocks
            else [name for name in sortable if name not in _CLOCKS]
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns, but for the items where the user may not see them."""
        columns = super().get_list_display(request)
        if may_view(self.admin_site, request, Item):
            return columns
        return [column for column in columns if column != _HISTORY]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page know their clocks and items beforehand, as far as the list shows them."""
        changelist = super().get_changelist_instance(request)
        if not wire_model(self.model).keeps_own_clocks and set(_CLOCKS).intersection(changelist.list_display):
            _read_clocks(self.model, changelist.result_list)
        if _HISTORY in changelist.list_display:
            _count_items(self.model, changelist.result_list)
        return changelist

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Model | None = None,
    ) -> HttpResponse:
        """The model's own template, where there is one, with a way to the row's items."""
        names = [
            f"admin/{self.opts.app_label}/{self.opts.model_name}/change_form.html",
            f"admin/{self.opts.app_label}/change_form.html",
            "admin/change_form.html",
        ]
        context["sync_own_template"] = select_template(names)
        if obj is not None and may_view(self.admin_site, request, Item):
            context["sync_history_url"] = _items_url(obj)
            context["sync_history_count"] = _items_of(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

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
        return moment(_clocks(row).updated)

    @admin.display(description="sync history")
    def sync_history(self, row: Any) -> str:
        """How many items the ledger has of the row, leading to them."""
        return count_link(_items_of(row), _items_url(row))

    @admin.display(description="fields written")
    def sync_clocks(self, row: Any) -> str:
        """When each field was last written; those that were not since the row was made are summed up."""
        clocks = _clocks(row).clocks
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


def _key(row: Any) -> str:
    return wire_model(type(row)).key_of(row)


def _items_url(row: Any) -> str:
    return changelist_url(
        "syncreset_item", model=wire_model(type(row)).label, pk_text__exact=key_text(_key(row))
    )


def _read_clocks(model: type[Model], rows: Iterable[Any]) -> None:
    """Have each row keep its clocks, read with one query for all."""
    keyed = {_key(row): row for row in rows}
    found = clocks_in_entries(wire_model(model), list(keyed))
    for key, row in keyed.items():
        row._syncreset_clocks = found.get(key, _UNSEEN)


def _clocks(row: Any) -> RowClocks:
    kept: RowClocks | None = getattr(row, "_syncreset_clocks", None)
    return clocks_of(row) if kept is None else kept


def _count_items(model: type[Model], rows: Iterable[Any]) -> None:
    """Have each row keep how many items it has, counted with one query for all."""
    keyed = {key_text(_key(row)): row for row in rows}
    items = Item.objects.filter(model=wire_model(model).label, pk_text__in=list(keyed)).order_by()
    counted = dict(items.values_list("pk_text").annotate(count=Count("pk")))
    for key, row in keyed.items():
        row._syncreset_items = counted.get(key, 0)


def _items_of(row: Any) -> int:
    kept: int | None = getattr(row, "_syncreset_items", None)
    if kept is None:
        return Item.objects.filter(model=wire_model(type(row)).label, pk_text=key_text(_key(row))).count()
    return kept


def _scopes_of(rows: QuerySet[Any]) -> set[str]:
    """The keys of the scopes that the rows are in."""
    model = wire_model(rows.model)
    field, owner = model.scope, model.owner
    if field is None or owner is None:
        return {EVERYONE}
    keys = rows.order_by().values_list(field.attname, flat=True).distinct()
    return {owner.scope_of(key) for key in keys if key is not None}
