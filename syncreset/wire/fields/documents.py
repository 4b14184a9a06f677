"""Codecs of JSON documents and files."""

import functools
import hashlib
import json
import math
from decimal import Decimal
from typing import Any

from django.db import connection, models

from .base import FieldCodec, ValueFault
from .text import check_text

MAX_JSON_INTEGER_DIGITS = 1000
#: From here on PostgreSQL gives a float inside JSON back as an integer.
_JSON_INTEGERS_FROM = 1e16


def json_codec(field: "models.JSONField[Any, Any]") -> FieldCodec:
    def encode_json(value: Any) -> Any:
        return _plain_json(
            value if field.encoder is None else json.loads(json.dumps(value, cls=field.encoder))
        )

    def decode_json(value: Any) -> Any:
        _check_json(value)
        value = _plain_json(value)
        return value if field.decoder is None else json.loads(json.dumps(value), cls=field.decoder)

    def restore_json(value: Any) -> Any:
        return value if field.decoder is None else json.loads(json.dumps(value), cls=field.decoder)

    return FieldCodec(type="JSON", encode=encode_json, decode=decode_json, restore=restore_json)


def _plain_json(value: Any) -> Any:
    """The value with its numbers as the database gives them back: no negative zero, nor large floats on PostgreSQL."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        as_integer = connection.vendor == "postgresql" and abs(value) >= _JSON_INTEGERS_FROM
        return int(Decimal(repr(value))) if as_integer else value + 0.0
    if isinstance(value, dict):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(item) for item in value]
    return value


def _check_json(value: Any) -> None:
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_JSON_INTEGER_DIGITS:
        raise ValueFault("out_of_range", f"an integer has more than {MAX_JSON_INTEGER_DIGITS} digits")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            _check_json(item)
    elif isinstance(value, list):
        for item in value:
            _check_json(item)


def file_codec(field: "models.FileField") -> FieldCodec:
    def encode_file(value: Any) -> Any:
        if not value:
            return None
        try:
            size = value.size
        except (FileNotFoundError, OSError):
            return {"name": value.name, "size": None, "sha256": None, "url": value.url}
        return {
            "name": value.name,
            "size": size,
            "sha256": _file_digest(field, value.name, size),
            "url": value.url,
        }

    def decode_file(value: Any) -> Any:
        raise ValueFault("forbidden_field", "files are not pushed with rows")

    return FieldCodec(
        type="File", encode=encode_file, decode=decode_file, restore=lambda value: value["name"]
    )


@functools.lru_cache(maxsize=4096)
def _file_digest(field: "models.FileField", name: str, size: int) -> str:
    with field.storage.open(name, "rb") as content:
        digest = hashlib.sha256()
        for piece in iter(lambda: content.read(1024 * 1024), b""):
            digest.update(piece)
    return digest.hexdigest()
