"""Errors as ``application/problem+json`` (RFC 9457), each with a stable code and a sentence on what to do."""

import logging
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.urls import reverse
from rest_framework import exceptions
from rest_framework.response import Response

from ..clients.gate import ClientResetRequired, ServerOutdated, reset_problem, retry_after
from ..clients.quotas import QuotaExceeded
from ..clients.resets import ResetReason
from ..events.hub import EventsUnavailable, TooManyStreams
from ..protocol.errors import ProtocolError
from ..recovery.intake import BeingChecked
from ..recovery.uploads import OffsetConflict
from ..sync.receipts import ClientCopied

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: Seconds after which the processes of a deploy may have been replaced.
_DEPLOYING = 10

#: Seconds after which there may be room again: not before somebody has decided or purged something.
_QUOTA = 60 * 60

_TITLES = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid snapshot",
    426: "Upgrade required",
    429: "Too many requests",
    460: "Checksum mismatch",
    503: "Temporarily unavailable",
}


def problem_response(error: Exception) -> Response | None:
    """The problem that an exception is; None for one that is a fault of ours, which must be seen."""
    if isinstance(error, ClientResetRequired):
        return _reset_required(error)
    if isinstance(error, ClientCopied):
        own = {"client": str(error.client.pk), "checkpoint": error.checkpoint}
        return _problem(error.status, error.code, error.detail, members=own)
    if isinstance(error, ProtocolError):
        return _problem(error.status, error.code, error.detail, headers=_headers_of(error))
    if isinstance(error, RequestDataTooBig):
        return _problem(413, "too_large", "the request is larger than this server reads")
    if isinstance(error, BadRequest | SuspiciousOperation | MultiPartParserError):
        return _problem(400, "malformed", "the request is not one that can be read")
    if isinstance(error, Http404):
        return _problem(404, "not_found", "there is nothing here that you may see")
    if isinstance(error, PermissionDenied):
        return _problem(403, "forbidden", "you may not do this")
    if isinstance(error, OperationalError) and not str(error).startswith("no such"):
        logger.warning("a request met a busy database: %s", type(error.__cause__).__name__)
        return _problem(
            503, "busy", "the database is busy; try again in a moment", headers={"Retry-After": "1"}
        )
    if isinstance(error, exceptions.APIException):
        return _from_framework(error)
    return None


def _headers_of(error: ProtocolError) -> dict[str, str]:
    if isinstance(error, OffsetConflict):
        return {"Upload-Offset": str(error.offset)}
    if isinstance(error, BeingChecked):
        return {"Retry-After": "5"}
    if isinstance(error, QuotaExceeded):
        return {"Retry-After": str(_QUOTA)}
    if isinstance(error, ServerOutdated):
        return {"Retry-After": str(_DEPLOYING)}
    if isinstance(error, EventsUnavailable | TooManyStreams):
        return {"Retry-After": str(error.retry_after)}
    return {}


def _from_framework(error: exceptions.APIException) -> Response:
    headers: dict[str, str] = {}
    if (challenge := getattr(error, "auth_header", None)) is not None:
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.Throttled):
        headers["Retry-After"] = str(int(getattr(error, "wait", None) or 1) + 1)
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "invalid"
    return _problem(error.status_code, code, str(error.detail), headers=headers)


def _reset_required(error: ClientResetRequired) -> Response:
    members = reset_problem(error)
    members["recovery"]["upload"] = reverse("syncreset:snapshot", args=[error.reset.pk])
    detail = (
        "this client cannot continue from its checkpoint: back the store up, pull with this reset and checkpoint null, "
        "and upload the backup"
    )
    if error.reset.reason == ResetReason.SCHEMA_INCOMPATIBLE:
        detail = f"{error.reset.detail}: {detail}"
    headers = {"Retry-After": str(retry_after())}
    return _problem(409, "client_reset", detail, members=members, headers=headers)


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    members: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body = {
        "type": f"urn:syncreset:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        **(members or {}),
    }
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)
