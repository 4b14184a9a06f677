"""Schemas of earlier releases, made from the current one by telling what was different then."""

import copy
from collections.abc import Callable
from typing import Any

from syncreset.schemas import PublishedSchema, current_schema, document_of

__all__ = ["Described", "describe", "field", "publish_older"]

Described = dict[str, dict[str, Any]]


def describe() -> Described:
    """The current schema's models by name, to be altered at will."""
    return {model["name"]: model for model in copy.deepcopy(current_schema()["models"])}


def field(model: dict[str, Any], name: str) -> dict[str, Any]:
    """The description of a model's field."""
    described: dict[str, Any] = next(field for field in model["fields"] if field["name"] == name)
    return described


def publish_older(*alterations: Callable[[Described], object]) -> str:
    """Publish the schema as it was before, and return its hash."""
    models = describe()
    for alter in alterations:
        alter(models)
    document = document_of(models.values())
    PublishedSchema.objects.get_or_create(hash=document["hash"], defaults={"document": document})
    return str(document["hash"])
