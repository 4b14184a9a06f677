"""Codecs of texts, keys and bytes."""

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

from django.db import models
from django.utils.ipv6 import clean_ipv6_address

from .base import FieldCodec, ValueFault

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check_text(text: str) -> None:
    """Refuse what PostgreSQL cannot store and UTF-8 cannot carry. Raises ValueFault ``invalid_text``."""
    if "\x00" in text:
        raise ValueFault("invalid_text", "text cannot hold the character U+0000")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueFault("invalid_text", "text cannot hold a lone surrogate") from error


def _text(field: "models.Field[Any, Any]") -> Callable[[Any], str]:
    def decode_text(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a string")
        check_text(value)
        if field.max_length is not None and len(value) > field.max_length:
            raise ValueFault(
                "too_long", f"the text has {len(value)} characters, the field takes {field.max_length}"
            )
        return value

    return decode_text


def text_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    name = "Text" if isinstance(field, models.TextField) else "Char"
    return FieldCodec(type=name, encode=str, decode=_text(field), restore=str)


def _decode_uuid(value: Any) -> uuid.UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueFault("invalid", "this field takes a UUID in its hyphenated form")
    return uuid.UUID(value)


def uuid_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="UUID", encode=str, decode=_decode_uuid)


def binary_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_binary(value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a string of base64")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueFault("invalid", "the string is not base64") from error
        if base64.b64encode(data).decode("ascii") != value:
            raise ValueFault("invalid", "the string is not base64 in its canonical form")
        if field.max_length is not None and len(data) > field.max_length:
            raise ValueFault(
                "too_long", f"the value has {len(data)} bytes, the field takes {field.max_length}"
            )
        return data

    return FieldCodec(
        type="Binary",
        encode=lambda value: base64.b64encode(bytes(value)).decode("ascii"),
        decode=decode_binary,
    )


def ip_codec(field: "models.GenericIPAddressField[Any, Any]") -> FieldCodec:
    def decode_ip(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes an IP address as a string")
        try:
            address = ipaddress.ip_address(value)
        except ValueError as error:
            raise ValueFault("invalid", "this is not an IP address") from error
        if "%" in value:
            raise ValueFault("invalid", "an address with a zone cannot be stored")
        # As the field itself writes it: ::ffff:1.2.3.4 keeps its dots, unless the field unpacks it.
        return clean_ipv6_address(str(address), field.unpack_ipv4) if address.version == 6 else value

    return FieldCodec(type="GenericIPAddress", encode=str, decode=decode_ip, restore=str)
