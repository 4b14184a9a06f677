"""What each method of each path takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .shapes import COUNT, STATES, Schema, word


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method of one path takes and gives. ``problems`` are statuses, answered as problem+json."""

    summary: str
    request: str | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, bool] = field(default_factory=dict)
    status: int = 200
    response: str | None = None
    response_headers: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()


_BODY = (400, 413, 415, 426)
_TUS = {"Tus-Resumable": True}

#: By path as the URL patterns have it, and method.
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("", "get"): Operation(summary="What there is", response="Root", problems=(426,)),
    ("schema", "get"): Operation(summary="The schema of now", response="Schema"),
    ("schema/{schema_hash}", "get"): Operation(
        summary="A schema published at any time", response="Schema", problems=(404,)
    ),
    ("clients", "post"): Operation(
        summary="Make a replica known", request="Registration", status=201, response="Client", problems=_BODY
    ),
    ("pull", "post"): Operation(
        summary="The next page after a checkpoint, or the first of everything",
        request="PullRequest",
        response="Page",
        problems=(*_BODY, 409),
    ),
    ("push", "post"): Operation(
        summary="A client's changes, each with its own result",
        request="PushRequest",
        response="PushAnswer",
        problems=(*_BODY, 409),
    ),
    ("events", "get"): Operation(summary="A poke whenever it is worth pulling", response="text/event-stream"),
    ("resets/{reset_id}", "get"): Operation(summary="How far a reset is", response="Reset", problems=(404,)),
    ("resets/{reset_id}/snapshot", "post"): Operation(
        summary="Begin the upload of a snapshot",
        headers={**_TUS, "Upload-Length": True, "Upload-Metadata": True},
        status=201,
        response_headers=("Location", "Upload-Offset", "Upload-Expires"),
        problems=(400, 404, 410, 412, 413),
    ),
    ("resets/{reset_id}/snapshot", "options"): Operation(
        summary="What of tus is spoken here",
        status=204,
        response_headers=("Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
        problems=(404,),
    ),
    ("uploads/{upload_id}", "head"): Operation(
        summary="How much has arrived",
        headers=_TUS,
        response_headers=("Upload-Offset", "Upload-Length", "Upload-Expires", "Syncreset-Recovery"),
        problems=(404, 412),
    ),
    ("uploads/{upload_id}", "patch"): Operation(
        summary="The next piece",
        request="application/offset+octet-stream",
        headers={**_TUS, "Upload-Offset": True, "Upload-Checksum": False},
        status=204,
        response_headers=("Upload-Offset", "Upload-Expires", "Syncreset-Recovery"),
        problems=(400, 404, 409, 410, 412, 413, 415, 422, 460),
    ),
    ("uploads/{upload_id}", "delete"): Operation(
        summary="Give up an upload", headers=_TUS, status=204, problems=(404, 412)
    ),
    ("uploads/{upload_id}", "options"): Operation(
        summary="What of tus is spoken here",
        status=204,
        response_headers=("Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
        problems=(404,),
    ),
    ("recoveries/{recovery_id}", "get"): Operation(
        summary="Progress, totals and receipt of a recovery", response="Recovery", problems=(404,)
    ),
    ("recoveries/{recovery_id}/items", "get"): Operation(
        summary="The ledger of a recovery",
        query={"state": word(*STATES), "start": COUNT},
        response="Items",
        problems=(400, 404),
    ),
    ("items/{item_id}/resolve", "post"): Operation(
        summary="Decide a parked item", request="Decide", response="Item", problems=(*_BODY, 404, 409)
    ),
}
