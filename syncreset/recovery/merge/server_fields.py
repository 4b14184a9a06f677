"""Fields that only the server computes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache

from django.db.models import FileField, Model

from ...protocol.changes import Change, Value
from ...tracking.registry import synced_fields, tracked_by_label
from ...wire.fields.codec import is_server_computed


def _files(model: type[Model], fields: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the fields that name a file."""
    named = _file_fields(model) & fields.keys()
    return {name: fields[name] for name in named if fields[name] is not None}


@cache
def _computed(model: type[Model]) -> frozenset[str]:
    return frozenset(field.name for field in synced_fields(model) if is_server_computed(field))


@cache
def _file_fields(model: type[Model]) -> frozenset[str]:
    return frozenset(field.name for field in synced_fields(model) if isinstance(field, FileField))


def _without_server_fields(change: Change) -> Change:
    """Without what the server computes itself: generated columns, ``auto_now`` fields, files."""
    model = tracked_by_label(change.model)
    if model is None:
        return change
    computed = _computed(model)
    if not computed:
        return change
    whole = change.whole
    if whole is not None:
        whole = replace(whole, fields=_without(whole.fields, computed))
    return replace(change, fields=_without(change.fields, computed), whole=whole)


def _without(fields: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in fields.items() if name not in names}
