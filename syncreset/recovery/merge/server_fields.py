"""Fields that only the server computes."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ...protocol.changes import Value
from ...rules.instruction import Instruction
from ...wire.model import WireModel


def file_fields(model: WireModel, fields: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the fields that name a file."""
    return {name: fields[name] for name in model.files & fields.keys() if fields[name] is not None}


def without_server_fields(change: Instruction, model: WireModel) -> Instruction:
    """The instruction less what the server computes itself: generated columns, ``auto_now`` fields, files."""
    if not model.server_computed:
        return change
    whole = change.whole
    if whole is not None:
        whole = replace(whole, fields=without_fields(whole.fields, model.server_computed))
    return replace(change, fields=without_fields(change.fields, model.server_computed), whole=whole)


def without_fields(fields: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    """The fields that are not named."""
    return {name: value for name, value in fields.items() if name not in names}
