"""What becomes of each model and field of an older schema."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import models

from ...wire.model import WireModel, wire_models
from .register import Function

_TEXTS = ("Char", "Text")

#: Types whose values mean the same under another type, and how these are written there.
CONVERSIONS: Mapping[tuple[str, str], Function] = {
    **{(old, new): lambda value, _: value for old in _TEXTS for new in _TEXTS},
    ("Integer", "BigInteger"): lambda value, _: str(value),
    ("Integer", "Decimal"): lambda value, _: str(value),
    ("Integer", "Float"): lambda value, _: value,
    ("BigInteger", "Decimal"): lambda value, _: value,
    ("BigInteger", "Integer"): lambda value, _: int(value),
}


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of the values of an old field, or of an old model's rows and their keys (``field`` None).

    ``kind``: ``same``; ``renamed`` by a declaration; ``converted``, for the types mean the same; ``upcast`` by a
    registered function; ``parked``.
    """

    model: str
    field: str | None
    kind: Literal["same", "renamed", "converted", "upcast", "parked"]
    target: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Where an old field's values go and how. ``convert`` None: as they are. ``reason`` set: they are left behind."""

    target: str
    kind: Literal["same", "renamed", "converted", "upcast", "parked"]
    field: "models.Field[Any, Any] | None" = None
    convert: Function | None = None
    checked: bool = False
    reason: str = ""


@dataclass(kw_only=True)
class Plan:
    """What becomes of one old model."""

    #: Its old label.
    name: str
    #: The label of its model of now.
    label: str
    model: WireModel | None
    #: Its fields as the old schema describes them.
    described: Mapping[str, Mapping[str, Any]]
    #: The fields of now, by name.
    known: Mapping[str, "models.Field[Any, Any]"] = field(default_factory=dict)
    #: The fields of now, as the schema describes them.
    now: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: The old key's description, and how keys are carried over.
    key: Mapping[str, Any] = field(default_factory=dict)
    key_step: Conversion | None = None
    #: Where values of old fields go, as far as that was asked.
    steps: dict[str, tuple[Conversion, ...]] = field(default_factory=dict)


def fate_of(plan: Plan, name: str, step: Conversion) -> Fate:
    details = {
        "same": "carried over as it is",
        "renamed": f"carried over to {step.target}",
        "converted": f"carried over to {step.target}, in its new form",
        "upcast": f"carried over to {step.target} by a function",
        "parked": f"parked: {step.reason}",
    }
    target = None if step.kind == "parked" else step.target
    return Fate(model=plan.name, field=name, kind=step.kind, target=target, detail=details[step.kind])


def current_name(name: str, renamed: Mapping[str, str], described: Iterable[str]) -> str:
    """What a field is called now. A name that was given away and taken again means the newer field where both are."""
    followed: set[str] = set()
    while name in renamed and name not in followed and renamed[name] not in described:
        followed.add(name)
        name = renamed[name]
    return name


def aliases_of(old: Iterable[str]) -> dict[str, str]:
    """From a model's old label to the one it has now, for the models that were renamed since the old schema."""
    return {
        label: model.label
        for model in wire_models()
        for label in model.options.renamed_from
        if model.label not in old
    }


def type_text(described: Mapping[str, Any]) -> str:
    return f"{described['type']} to {described['to']}" if "to" in described else str(described["type"])


def described_alike(old: Mapping[str, Any], new: Mapping[str, Any], aliases: Mapping[str, str]) -> bool:
    """Whether the same values fit both fields, and mean the same."""
    members = ("type", "null", "max_length", "max_digits", "decimal_places", "choices")
    to = str(old.get("to"))
    return all(old.get(name) == new.get(name) for name in members) and aliases.get(to, to) == str(
        new.get("to")
    )
