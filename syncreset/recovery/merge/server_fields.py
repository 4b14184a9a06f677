"""Fields that only the server computes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache

from django.db.models import FileField

from ...protocol.changes import Value
from ...rules.instruction import Instruction
from ...wire.fields.codec import is_server_computed
from ...wire.model import WireModel, model_labelled


def file_fields(model: WireModel, fields: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the fields that name a file."""
    named = _names_of_files(model) & fields.keys()
    return {name: fields[name] for name in named if fields[name] is not None}


@cache
def computed_fields(model: WireModel) -> frozenset[str]:
    return frozenset(name for name, field in model.columns.items() if is_server_computed(field))


@cache
def _names_of_files(model: WireModel) -> frozenset[str]:
    return frozenset(name for name, field in model.columns.items() if isinstance(field, FileField))


def without_server_fields(change: Instruction) -> Instruction:
    """Without what the server computes itself: generated columns, ``auto_now`` fields, files."""
    model = model_labelled(change.model)
    if model is None:
        return change
    computed = computed_fields(model)
    if not computed:
        return change
    whole = change.whole
    if whole is not None:
        whole = replace(whole, fields=without_fields(whole.fields, computed))
    return replace(change, fields=without_fields(change.fields, computed), whole=whole)


def without_fields(fields: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in fields.items() if name not in names}
