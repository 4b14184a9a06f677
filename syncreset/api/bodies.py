"""Reading request bodies: media type, charset, compression and JSON, each strictly and within limits."""

import codecs
import zlib
from typing import Any

from django.http import HttpRequest
from django.utils.http import parse_header_parameters

from .. import conf
from ..protocol.errors import Malformed, ProtocolError, TooLarge
from ..protocol.strict_json import loads

_READ_SIZE = 64 * 1024


def read_object(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in a request's body. Raises ProtocolError with the status of bad-input's catalogue."""
    _check_media_type(request.headers.get("Content-Type", ""))
    value = loads(_read(request))
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    return value


def _check_media_type(header: str) -> None:
    media_type, parameters = parse_header_parameters(header)
    if media_type.lower() != "application/json":
        raise ProtocolError("the body must be application/json", code="unsupported_media_type", status=415)
    charset = parameters.get("charset", "utf-8").strip().lower()
    if charset in ("utf-8", "utf8"):
        return
    if _names_no_text(charset):
        raise Malformed("the charset is not one of text")
    raise ProtocolError("the body must be in UTF-8", code="unsupported_charset", status=415)


def _names_no_text(charset: str) -> bool:
    """Whether this is one of Python's codecs from bytes to bytes, which are no charsets at all."""
    try:
        return not codecs.lookup(charset)._is_text_encoding
    except (LookupError, ValueError):
        return False


def _read(request: HttpRequest) -> bytes:
    limit = conf.get("BODY_LIMIT")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ProtocolError(
            "the body may be compressed with gzip only", code="unsupported_encoding", status=415
        )
    gunzip = _Gunzip() if encoding == "gzip" else None
    body = bytearray()
    received = 0
    while data := request.read(_READ_SIZE):
        received += len(data)
        if received > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        body += data if gunzip is None else gunzip.feed(data, limit + 1 - len(body))
        if len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes when decompressed")
    if gunzip is not None and not gunzip.ended:
        raise Malformed("the gzip body is cut off")
    if not body:
        raise Malformed("the body is empty")
    return bytes(body)


class _Gunzip:
    """Decompresses a gzip stream, of one member or several, as it arrives."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        """Whether the last member is complete."""
        return self._member.eof

    def feed(self, data: bytes, room: int) -> bytes:
        """What the data decompresses to, up to ``room`` bytes. Raises Malformed."""
        pieces = bytearray()
        while data and len(pieces) < room:
            if self._member.eof:
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                pieces += self._member.decompress(data, room - len(pieces))
            except zlib.error as error:
                raise Malformed("the body is not gzip, though Content-Encoding says so") from error
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return bytes(pieces)
