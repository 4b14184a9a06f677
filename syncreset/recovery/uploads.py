"""Snapshot uploads: tus 1.0 (core, creation, checksum, expiration, termination) into Django's storage.

Storages cannot append, so each piece that arrives is a file of its own, and the snapshot is their sequence. The server
names all files; nothing a client says becomes part of a path.
"""

import base64
import binascii
import hashlib
import tempfile
import uuid
from collections.abc import Generator, Mapping
from typing import BinaryIO, Protocol

from django.core.files import File
from django.core.files.storage import Storage, storages
from django.db import models, transaction

from .. import conf
from ..clients.resets import Reset
from ..protocol.clock import now
from ..protocol.errors import Malformed, ProtocolError, TooLarge
from ..protocol.snapshot.lines import Limits
from ..rules.strategies import STRATEGIES

MAX_PIECES = 10_000
_READ_SIZE = 256 * 1024


class Upload(models.Model):
    """A snapshot on its way in. ``length`` and ``offset`` in bytes, times in µs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    reset = models.ForeignKey(Reset, on_delete=models.CASCADE, related_name="uploads")
    length = models.BigIntegerField()
    offset = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64)
    #: What the metadata asked for; empty where the snapshot's own header says it.
    strategy = models.CharField(max_length=40, blank=True)
    mode = models.CharField(max_length=40)
    created = models.BigIntegerField(default=now)
    expires = models.BigIntegerField()
    #: Why the finished upload was no valid snapshot; its pieces are kept for an operator to look at.
    refused = models.TextField(blank=True)
    #: With which status that was answered.
    refused_status = models.PositiveSmallIntegerField(null=True, blank=True)
    #: Until when (µs) a request has it to itself to check it.
    checked_until = models.BigIntegerField(default=0)
    #: When the pieces were removed, their recoveries being done; what was in them is in the ledger.
    purged = models.BigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"upload {str(self.id)[:8]}: {self.offset} of {self.length} bytes"

    @property
    def complete(self) -> bool:
        return self.offset == self.length


class Piece(models.Model):
    """A part of an upload, as one request brought it: a file in the storage."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="pieces")
    offset = models.BigIntegerField()
    size = models.BigIntegerField()
    name = models.CharField(max_length=255)

    class Meta:
        ordering = ["offset"]
        constraints = [models.UniqueConstraint(fields=["upload", "offset"], name="syncreset_piece_offset")]

    def __str__(self) -> str:
        return self.name


class OffsetConflict(ProtocolError):
    """The piece does not begin where the upload ends. ``offset`` is the true one."""

    status = 409
    code = "offset_conflict"

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload continues at offset {offset}")
        self.offset = offset


class ChecksumMismatch(ProtocolError):
    """The piece is not what its Upload-Checksum announced (tus, checksum extension). It was thrown away."""

    status = 460
    code = "checksum_mismatch"


class UploadGone(ProtocolError):
    """The upload has expired or was terminated."""

    status = 410
    code = "upload_gone"


class SnapshotMissing(ProtocolError):
    """A file of the snapshot is not in the storage, as this process sees it."""

    status = 410
    code = "snapshot_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"the snapshot's file {name} is not in the storage")


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def parse_metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata`` of tus: comma-separated pairs of a key and base64. Raises Malformed."""
    metadata = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, encoded = pair.partition(" ")
        try:
            metadata[key] = base64.b64decode(encoded, validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise Malformed(
                f"Upload-Metadata: the value of {key[:40]!a} is not base64 of UTF-8 text"
            ) from error
    return metadata


def require_size(length: int) -> None:
    """Refuse what no snapshot can be, before anything else is asked. Raises TooLarge and Malformed."""
    limit = conf.get("SNAPSHOT_LIMIT")
    if length > limit:
        raise TooLarge(f"the snapshot has {length} bytes, {limit} are allowed")
    if length == 0:
        raise Malformed("a snapshot is never empty: Upload-Length is 0")


def create_upload(reset: Reset, *, length: int, metadata: Mapping[str, str]) -> Upload:
    """Begin an upload for a reset. Raises TooLarge and Malformed; unknown metadata is ignored."""
    require_size(length)
    if now() > reset.deadline:
        raise UploadGone("the time to upload a snapshot for this reset has passed")
    digest = metadata.get("sha256", "").lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise Malformed("Upload-Metadata must name the snapshot's sha256, in 64 hexadecimal digits")
    strategy = metadata.get("strategy", "")
    if strategy and strategy not in STRATEGIES:
        raise Malformed(f"there is no strategy {strategy[:40]!a}; there are {', '.join(STRATEGIES)}")
    mode = metadata.get("mode", "recover")
    if mode not in conf.get("MODES"):
        raise Malformed(f"the mode {mode[:40]!a} is not allowed here")
    expires = now() + conf.get("UPLOAD_EXPIRY") * 1_000_000
    return Upload.objects.create(
        reset=reset, length=length, sha256=digest, strategy=strategy, mode=mode, expires=expires
    )


def receive(
    upload: Upload, source: Source, *, offset: int, checksum: tuple[str, bytes] | None = None
) -> Upload:
    """Add a piece that begins at ``offset``. Raises OffsetConflict, ChecksumMismatch, TooLarge, UploadGone.

    If the connection breaks, what came is kept, so that the client resumes where it broke; a piece with a checksum is
    kept whole or not at all.
    """
    if now() > upload.expires and not upload.complete:
        raise UploadGone("the upload has expired; begin a new one")
    if offset != upload.offset:
        raise OffsetConflict(upload.offset)
    with tempfile.TemporaryFile() as piece:
        size = _copy(source, piece, upload.length - offset, checksum)
        if not size:
            return upload
        piece.seek(0)
        return _keep(upload, piece, offset, size)


def _copy(source: Source, piece: BinaryIO, room: int, checksum: tuple[str, bytes] | None) -> int:
    digest = None if checksum is None else hashlib.new(checksum[0], usedforsecurity=False)
    size = 0
    broken = False
    while not broken:
        try:
            data = source.read(_READ_SIZE)
        except OSError:
            broken = True
            continue
        if not data:
            break
        size += len(data)
        if size > room:
            raise TooLarge("the piece goes beyond Upload-Length")
        if digest is not None:
            digest.update(data)
        piece.write(data)
    if digest is not None and checksum is not None and digest.digest() != checksum[1]:
        raise ChecksumMismatch("the piece does not match its Upload-Checksum; send it again")
    return size


def _keep(upload: Upload, piece: BinaryIO, offset: int, size: int) -> Upload:
    if upload.pieces.count() >= MAX_PIECES:
        raise TooLarge(
            f"the upload came in more than {MAX_PIECES} pieces; begin a new one with larger pieces"
        )
    name = storage().save(f"syncreset/{upload.pk}/{offset:020d}", File(piece))
    with transaction.atomic():
        # Whoever moves the offset first owns it: a second request with the same offset changes no row.
        moved = Upload.objects.filter(pk=upload.pk, offset=offset).update(offset=offset + size)
        if moved:
            Piece.objects.create(upload=upload, offset=offset, size=size, name=name)
    current = Upload.objects.filter(pk=upload.pk).values_list("offset", flat=True).first()
    if current is None or not moved:
        storage().delete(name)
    if current is None:
        raise UploadGone("the upload was terminated meanwhile; begin a new one")
    upload.offset = current
    if not moved:
        raise OffsetConflict(current)
    return upload


def terminate(upload: Upload) -> None:
    """Remove an upload and its pieces."""
    names = list(upload.pieces.values_list("name", flat=True))
    upload.delete()
    for name in names:
        storage().delete(name)


def discard_pieces(upload: Upload) -> None:
    """Remove a snapshot's bytes for good. The upload stays, as the receipt of its recoveries."""
    names = list(upload.pieces.values_list("name", flat=True))
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(purged=now())
        upload.pieces.all().delete()
    for name in names:
        storage().delete(name)


def open_snapshot(upload: Upload) -> "PiecesReader":
    """The snapshot's bytes as one stream. Raises UploadGone where they have been purged.

    Reading raises SnapshotMissing where a file of them is not there.
    """
    if upload.purged is not None:
        raise UploadGone("the snapshot was purged: it was kept for SNAPSHOT_RETENTION after its recovery")
    return PiecesReader(list(upload.pieces.order_by("offset").values_list("name", flat=True)))


def snapshot_limits() -> Limits:
    """What the settings allow of a decompressed snapshot."""
    return Limits(
        decompressed=conf.get("SNAPSHOT_DECOMPRESSED_LIMIT"),
        line=conf.get("SNAPSHOT_LINE_LIMIT"),
        lines=conf.get("SNAPSHOT_LINES_LIMIT"),
    )


class PiecesReader:
    """Reads the files of an upload one after the other, with one open at a time."""

    def __init__(self, names: list[str]) -> None:
        self._pieces = self._read_pieces(names)
        self._rest = b""

    def __enter__(self) -> "PiecesReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pieces.close()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        while not self._rest:
            data = next(self._pieces, None)
            if data is None:
                return b""
            self._rest = data
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    @staticmethod
    def _read_pieces(names: list[str]) -> Generator[bytes, None, None]:
        for name in names:
            try:
                with storage().open(name, "rb") as piece:
                    while data := piece.read(_READ_SIZE):
                        yield data
            except FileNotFoundError as error:
                raise SnapshotMissing(name) from error


def storage() -> Storage:
    """The storage that keeps snapshots, by the setting ``STORAGE``."""
    return storages[conf.get("STORAGE")]
