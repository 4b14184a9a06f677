"""The schema that clients build their stores from, and every schema published before."""

import functools
import hashlib
import json
from typing import Any

from django.db import models

from .codec import describe_field
from .protocol import now
from .tracking.registry import dependency_order, options_for, synced_fields

__all__ = ["PublishedSchema", "breaking_changes", "current_schema", "publish", "published"]


class PublishedSchema(models.Model):
    """A schema that clients may have been built from. ``at`` in µs."""

    hash = models.CharField(primary_key=True, max_length=64)
    document = models.JSONField()
    at = models.BigIntegerField(default=now)

    def __str__(self) -> str:
        return self.hash


def current_schema() -> dict[str, Any]:
    """The schema document of the tracked models, parents first, with its hash (protocol, "GET /schema")."""
    return _describe(tuple(dependency_order()))


@functools.lru_cache(maxsize=8)
def _describe(tracked: tuple[type[models.Model], ...]) -> dict[str, Any]:
    described = []
    for model in tracked:
        options = options_for(model)
        described.append(
            {
                "name": model._meta.label_lower,
                "primary_key": model._meta.pk.name,
                "scope": options.scope,
                "fields": [
                    describe_field(field, read_only=field.name in options.read_only)
                    for field in synced_fields(model)
                ],
            }
        )
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return {"hash": hashlib.sha256(text.encode()).hexdigest()[:32], "models": described}


def publish() -> dict[str, Any]:
    """The current schema, kept for as long as there is a server."""
    document = current_schema()
    PublishedSchema.objects.get_or_create(hash=document["hash"], defaults={"document": document})
    return document


def published(schema_hash: str) -> dict[str, Any] | None:
    """A schema published at any time, or None."""
    document: dict[str, Any] | None = (
        PublishedSchema.objects.filter(hash=schema_hash).values_list("document", flat=True).first()
    )
    return document


def breaking_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a client built from ``old`` could not continue with: an empty list where the new schema only adds."""
    broken = []
    new_models = {model["name"]: model for model in new["models"]}
    for model in old["models"]:
        successor = new_models.get(model["name"])
        if successor is None:
            broken.append(f"{model['name']} was removed")
            continue
        if successor["primary_key"] != model["primary_key"]:
            broken.append(f"the primary key of {model['name']} changed")
        fields = {field["name"]: field for field in successor["fields"]}
        for field in model["fields"]:
            broken.extend(_breaking_field_changes(model["name"], field, fields.get(field["name"])))
    return broken


def _breaking_field_changes(model: str, old: dict[str, Any], new: dict[str, Any] | None) -> list[str]:
    name = f"{model}.{old['name']}"
    if new is None:
        return [f"{name} was removed"]
    broken = []
    if new["type"] != old["type"] or new.get("to") != old.get("to"):
        broken.append(f"{name} changed its type")
    if old["null"] and not new["null"]:
        broken.append(f"{name} can no longer be null")
    if new.get("max_length") is not None and (
        old.get("max_length") is None or new["max_length"] < old["max_length"]
    ):
        broken.append(f"{name} became shorter")
    return broken
