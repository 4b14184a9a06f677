"""The schema that clients build their stores from, and every schema published before."""

import functools
import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import connections, models, router
from django.db.migrations.executor import MigrationExecutor
from django.utils import translation

from ..protocol.clock import now
from ..tracking.options import SyncOptions
from .fields.codec import codec_for, encode, is_server_computed, target_key_field
from .hints import hints_of, without_labels
from .model import WireModel, wire_model, wire_models


def describe_field(
    field: "models.Field[Any, Any]", *, read_only: bool, counter: bool = False
) -> dict[str, Any]:
    """The field's entry in the schema (protocol, "GET /schema")."""
    description: dict[str, Any] = {"name": field.name, "type": codec_for(field).type, "null": field.null}
    if field.max_length is not None and not isinstance(field, models.ForeignKey | models.FileField):
        description["max_length"] = field.max_length
    if isinstance(field, models.DecimalField):
        description["max_digits"], description["decimal_places"] = field.max_digits, field.decimal_places
    if field.choices:
        description["choices"] = [[encode(field, value), str(label)] for value, label in field.flatchoices]
    if isinstance(field, models.ForeignKey | models.ManyToManyField):
        description["to"] = wire_model(field.related_model).label
    if read_only or is_server_computed(field):
        description["read_only"] = True
    if counter:
        description["counter"] = True
    return description | hints_of(field)


#: When this process loaded its code (µs).
_LOADED = now()

#: The time of a schema that ``migrate`` has published, until a process serves it: later than any process.
_UNSERVED = 2**62

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
    return _describe(tuple(wire_models()))


@functools.lru_cache(maxsize=8)
def _describe(tracked: tuple[WireModel, ...]) -> dict[str, Any]:
    return document_of(describe_model(model, model.options) for model in tracked)


def describe_model(
    model: WireModel, options: SyncOptions, *, names: Container[str] | None = None
) -> dict[str, Any]:
    """A model's entry in the schema, of its fields in ``names`` (None: of all that are synced)."""
    # Labels are translated: the schema must not depend on who asks for it first.
    with translation.override(settings.LANGUAGE_CODE):
        return {
            "name": model.label,
            "label": str(model.model._meta.verbose_name),
            "primary_key": model.key.name,
            "primary_key_type": key_type(model),
            "scope": options.scope,
            "fields": [
                describe_field(
                    field,
                    read_only=name in options.read_only,
                    counter=name in options.counters,
                )
                for name, field in model.fields.items()
                if names is None or name in names
            ],
        }


def document_of(described: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The schema document of described models, parents first: with the hash that names it."""
    models_of_document = [dict(model) for model in described]
    hashed = [without_labels(model) for model in models_of_document]
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return {"hash": hashlib.sha256(text.encode()).hexdigest()[:32], "models": models_of_document}


def key_type(model: WireModel) -> str:
    """The kind of value that the model's primary key is: ``UUID``, ``Integer`` or ``Char``."""
    pk: Any = model.key
    stored = target_key_field(pk) if isinstance(pk, models.ForeignKey) else pk
    name = codec_for(stored).type
    return _KEY_TYPES.get(name, name)


def publish() -> dict[str, Any]:
    """The current schema, kept for as long as there is a server."""
    document = current_schema()
    kept, _ = PublishedSchema.objects.get_or_create(hash=document["hash"], defaults={"document": document})
    if kept.at == _UNSERVED:
        PublishedSchema.objects.filter(pk=kept.pk, at=_UNSERVED).update(at=now())
    return document


def publish_after_migrate(*, using: str, **kwargs: Any) -> None:
    """Receiver of ``post_migrate``, once everything is applied.

    So a backup that is taken after a deploy knows the schema of every client that it may meet when it is restored.
    """
    if using == router.db_for_write(PublishedSchema):
        executor = MigrationExecutor(connections[using])
        if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
            document = current_schema()
            PublishedSchema.objects.get_or_create(
                hash=document["hash"], defaults={"document": document, "at": _UNSERVED}
            )


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
