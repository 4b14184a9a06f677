"""The scopes that a user may hold."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models import QuerySet

from .. import conf
from ..tracking.registry import EVERYONE
from ..wire.model import wire_model
from .client import SyncUser


def scopes_of(user: SyncUser) -> frozenset[str]:
    """The keys of all scopes that a user may hold, by the function in ``SYNCRESET["SCOPES"]``."""
    function = conf.scopes_function()
    held = {EVERYONE}
    for item in function(user) if function is not None else ():
        held.update(_scope_keys(item))
    return frozenset(held)


def _scope_keys(item: Any) -> Iterable[str]:
    if isinstance(item, QuerySet):
        return [wire_model(item.model).scope_of(pk) for pk in item.values_list("pk", flat=True)]
    if isinstance(item, models.Model):
        return [wire_model(type(item)).scope_of(item.pk)]
    raise TypeError(f"SYNCRESET['SCOPES'] gave {item!r}: it must give model instances and querysets")
