"""From a change as it came to one that can be merged: known model, typed key, canonical values, corrected clocks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models

from .clients import Client
from .codec import ValueFault, decode, decode_key, encode, encode_key, is_server_computed
from .protocol import Change, Outcome, Problem, corrected
from .tracking.registry import options_for, synced_fields, tracked_by_label

__all__ = ["Author", "Prepared", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Author:
    """On whose behalf changes are applied.

    ``seen`` is the number of the checkpoint up to which the client knows the feed, ``offset`` the server's time minus
    the client's and ``received`` the time of receipt (both µs). An ``operator`` may write what no client can.
    """

    client: Client
    user: AbstractBaseUser | AnonymousUser
    scopes: frozenset[str]
    seen: int
    received: int
    offset: int = 0
    operator: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A change ready to be merged. ``notes`` tell where a value was not kept to its last digit."""

    change: Change
    model: type[models.Model]
    notes: tuple[Problem, ...] = ()


def prepare(change: Change, author: Author) -> Prepared | Outcome:
    """The change with everything typed and checked, or the outcome ``rejected`` that says what is wrong with it."""
    model = tracked_by_label(change.model)
    if model is None:
        return _rejected("unknown_model", "there is no such model here")
    try:
        pk = encode_key(model._meta.pk, decode_key(model._meta.pk, change.pk))
    except ValueFault as fault:
        return Outcome(state="rejected", problem=fault.problem(None))
    fields: dict[str, Any] = {}
    notes: list[Problem] = []
    if change.op == "put":
        known = {field.name: field for field in synced_fields(model)}
        for name, value in change.fields.items():
            field = known.get(name)
            if field is None:
                return _rejected("unknown_field", "the model has no such field", name)
            if _may_not_set(model, field, author):
                if value is None and change.base is None:
                    continue
                return _rejected("forbidden_field", "clients cannot set this field", name)
            try:
                fields[name] = encode(field, decode(field, value))
            except ValueFault as fault:
                return Outcome(state="rejected", problem=fault.problem(name))
            notes.extend(_notes(field, value))
    clocks = change.clocks
    if not change.healing:
        clocks = corrected(change.clocks, offset=author.offset, received=author.received)
    return Prepared(
        change=replace(change, pk=pk, fields=fields, clocks=clocks), model=model, notes=tuple(notes)
    )


def missing_fields(model: type[models.Model], fields: Mapping[str, Any]) -> list[str]:
    """The fields that a new row needs and that have neither a value here nor one of their own."""
    return [
        field.name
        for field in synced_fields(model)
        if field.name not in fields
        and not is_server_computed(field)
        and field.name not in options_for(model).read_only
        and not (field.null or field.has_default() or field.has_db_default())
    ]


def _may_not_set(model: type[models.Model], field: "models.Field[Any, Any]", author: Author) -> bool:
    if is_server_computed(field):
        return True
    return not author.operator and field.name in options_for(model).read_only


def _notes(field: "models.Field[Any, Any]", value: Any) -> list[Problem]:
    if isinstance(field, models.DateTimeField | models.TimeField) and isinstance(value, str):
        _, _, fraction = value.partition(".")
        digits = fraction.rstrip("Z").partition("+")[0].partition("-")[0]
        if len(digits) > 6 and digits[6:].strip("0"):
            return [Problem(code="truncated", detail="the time was cut to microseconds", field=field.name)]
    return []


def _rejected(code: str, detail: str, field: str | None = None) -> Outcome:
    shown = field if field is None or (field.isprintable() and len(field) <= 200) else None
    return Outcome(state="rejected", problem=Problem(code=code, detail=detail, field=shown))
