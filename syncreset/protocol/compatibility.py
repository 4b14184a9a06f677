"""What lies between two schemas, and which of it a client built from the older one cannot continue with.

The server decides by it whether a client must reset, the Python SDK whether it may alter its tables instead: both must
come to the same answer, or a client would go on with values of another meaning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

DifferenceKind = Literal[
    "model_added",
    "model_removed",
    "primary_key_changed",
    "field_added",
    "field_removed",
    "type_changed",
    "null_removed",
    "shortened",
    "counter_removed",
    "read_only",
    "choices_changed",
]

#: What a client notices only where a change of its own is refused, which the ledger then keeps.
_HARMLESS = ("model_added", "field_added", "read_only", "choices_changed")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that changed. ``field`` is None where it is about the model as a whole."""

    kind: DifferenceKind
    model: str
    field: str | None
    detail: str

    @property
    def breaking(self) -> bool:
        return self.kind not in _HARMLESS


def breaking_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a client built from ``old`` could not continue with: an empty list where the new schema only adds.

    Both are documents as ``GET /schema`` gives them.
    """
    return [difference.detail for difference in differences(old, new) if difference.breaking]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Everything that a schema changed, in the order of the older document, then what is new."""
    before = {model["name"]: model for model in old["models"]}
    after = {model["name"]: model for model in new["models"]}
    found: list[Difference] = []
    for name, model in before.items():
        if name not in after:
            found.append(_model("model_removed", name, f"{name} was removed"))
        else:
            found.extend(_between_models(model, after[name]))
    found.extend(_model("model_added", name, f"{name} is new") for name in after if name not in before)
    return found


def _model(kind: DifferenceKind, model: str, detail: str) -> Difference:
    return Difference(kind=kind, model=model, field=None, detail=detail)


def _between_models(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    name = old["name"]
    if _is_keyed_otherwise(old, new):
        yield _model("primary_key_changed", name, f"the primary key of {name} changed")
    fields = {field["name"]: field for field in new["fields"]}
    for field in old["fields"]:
        label = f"{name}.{field['name']}"
        successor = fields.pop(field["name"], None)
        if successor is None:
            yield Difference(
                kind="field_removed", model=name, field=field["name"], detail=f"{label} was removed"
            )
            continue
        for kind, detail in _between_fields(field, successor):
            yield Difference(kind=kind, model=name, field=field["name"], detail=f"{label} {detail}")
    for added in fields:
        yield Difference(kind="field_added", model=name, field=added, detail=f"{name}.{added} is new")


def _is_keyed_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    types = old.get("primary_key_type"), new.get("primary_key_type")
    return bool(old["primary_key"] != new["primary_key"] or (None not in types and types[0] != types[1]))


def _between_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[DifferenceKind, str]]:
    if (new["type"], new.get("to")) != (old["type"], old.get("to")):
        yield "type_changed", f"changed its type from {_type(old)} to {_type(new)}"
    elif _is_shorter(old, new):
        yield "shortened", "became shorter"
    if old.get("null", True) and not new.get("null", True):
        yield "null_removed", "can no longer be null"
    if old.get("counter") and not new.get("counter"):
        yield "counter_removed", "is no longer a counter"
    if new.get("read_only") and not old.get("read_only"):
        yield "read_only", "became read-only"
    if new.get("choices") is not None and new.get("choices") != old.get("choices"):
        yield "choices_changed", "has other choices"


def _type(field: Mapping[str, Any]) -> str:
    return str(field["type"]) + (f" to {field['to']}" if field.get("to") else "")


def _is_shorter(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the field holds less: of a text its length, of a decimal number the digits on either side."""
    return any(
        limit is not None and (before is None or limit < before)
        for before, limit in (
            (old.get("max_length"), new.get("max_length")),
            (old.get("decimal_places"), new.get("decimal_places")),
            (_whole_digits(old), _whole_digits(new)),
        )
    )


def _whole_digits(field: Mapping[str, Any]) -> int | None:
    digits, places = field.get("max_digits"), field.get("decimal_places")
    return None if digits is None or places is None else int(digits) - int(places)
