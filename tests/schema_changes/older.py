"""Schemas of earlier releases, made from the current one by telling what was different then."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from syncreset.protocol.clock import now
from syncreset.wire.schema import PublishedSchema, current_schema, document_of

__all__ = ["Described", "describe", "field", "publish_newer", "publish_older"]

Described = dict[str, dict[str, Any]]


def describe() -> Described:
    """The current schema's models by name, to be altered at will."""
    return {model["name"]: model for model in copy.deepcopy(current_schema()["models"])}


def field(model: dict[str, Any], name: str) -> dict[str, Any]:
    """The description of a model's field."""
    described: dict[str, Any] = next(field for field in model["fields"] if field["name"] == name)
    return described


def publish_older(*alterations: Callable[[Described], object]) -> str:
    """Publish the schema as it was before this process was there, in the order of the calls, and return its hash."""
    return _publish(alterations, at=1 + PublishedSchema.objects.count())


def publish_newer(*alterations: Callable[[Described], object]) -> str:
    """Publish the schema as a newer release would, deployed beside this process, and return its hash."""
    return _publish(alterations, at=now())


def _publish(alterations: Iterable[Callable[[Described], object]], *, at: int) -> str:
    models = describe()
    for alter in alterations:
        alter(models)
    document = document_of(models.values())
    PublishedSchema.objects.get_or_create(hash=document["hash"], defaults={"document": document, "at": at})
    return str(document["hash"])
