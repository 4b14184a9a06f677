"""From JSON objects to the requests of the protocol: every member typed, every limit kept."""

import uuid
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .. import conf
from ..feed.cursor import Cursor, decode_cursor
from ..protocol import PROTOCOL_VERSION
from ..protocol.changes import Change, parse_change
from ..protocol.errors import Malformed, ProtocolError, TooLarge
from ..sync.pull import PullRequest
from ..sync.push import PushRequest

Registration = tuple[uuid.UUID, str, str, str]


def check_version(body: Mapping[str, Any], header: str | None) -> None:
    """Refuse protocol versions that this server does not speak. Raises ProtocolError with status 426."""
    version = body.get("protocol", header)
    if version is not None and str(version) != str(PROTOCOL_VERSION):
        raise ProtocolError(
            f"this server speaks protocol {PROTOCOL_VERSION}; update the client",
            code="protocol_version",
            status=426,
        )


def parse_registration(body: Mapping[str, Any]) -> Registration:
    """Id, name, platform and schema of ``POST /clients``."""
    client = uuid.uuid4() if body.get("client") is None else _uuid(body, "client")
    return client, _text(body, "name", 200), _text(body, "platform", 200), _text(body, "schema", 64)


def parse_pull(body: Mapping[str, Any]) -> PullRequest:
    """``POST /pull``. Raises Malformed."""
    limit = _integer(body, "limit", default=conf.get("CHANGES_LIMIT"))
    if limit < 1:
        raise Malformed("limit is less than 1")
    max_bytes = _integer(body, "max_bytes", default=conf.get("PAGE_BYTES_LIMIT"))
    if max_bytes < 1:
        raise Malformed("max_bytes is less than 1")
    pending = _integer(body, "pending", default=0)
    if not 0 <= pending < 2**31:
        raise Malformed("pending is not a count")
    reset = body.get("reset")
    if reset is not None:
        reset = str(_uuid(body, "reset"))
    return PullRequest(
        client=_uuid(body, "client"),
        schema=_required_text(body, "schema"),
        cursor=_cursor(body),
        held=None if body.get("held") is None else decode_cursor(body["held"]),
        receipt=_required_text(body, "receipt", 40),
        limit=limit,
        max_bytes=max_bytes,
        pending=pending,
        reset=reset,
        mode=_mode(body),
    )


def parse_push(body: Mapping[str, Any]) -> PushRequest:
    """``POST /push``. Raises Malformed, and TooLarge for more changes than the limit."""
    raw = body.get("changes")
    if not isinstance(raw, list):
        raise Malformed("changes is not an array")
    limit = conf.get("CHANGES_LIMIT")
    if len(raw) > limit:
        raise TooLarge(f"{len(raw)} changes in one push, {limit} are allowed")
    changes = [parse_change(item, f"changes[{index}]") for index, item in enumerate(raw)]
    for before, after in pairwise(changes):
        if (after.seq or 0) <= (before.seq or 0):
            raise Malformed(f"the sequence numbers do not grow: {after.seq} follows {before.seq}")
    cursor = _cursor(body)
    if cursor is None:
        _require_bases(changes)
    return PushRequest(
        client=_uuid(body, "client"),
        schema=_required_text(body, "schema"),
        cursor=cursor,
        receipt=_required_text(body, "receipt", 40),
        again=_boolean(body, "again"),
        client_time=_integer(body, "client_time", bits=62),
        changes=changes,
        raw=raw,
    )


def _require_bases(changes: Sequence[Change]) -> None:
    """Refuse changes that are based on a checkpoint where their push shows none. Raises Malformed."""
    for index, change in enumerate(changes):
        if change.from_checkpoint:
            raise Malformed(
                f"changes[{index}].base names the checkpoint, and this push shows none: pull first, and show the"
                ' checkpoint of that pull, or send clocks and, for a row made here, "base": null'
            )


def _mode(body: Mapping[str, Any]) -> str:
    mode = _text(body, "mode", 40)
    if mode and body.get("reset") is None:
        raise Malformed("mode is of a reset's bootstrap, and reset names none")
    if mode and mode not in conf.get("MODES"):
        raise Malformed(f"the mode {mode!a} is not allowed here")
    return mode


def _cursor(body: Mapping[str, Any]) -> Cursor | None:
    if "checkpoint" not in body:
        raise Malformed("checkpoint is missing; it is null before the first pull")
    return None if body["checkpoint"] is None else decode_cursor(body["checkpoint"])


def _uuid(body: Mapping[str, Any], name: str) -> uuid.UUID:
    value = body.get(name)
    try:
        if not isinstance(value, str) or len(value) != 36:
            raise ValueError
        return uuid.UUID(value)
    except ValueError as error:
        raise Malformed(f"{name} is not a UUID in its hyphenated form") from error


def _text(body: Mapping[str, Any], name: str, length: int) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > length or not value.isprintable():
        raise Malformed(f"{name} is not a printable text of at most {length} characters")
    return value


def _required_text(body: Mapping[str, Any], name: str, length: int = 64) -> str:
    if not isinstance(body.get(name), str):
        raise Malformed(f"{name} is not a string")
    return _text(body, name, length)


def _boolean(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Malformed(f"{name} is neither true nor false")
    return value


def _integer(body: Mapping[str, Any], name: str, *, default: int | None = None, bits: int = 63) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**bits:
        raise Malformed(f"{name} is not an integer of {bits + 1} bits")
    return value
