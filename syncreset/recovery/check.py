"""Whether a finished upload is a valid snapshot: a request reads its beginning, and the worker what is left.

A snapshot may have millions of lines. What ends its upload answers within a second or two all the same: so the answer
tells what is wrong with a small snapshot, and the recovery what is wrong with a large one.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..protocol.errors import InvalidSnapshot, ProtocolError
from ..protocol.snapshot.lines import Header
from ..protocol.snapshot.read import SnapshotReader
from ..rules.strategies import STRATEGIES
from .uploads import Upload, open_snapshot, snapshot_limits

#: What a request reads: bytes as they were sent, bytes decompressed, lines. Each is less than a second of work.
SENT_AT_ONCE = 64 * 1024**2
BYTES_AT_ONCE = 16 * 1024**2
LINES_AT_ONCE = 10_000

#: What it measures beyond that, as most of what is too large is seen by its size alone.
BYTES_SKIMMED = 256 * 1024**2
LINES_SKIMMED = 500_000

#: The worker says after so many lines, and after so many bytes, that it is still at work.
LINES_AT_A_TIME = 20_000
BYTES_AT_A_TIME = 64 * 1024**2

_READ_SIZE = 256 * 1024


class SnapshotRefused(ProtocolError):
    """The finished upload is not a valid snapshot, or not this client's."""

    status = 422
    code = "invalid_snapshot"


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a request has read of a snapshot: the header, and how many lines of each kind if that was all of it."""

    header: Header
    counts: Mapping[str, int] | None


def look_at(upload: Upload) -> Looked:
    """Read the header and as much as a request may, the digest included where the upload is small enough.

    Raises SnapshotRefused, saying what is wrong, or TooLarge.
    """
    small = upload.length <= SENT_AT_ONCE
    if small:
        _require_digest(upload, _nothing)
    reader, ended = _read(upload, lines=LINES_AT_ONCE, size=BYTES_AT_ONCE)
    header = reader.header
    if (upload.strategy or header.strategy) not in STRATEGIES:
        raise SnapshotRefused(f"there is no strategy {header.strategy[:40]!a}")
    if header.client != str(upload.reset.client_id):
        raise SnapshotRefused("the snapshot is of another client", code="client_forbidden", status=403)
    return Looked(header=header, counts=reader.counts.as_wire() if small and ended else None)


def read_to_end(upload: Upload, still_at_work: Callable[[], None]) -> dict[str, int]:
    """Check the digest, and read every line. Returns how many there are of each kind.

    Raises SnapshotRefused, TooLarge and SnapshotMissing.
    """
    _require_digest(upload, still_at_work)
    reader, _ = _read(upload, still_at_work=still_at_work)
    return reader.counts.as_wire()


def _require_digest(upload: Upload, still_at_work: Callable[[], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with open_snapshot(upload) as stream:
        while data := stream.read(_READ_SIZE):
            digest.update(data)
            size += len(data)
            if size >= BYTES_AT_A_TIME:
                still_at_work()
                size = 0
    if digest.hexdigest() != upload.sha256:
        raise SnapshotRefused("the snapshot does not have the sha256 that was announced")


def _nothing() -> None:
    """A request has no lease to renew."""


def _read(
    upload: Upload,
    *,
    lines: int | None = None,
    size: int | None = None,
    still_at_work: Callable[[], None] = _nothing,
) -> tuple[SnapshotReader, bool]:
    """Read a snapshot until it ends, or so many lines or bytes of it. Returns whether it was read to its end."""
    with open_snapshot(upload) as stream:
        try:
            reader = SnapshotReader(stream, snapshot_limits())
            for number, _ in enumerate(reader, start=1):
                if (lines is not None and number >= lines) or (size is not None and reader.size >= size):
                    reader.skim(lines=LINES_SKIMMED, size=BYTES_SKIMMED)
                    return reader, False
                if number % LINES_AT_A_TIME == 0:
                    still_at_work()
        except InvalidSnapshot as error:
            raise SnapshotRefused(error.detail) from error
    return reader, True
