"""The schema that clients build their stores from, and every schema published before."""

import functools
import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import translation

from .codec import codec_for, describe_field, target_key_field
from .protocol import breaking_changes, now
from .tracking.options import SyncOptions
from .tracking.registry import dependency_order, options_for, set_fields, synced_fields

__all__ = [
    "PublishedSchema",
    "breaking_changes",
    "current_schema",
    "describe_model",
    "document_of",
    "is_of_newer_release",
    "key_type",
    "publish",
    "published",
]

#: When this process loaded its code (µs).
_LOADED = now()

#: Keys are strings on the wire: of a number's size or a text's length nobody takes notice.
_KEY_TYPES: Mapping[str, str] = {"BigInteger": "Integer", "Text": "Char"}


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
    return document_of(describe_model(model, options_for(model)) for model in tracked)


def describe_model(
    model: type[models.Model], options: SyncOptions, *, names: Container[str] | None = None
) -> dict[str, Any]:
    """A model's entry in the schema, of its fields in ``names`` (None: of all that are synced)."""
    # Labels of choices are translated: the schema must not depend on who asks for it first.
    with translation.override(settings.LANGUAGE_CODE):
        return {
            "name": model._meta.label_lower,
            "primary_key": model._meta.pk.name,
            "primary_key_type": key_type(model),
            "scope": options.scope,
            "fields": [
                describe_field(
                    field,
                    read_only=field.name in options.read_only,
                    counter=field.name in options.counters,
                )
                for field in (*synced_fields(model), *set_fields(model))
                if names is None or field.name in names
            ],
        }


def document_of(described: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The schema document of described models, parents first: with the hash that names it."""
    models_of_document = list(described)
    text = json.dumps(models_of_document, sort_keys=True, separators=(",", ":"))
    return {"hash": hashlib.sha256(text.encode()).hexdigest()[:32], "models": models_of_document}


def key_type(model: type[models.Model]) -> str:
    """The kind of value that the model's primary key is: ``UUID``, ``Integer`` or ``Char``."""
    pk: Any = model._meta.pk
    stored = target_key_field(pk) if isinstance(pk, models.ForeignKey) else pk
    name = codec_for(stored).type
    return _KEY_TYPES.get(name, name)


def publish() -> dict[str, Any]:
    """The current schema, kept for as long as there is a server."""
    document = current_schema()
    PublishedSchema.objects.get_or_create(hash=document["hash"], defaults={"document": document})
    return document


def is_of_newer_release(schema_hash: str) -> bool:
    """Whether a schema was first published after this process had loaded its code: so a deploy is under way.

    After a release has been taken back, the processes are younger than its schema, and the answer is no.
    """
    return PublishedSchema.objects.filter(hash=schema_hash, at__gt=_LOADED).exists()


def published(schema_hash: str) -> dict[str, Any] | None:
    """A schema published at any time, or None."""
    document: dict[str, Any] | None = (
        PublishedSchema.objects.filter(hash=schema_hash).values_list("document", flat=True).first()
    )
    return document
