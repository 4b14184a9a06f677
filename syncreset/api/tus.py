"""The endpoints of tus 1.0: creation, and per upload its offset, its pieces and its end."""

import base64
import binascii
import uuid
from email.utils import formatdate
from typing import Any

from django.http import Http404, HttpRequest
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from .. import conf
from ..protocol.errors import Malformed, ProtocolError
from ..recovery.intake import finish_upload, recovery_of_same
from ..recovery.quotas import require_room_for_upload
from ..recovery.uploads import (
    SnapshotMissing,
    Upload,
    UploadGone,
    create_upload,
    parse_metadata,
    receive,
    require_size,
    terminate,
)
from .views import SyncView, own_reset, user_of

VERSION = "1.0.0"
CHECKSUMS = ("sha1", "sha256")


class TusView(SyncView):
    """What every answer of tus carries, and the version that every request must name."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            raise ProtocolError(f"Tus-Resumable must be {VERSION}", code="tus_version", status=412)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished.headers["Tus-Resumable"] = VERSION
        if finished.status_code == 412 or request.method == "OPTIONS":
            finished.headers["Tus-Version"] = VERSION
        finished.headers["Cache-Control"] = "no-store"
        return finished

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return Response(
            status=204,
            headers={
                "Tus-Extension": "creation,checksum,expiration,termination",
                "Tus-Max-Size": str(conf.get("SNAPSHOT_LIMIT")),
                "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            },
        )


class SnapshotView(TusView):
    """``POST /resets/{id}/snapshot``: begin the upload of a reset's snapshot."""

    def post(self, request: Request, reset_id: uuid.UUID) -> Response:
        reset = own_reset(request, reset_id)
        length = _natural(request.headers.get("Upload-Length"), "Upload-Length")
        metadata = parse_metadata(request.headers.get("Upload-Metadata", ""))
        require_size(length)
        require_room_for_upload(user_of(request), length)
        upload = create_upload(reset, length=length, metadata=metadata)
        location = reverse("syncreset:upload", args=[upload.pk])
        return Response(status=201, headers={"Location": location, "Upload-Offset": "0", **_expires(upload)})


class UploadView(TusView):
    """``HEAD``, ``PATCH`` and ``DELETE /uploads/{id}``, or ``POST`` with one of them in ``X-HTTP-Method-Override``."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        meant = request.headers.get("X-HTTP-Method-Override", "").strip().upper()
        if request.method == "POST" and meant in ("HEAD", "PATCH", "DELETE"):
            request.method = meant
        return super().dispatch(request, *args, **kwargs)

    def head(self, request: Request, upload_id: uuid.UUID) -> Response:
        upload = _own_upload(request, upload_id)
        recovery = recovery_of_same(upload) if upload.complete else None
        if recovery is None and upload.refused.startswith(SnapshotMissing.code):
            raise UploadGone("the storage has lost a part of the upload; begin a new one")
        return Response(
            status=200,
            headers={
                "Upload-Offset": str(upload.offset),
                "Upload-Length": str(upload.length),
                **({} if recovery is None else {"Syncreset-Recovery": str(recovery.pk)}),
                **_expires(upload),
            },
        )

    def patch(self, request: Request, upload_id: uuid.UUID) -> Response:
        upload = _own_upload(request, upload_id)
        if (
            request.headers.get("Content-Type", "").partition(";")[0].strip()
            != "application/offset+octet-stream"
        ):
            raise ProtocolError(
                "a piece is application/offset+octet-stream", code="unsupported_media_type", status=415
            )
        offset = _natural(request.headers.get("Upload-Offset"), "Upload-Offset")
        checksum = _checksum(request.headers.get("Upload-Checksum"))
        source: HttpRequest = request._request
        upload = receive(upload, source, offset=offset, checksum=checksum)
        headers = {"Upload-Offset": str(upload.offset), **_expires(upload)}
        if upload.complete:
            headers["Syncreset-Recovery"] = str(finish_upload(upload).pk)
        return Response(status=204, headers=headers)

    def delete(self, request: Request, upload_id: uuid.UUID) -> Response:
        upload = _own_upload(request, upload_id)
        if upload.recoveries.exists():
            raise ProtocolError(
                "the upload is complete and being recovered from", code="upload_complete", status=403
            )
        terminate(upload)
        return Response(status=204)


def _own_upload(request: Request, upload_id: uuid.UUID) -> Upload:
    upload = (
        Upload.objects.select_related("reset__client")
        .filter(pk=upload_id, reset__client__user=user_of(request))
        .first()
    )
    if upload is None:
        raise Http404
    return upload


def _natural(text: str | None, name: str) -> int:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Malformed(f"{name} is missing or not a number of bytes")
    return int(text)


def _checksum(header: str | None) -> tuple[str, bytes] | None:
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    if algorithm not in CHECKSUMS:
        raise Malformed(f"Upload-Checksum: the algorithms are {', '.join(CHECKSUMS)}")
    try:
        return algorithm, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("Upload-Checksum: the digest is not base64") from error


def _expires(upload: Upload) -> dict[str, str]:
    if upload.complete:
        return {}
    return {"Upload-Expires": formatdate(upload.expires / 1_000_000, usegmt=True)}
