"""What all records of syncreset have in common in the admin: they are read, never added or edited."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ...protocol.strict_json import dumps
from ..shown.html import Table

#: Seconds after which the page of a record that is still changing loads itself again.
REFRESH = 3
#: Characters of a folded text that a page shows; the whole is to be had as a file.
RAW_SHOWN = 20_000


@dataclass(frozen=True, kw_only=True)
class ActionButton:
    """A button on a record's page that begins one of its list's actions for this record alone."""

    action: str
    label: str


@dataclass(frozen=True, kw_only=True)
class RawText:
    """A text that is long and seldom wanted: shown folded, ``url`` leads to the whole of it."""

    summary: str
    text: str
    url: str = ""


def json_file(name: str, kept: Any) -> HttpResponse:
    """What a record keeps, as a file to be taken away."""
    return HttpResponse(
        dumps(kept),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )


class RecordAdmin(admin.ModelAdmin):
    """A model that is a record: shown, filtered and searched. What may be done to it are actions.

    The page of one record is made of readonly fields, then of tables and folded texts below them.
    """

    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ["syncreset/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """A NUL is in no value, and not every database lets one be asked for."""
        if any("\0" in value for values in request.GET.lists() for value in values[1]):
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def tables(self, request: HttpRequest, record: Any) -> Sequence[Table]:
        """The tables below the fields."""
        return []

    def raw_texts(self, request: HttpRequest, record: Any) -> Sequence[RawText]:
        """The folded texts below the tables."""
        return []

    def buttons(self, request: HttpRequest, record: Any) -> Sequence[ActionButton]:
        """The actions that make sense for the record and that this user may do."""
        return []

    def is_changing(self, record: Any) -> bool:
        """Whether the page should load itself again."""
        return False

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Model | None = None,
    ) -> HttpResponse:
        changelist = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        context |= {
            "record_tables": self.tables(request, obj),
            "record_texts": self.raw_texts(request, obj),
            "record_buttons": self.buttons(request, obj),
            "record_actions_url": reverse(changelist, current_app=self.admin_site.name),
            "record_refresh": REFRESH if self.is_changing(obj) else 0,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return super().render_change_form(request, context, add, change, form_url, obj)
