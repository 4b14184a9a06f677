"""Many parked items decided at once: the question before it, and each item in a transaction of its own."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from ...ledger.item import Item, ItemState
from ...protocol.errors import ProtocolError
from ...recovery.job import RecoveryKind
from ...recovery.review import open_fields
from ..deciding.form import decide
from ..deciding.page import decision_in_words, why_still_parked
from ..shown.both_sides import field_name
from ..shown.html import Table, change_link, changelist_url, code, isolated, wire_text
from .confirm import Confirmation, confirm, is_confirmed

logger = logging.getLogger(__name__)

#: How many items one request decides, and how many the question shows with their values.
AT_ONCE = 500
SHOWN = 20
#: How many fields of one item the question shows, and how many items that stay parked the answer names.
FIELDS_SHOWN = 5
NAMED = 5
#: Characters of a value in the question.
VALUE_SHOWN = 200

_SENTENCES = {
    "client": [
        "Of each item below, what the client wanted is written: its values, its new row or its deletion.",
        "An item stays parked where the server's row has changed since it was parked, or where it cannot be written.",
    ],
    "server": [
        "Of each item below, the server's row stays as it is. Nothing is written.",
        "What the client wanted is kept in the ledger alone.",
    ],
}


def decide_many(
    model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Item], *, side: str
) -> TemplateResponse | None:
    """Keep one ``side`` (``client`` or ``server``) of those of the selected items that are parked, once confirmed."""
    selected = queryset.order_by("recovery", "line", "part", "pk")
    possible = selected.filter(state=ItemState.PARKED).exclude(recovery__kind=RecoveryKind.PREVIEW)
    if not is_confirmed(request):
        return confirm(model_admin, request, f"keep_{side}", _question(selected, possible, side))
    keys = list(possible.values_list("pk", flat=True)[: AT_ONCE + 1])
    report = _Report()
    for item in list(possible.filter(pk__in=keys[:AT_ONCE])):
        _decide(model_admin, request, item, side, report)
    _tell(model_admin, request, report, more=len(keys) > AT_ONCE)
    return None


@dataclass(kw_only=True)
class _Report:
    """What became of the items, with the reasons of those that stay parked."""

    decided: int = 0
    parked: list[tuple[Item, str]] = field(default_factory=list)


def _decide(
    model_admin: admin.ModelAdmin, request: HttpRequest, item: Item, side: str, report: _Report
) -> None:
    try:
        with transaction.atomic():
            decide(item, side, request.user)
            if item.state != ItemState.PARKED:
                model_admin.log_change(request, item, f"Decided with others: {decision_in_words(side)}.")
    except ProtocolError as error:
        report.parked.append((item, isolated(error.detail)))
    except Exception as error:
        # Whatever is wrong with one item, the others are decided.
        logger.exception("item %s could not be decided", item.pk)
        report.parked.append((item, f"{type(error).__name__}; the server's log says more."))
    else:
        if item.state == ItemState.PARKED:
            report.parked.append((item, why_still_parked(item)))
        else:
            report.decided += 1


def _tell(model_admin: admin.ModelAdmin, request: HttpRequest, report: _Report, *, more: bool) -> None:
    if report.decided:
        model_admin.message_user(request, f"{_counted(report.decided)} decided.", messages.SUCCESS)
    by_reason: dict[str, list[Item]] = {}
    for item, reason in report.parked:
        by_reason.setdefault(reason, []).append(item)
    for reason, items in by_reason.items():
        links = format_html_join(", ", "{}", ((change_link(item, item.pk_text),) for item in items[:NAMED]))
        others = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
        text = format_html("{} not decided: {} ({}{})", _counted(len(items)), reason, links, others)
        model_admin.message_user(request, text, messages.WARNING)
    if more:
        advice = f"{AT_ONCE:,} items are decided at a time: choose the rest once more."
        model_admin.message_user(request, advice, messages.WARNING)


def _question(selected: QuerySet[Item], possible: QuerySet[Item], side: str) -> Confirmation:
    count = possible.count()
    left_out = selected.count() - count
    warnings = []
    if left_out:
        warnings.append(
            f"Left out: {left_out:,} of the selected, which do not wait for a decision. Those of a preview never do."
        )
    if count > AT_ONCE:
        warnings.append(f"Only the first {AT_ONCE:,} are decided; choose the rest again afterwards.")
    return Confirmation(
        title=f"Keep the {side}'s side of parked items",
        sentences=_SENTENCES[side],
        tables=[_counts(possible), _values(possible.defer(None)[:SHOWN], count)],
        form=Form(),
        submit=f"Keep the {side}'s side of {_counted(min(count, AT_ONCE))}" if count else "",
        warnings=warnings,
    )


def _counts(items: QuerySet[Item]) -> Table:
    counted: Counter[tuple[str, str]] = Counter()
    for model, op, count in items.order_by().values_list("model", "op").annotate(count=Count("pk")):
        counted[model, op] = count
    return Table(
        caption="What will be decided",
        columns=["Model", "Change", "Items"],
        rows=[
            [code(model), op, format_html('<a href="{}">{}</a>', _parked(model), f"{count:,}")]
            for (model, op), count in sorted(counted.items())
        ],
    )


def _parked(model: str) -> str:
    return changelist_url("syncreset_item", model=model, state__exact=ItemState.PARKED.value)


def _values(items: Iterable[Item], count: int) -> Table:
    return Table(
        caption=f"The first {SHOWN}" if count > SHOWN else "Items",
        columns=["Row", "Change", "Problem", "Field", "Client's", "Server's, when parked"],
        rows=[row for item in items for row in _rows_of(item)],
        note=f"and {count - SHOWN:,} more items" if count > SHOWN else "",
    )


def _rows_of(item: Item) -> list[Sequence[str]]:
    """A line for each open field; what they have in common stands in the first."""
    head = [
        format_html("{} {}", change_link(item, item.pk_text or "unreadable"), code(item.model)),
        item.op,
        item.code or "a conflict",
    ]
    if item.op == "delete":
        return [[*head, "the whole row", "deleted", "there is a row" if item.fields else "unknown"]]
    wanted = open_fields(item)
    lines = [
        [field_name(name), _value(wanted[name]), _servers(item, name)] for name in list(wanted)[:FIELDS_SHOWN]
    ] or [["none", "—", "—"]]
    if len(wanted) > FIELDS_SHOWN:
        lines.append([f"and {len(wanted) - FIELDS_SHOWN:,} more", "", ""])
    return [[*(head if not place else ["", "", ""]), *line] for place, line in enumerate(lines)]


def _servers(item: Item, name: str) -> str:
    side = item.fields.get(name, {})
    return "unknown" if side.get("server_clock") is None else _value(side["server"])


def _value(value: Any) -> str:
    return code(wire_text(value, limit=VALUE_SHOWN))


def _counted(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"
