"""The part of a parked item's page where it is decided, and the view that takes the decision."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from ...ledger.item import Item, ItemState
from ...protocol.changes import Row
from ...protocol.printable import printable
from ...recovery.review import Keep, NotParked
from ..shown.html import change_link, isolated
from .form import FORM, DecisionForm, can_decide, decide
from .table import decision_rows, present_row


def decision_context(
    model_admin: admin.ModelAdmin, request: HttpRequest, item: Item, form: DecisionForm | None = None
) -> dict[str, Any]:
    """What the template shows of the decision: the form, its rows, and what each of the two sides comes to."""
    present = present_row(item)
    form = form or DecisionForm(item, request.user, present)
    client, server = _effects(item, present)
    name = f"{model_admin.admin_site.name}:syncreset_item_resolve"
    return {
        "decision_form": form,
        "decision_id": FORM,
        "decision_rows": list(decision_rows(form, present)),
        "decision_url": reverse(name, args=[item.pk]),
        "decision_client": client,
        "decision_server": server,
        "decision_others": _others_parked(item).count(),
    }


def resolve_posted(model_admin: admin.ModelAdmin, request: HttpRequest, item: Item) -> HttpResponse:
    """Decide the item as the posted form says; where the form is wrong, show it again and write nothing."""
    if not can_decide(item):
        model_admin.message_user(request, _NOT_PARKED, messages.WARNING)
        return _to_page(model_admin, item)
    form = DecisionForm(item, request.user, present_row(item), request.POST)
    if not form.is_valid():
        return _again(model_admin, request, item, form)
    try:
        with transaction.atomic():
            decide(item, form.decision, request.user, seen=form.clocks_seen)
            if item.state != ItemState.PARKED:
                model_admin.log_change(request, item, f"Decided: {decision_in_words(form.decision)}.")
    except NotParked:
        model_admin.message_user(request, _NOT_PARKED, messages.WARNING)
        return _to_page(model_admin, item)
    if item.state == ItemState.PARKED:
        text = format_html("{} is still parked: {}", _link(item), why_still_parked(item))
        model_admin.message_user(request, text, messages.WARNING)
        return _to_page(model_admin, item)
    text = format_html("Decided: {} is {} now.", _link(item), item.get_state_display())
    model_admin.message_user(request, text, messages.SUCCESS)
    return _to_page(model_admin, (_next_parked(item) if "next" in request.POST else None) or item)


def _link(item: Item) -> str:
    """A link that says what the change is, and leaves its state to the sentence around it."""
    return change_link(item, f"{item.op} {item.model} {item.pk_text}")


def decision_in_words(keep: Keep) -> str:
    """What was decided, for the log."""
    if isinstance(keep, str):
        return f"keep the {keep}'s side"
    return f"keep values chosen for {', '.join(printable(name) for name in keep)}"


def why_still_parked(item: Item) -> str:
    """Why a decision could not be carried out, and what to do about it."""
    if item.code in ("", "changed_since"):
        return "the server's row was changed meanwhile, and nothing was written. Look at it and decide again."
    if item.code == "deleted":
        return "the row was deleted meanwhile, and nothing was written. Look at it and decide again."
    problem: Mapping[str, Any] = item.problem or {}
    field = format_html(" (field {})", isolated(problem["field"])) if problem.get("field") else ""
    detail = isolated(str(problem.get("detail", item.code)))
    return format_html("{}{}. Nothing was written.", detail, field)


_NOT_PARKED = "This item does not wait for a decision, or somebody has decided it meanwhile."


def _effects(item: Item, present: Row | None) -> tuple[str, str]:
    if item.op == "delete":
        return "delete the row", "keep the row" if present is not None else "nothing is written"
    if present is None:
        return "make the row", "leave it out"
    return "write the client's values", "leave the row as it is"


def _again(
    model_admin: admin.ModelAdmin, request: HttpRequest, item: Item, form: DecisionForm
) -> TemplateResponse:
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        **decision_context(model_admin, request, item, form),
        "title": "Decide a parked item",
        "opts": model_admin.opts,
        "original": item,
        "media": model_admin.media + forms.Media(css={"all": ["syncreset/admin.css"]}),
    }
    return TemplateResponse(request, "admin/syncreset/item/resolve.html", context)


def _to_page(model_admin: admin.ModelAdmin, item: Item) -> HttpResponseRedirect:
    name = f"{model_admin.admin_site.name}:syncreset_item_change"
    return HttpResponseRedirect(reverse(name, args=[item.pk]))


def _others_parked(item: Item) -> QuerySet[Item]:
    """What else waits in the same recovery, or of the same client's pushes."""
    parked = Item.objects.filter(state=ItemState.PARKED).exclude(pk=item.pk)
    if item.recovery_id is not None:
        return parked.filter(recovery=item.recovery_id)
    return parked.filter(recovery=None, client=item.client_id)


def _next_parked(item: Item) -> Item | None:
    """The one after this item, or else the first."""
    others = _others_parked(item).order_by("line", "part", "pk")
    behind = Q(pk__gt=item.pk)
    if item.recovery_id is not None:
        behind = Q(line__gt=item.line) | Q(line=item.line, part__gt=item.part)
    return others.filter(behind).first() or others.first()
