"""Signatures of what clients carry and give back: each is of one purpose, and nobody else can make one."""

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac


def sign(purpose: str, text: str, length: int) -> bytes:
    """The signature of a text, by the server's key."""
    return _signed(settings.SECRET_KEY, purpose, text, length)


def is_signed(purpose: str, text: str, signature: bytes) -> bool:
    """Whether a signature is this server's, by its key or by one that it had before."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(signature, _signed(key, purpose, text, len(signature))) for key in keys)


def _signed(key: str | bytes, purpose: str, text: str, length: int) -> bytes:
    digest: bytes = salted_hmac(f"syncreset.{purpose}", text, secret=key, algorithm="sha256").digest()
    return digest[:length]
