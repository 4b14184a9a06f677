"""The page between choosing an action and doing it: what will happen, to whom, and a button to say yes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.template.response import TemplateResponse

from ..shown.html import Table

_CONFIRMED = "confirmed"


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What the page says. Without a ``submit`` label there is nothing that could be done, only a way back."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table]
    form: forms.Form
    submit: str
    warnings: Sequence[str] = field(default_factory=tuple)


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the request comes from the confirmation page."""
    return _CONFIRMED in request.POST


def confirm(
    model_admin: admin.ModelAdmin, request: HttpRequest, action: str, confirmation: Confirmation
) -> TemplateResponse:
    """The confirmation page. Its form posts the same action with the same selection once more, confirmed."""
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": confirmation.title,
        "opts": model_admin.opts,
        "media": model_admin.media + forms.Media(css={"all": ["syncreset/admin.css"]}),
        "confirmation": confirmation,
        "action": action,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "confirmed_name": _CONFIRMED,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/syncreset/confirm.html", context)
