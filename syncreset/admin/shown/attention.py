"""What needs a person now, in words, with the way to the list of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.sites import AdminSite
from django.db.models import Model
from django.http import HttpRequest

from ...clients.resets import Reset
from ...feed.entries import Entry
from ...ledger.item import Item
from ...operations.attention import (
    idle_recoveries,
    overdue_resets,
    parked_items,
    refused_uploads,
    unsettled_recoveries,
    wrong_triggers,
)
from ...recovery.job import Recovery, RecoveryState
from ...recovery.uploads import Upload
from .html import changelist_url


@dataclass(frozen=True, kw_only=True)
class Call:
    """``count`` records want ``action``; ``url`` leads to them, where there is a list. ``tone`` is the stylesheet's."""

    tone: str
    count: int
    what: str
    action: str
    url: str = ""


def may_view(site: AdminSite, request: HttpRequest, model: type[Model]) -> bool:
    """Whether the site has pages of the model, and the user may see them."""
    return site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)


def attention_context(seen: Collection[type[Model]]) -> dict[str, Any]:
    """What the template of the box wants, for a user who may see the records of these models."""
    watched = {model: kinds for model, kinds in _KINDS.items() if model in seen}
    found = [kind() for kinds in watched.values() for kind in kinds]
    return {
        "watched": len(watched),
        "watches_all": len(watched) == len(_KINDS),
        "calls": [call for call in found if call.count],
    }


def _triggers() -> Call:
    tables = wrong_triggers()
    return Call(
        tone="bad",
        count=len(tables),
        what=f"{_counted(len(tables), 'table')} whose writes are not tracked: {', '.join(tables)}",
        action="Their triggers are missing or stale. Run `manage.py syncreset audit --mend`.",
    )


def _failed() -> Call:
    count = unsettled_recoveries().filter(state=RecoveryState.FAILED).count()
    return Call(
        tone="bad",
        count=count,
        what=_counted(count, "failed recovery", "failed recoveries"),
        action="Mend the cause that the recovery names, then recover again.",
        url=changelist_url("syncreset_recovery", wants="person", state__exact=RecoveryState.FAILED.value),
    )


def _idle() -> Call:
    count = idle_recoveries().count()
    return Call(
        tone="bad",
        count=count,
        what=_counted(count, "recovery that nobody works on", "recoveries that nobody works on"),
        action="Start the Celery worker and beat: one of them does not run.",
        url=changelist_url("syncreset_recovery", wants="worker"),
    )


def _refused() -> Call:
    count = refused_uploads().count()
    return Call(
        tone="bad",
        count=count,
        what=_counted(count, "refused upload"),
        action="Nothing of it is recovered yet. See why it was refused; check it again once that is mended.",
        url=changelist_url("syncreset_upload", state="refused"),
    )


def _parked() -> Call:
    count = parked_items().count()
    return Call(
        tone="warn",
        count=count,
        what=_counted(count, "parked item"),
        action="Compare both sides and decide.",
        url=changelist_url("syncreset_item", state__exact="parked", recovery="real"),
    )


def _overdue() -> Call:
    count = overdue_resets().count()
    return Call(
        tone="warn",
        count=count,
        what=_counted(count, "overdue reset"),
        action="The device has not come back for a week. Ask its user to open the app.",
        url=changelist_url("syncreset_reset", state="overdue"),
    )


def _counted(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


#: By whose records a call leads to; the most urgent first.
_KINDS: Mapping[type[Model], tuple[Callable[[], Call], ...]] = {
    Entry: (_triggers,),
    Recovery: (_failed, _idle),
    Upload: (_refused,),
    Item: (_parked,),
    Reset: (_overdue,),
}
