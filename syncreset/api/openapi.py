"""The OpenAPI 3.1 document of the API: paths and methods from the code, the shapes of bodies described here.

``python -m syncreset.api.openapi`` writes it to docs/reference/openapi.json. A path or method that is not described
here, and a description of one that is not served, are errors.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.urls import URLPattern, get_resolver

#: Where the document is kept in the project's repository.
TARGET = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "openapi.json"

_METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
_CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")

Schema = dict[str, Any]


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


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _word(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_UUID: Schema = {"type": "string", "format": "uuid"}
_FLAG: Schema = {"type": "boolean"}
_TIME = _ref("Time")
_CLOCKS = _ref("Clocks")
_FIELDS: Schema = {
    "type": "object",
    "description": "Field names to values, by the protocol's section Values.",
    "additionalProperties": True,
}
_STATES = ("applied", "merged", "identical", "superseded", "parked", "rejected")

_SCHEMAS: Mapping[str, Schema] = {
    "Time": {"type": "integer", "description": "Microseconds since the Unix epoch."},
    "Clocks": {
        "type": "object",
        "description": "Field names to times; `*` stands for the row and for all others.",
        "additionalProperties": _TIME,
    },
    "Decide": _object(
        {
            "keep": {
                "oneOf": [
                    _word("client", "server"),
                    _FIELDS | {"description": "A value for each field that shall not be the server's."},
                ]
            }
        }
    ),
    "Root": _object(
        {
            "protocol": {"type": "integer"},
            "minimum_protocol": {"type": "integer"},
            "epoch": _TEXT,
            "schema": _TEXT,
            "server_time": _TIME,
            "limits": _object(dict.fromkeys(("changes", "page", "body", "snapshot"), _COUNT)),
            "retention": {**_COUNT, "description": "Seconds."},
        }
    ),
    "Schema": _object({"hash": _TEXT, "models": _array(_ref("Model"))}),
    "Model": _object(
        {
            "name": _TEXT,
            "primary_key": _TEXT,
            "primary_key_type": _word("UUID", "Integer", "Char"),
            "scope": _nullable("string"),
            "fields": _array(_ref("Field")),
        }
    ),
    "Field": _object(
        {"name": _TEXT, "type": _TEXT, "null": _FLAG},
        {
            "max_length": _COUNT,
            "max_digits": _COUNT,
            "decimal_places": _COUNT,
            "choices": _array(_array({}, minItems=2, maxItems=2)),
            "to": _TEXT,
            "read_only": _FLAG,
            "counter": _FLAG,
        },
    ),
    "Registration": _object({}, {"client": _UUID, "name": _TEXT, "platform": _TEXT, "schema": _TEXT}),
    "Client": _object({"client": _UUID, "scopes": _array(_TEXT), "server_time": _TIME}),
    "PullRequest": _object(
        {"client": _UUID, "schema": _TEXT, "checkpoint": _nullable("string")},
        {
            "limit": {"type": "integer", "minimum": 1},
            "pending": _COUNT,
            "reset": _nullable("string", format="uuid"),
        },
    ),
    "Page": _object(
        {
            "changes": _array(_ref("PulledChange")),
            "checkpoint": _TEXT,
            "more": _FLAG,
            "scopes": _array(_TEXT),
            "acked": _COUNT,
            "server_time": _TIME,
        }
    ),
    "PulledChange": {
        "oneOf": [
            _object({"model": _TEXT, "pk": _TEXT, "fields": _FIELDS, "updated": _TIME, "clocks": _CLOCKS}),
            _object({"model": _TEXT, "pk": _TEXT, "deleted": _TIME}),
            _object({"model": _TEXT, "pk": _TEXT, "removed": {"const": True}}),
        ]
    },
    "PushRequest": _object(
        {
            "client": _UUID,
            "schema": _TEXT,
            "checkpoint": _nullable("string"),
            "client_time": _TIME,
            "changes": _array(_ref("PushedChange")),
        }
    ),
    "PushedChange": _object(
        {
            "seq": {"type": "integer", "minimum": 1},
            "model": _TEXT,
            "pk": _TEXT,
            "op": _word("put", "delete"),
            "clocks": _CLOCKS,
        },
        {"fields": _FIELDS, "base": {"oneOf": [_CLOCKS, {"type": "null"}]}, "group": _nullable("string")},
    ),
    "PushAnswer": _object({"acked": _COUNT, "results": _array(_ref("Result")), "server_time": _TIME}),
    "Result": _object(
        {"seq": {"type": "integer", "minimum": 1}, "state": _word(*_STATES, "duplicate")},
        {
            "clocks": _CLOCKS,
            "updated": _TIME,
            "notes": _array(_ref("ChangeProblem")),
            "problem": _ref("ChangeProblem"),
            "item": _UUID,
            "row": _ref("Row"),
            "outcome": _word(*_STATES),
        },
    ),
    "Row": _object({"fields": _FIELDS, "updated": _TIME, "clocks": _CLOCKS}),
    "ChangeProblem": _object({"code": _TEXT, "detail": _TEXT}, {"field": _TEXT}),
    "Reset": _object(
        {
            "id": _UUID,
            "reason": _ref("Reason"),
            "client": _UUID,
            "created": _TIME,
            "recovery": _nullable("string", format="uuid"),
            "state": _word("ordered", "bootstrapped", "recovering", "done"),
        }
    ),
    "Reason": _word(
        "history_diverged", "checkpoint_expired", "schema_incompatible", "client_unknown", "admin_forced"
    ),
    "Recovery": _object(
        {
            "id": _UUID,
            "reset": _UUID,
            "state": _TEXT
            | {"description": "queued, merging, review, done, failed or undone; later servers may say more."},
            "strategy": _TEXT,
            "progress": _object({"done": _COUNT, "total": _COUNT}),
            "totals": {
                "type": "object",
                "propertyNames": {"enum": list(_STATES)},
                "additionalProperties": _COUNT,
            },
            "receipt": _object(
                {"sha256": _TEXT, "rows": _COUNT, "tombstones": _COUNT, "updates": _COUNT},
            ),
        },
        {"problem": _ref("ChangeProblem")},
    ),
    "Items": _object({"items": _array(_ref("Item")), "next": _nullable("integer")}),
    "Item": _object(
        {
            "id": _UUID,
            "model": _TEXT,
            "pk": _TEXT,
            "op": _word("put", "delete"),
            "state": _word(*_STATES),
            "fields": {"type": "object", "additionalProperties": _ref("Decision")},
        },
        {"problem": _ref("ChangeProblem")},
    ),
    "Decision": _object(
        {
            "client": {},
            "server": {},
            "base_clock": _nullable("integer"),
            "kept": _word("client", "server", "review", "function", "both"),
        },
        {"server_clock": _nullable("integer")},
    ),
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": _TEXT,
        }
    ),
    "ClientReset": {
        "allOf": [
            _ref("Problem"),
            _object(
                {
                    "code": {"const": "client_reset"},
                    "reason": _ref("Reason"),
                    "reset": _UUID,
                    "mode_allowed": _array(_TEXT),
                    "recovery": _object(
                        {"upload": _TEXT, "full": _FLAG, "max_bytes": _COUNT, "deadline": _TIME}
                    ),
                    "schema": _TEXT,
                }
            ),
        ]
    },
}

_BODY = (400, 413, 415, 426)
_TUS = {"Tus-Resumable": True}

#: By path as the URL patterns have it, and method.
_OPERATIONS: Mapping[tuple[str, str], Operation] = {
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
    ),
    ("uploads/{upload_id}", "head"): Operation(
        summary="How much has arrived",
        headers=_TUS,
        response_headers=("Upload-Offset", "Upload-Length", "Upload-Expires"),
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
    ),
    ("recoveries/{recovery_id}", "get"): Operation(
        summary="Progress, totals and receipt of a recovery", response="Recovery", problems=(404,)
    ),
    ("recoveries/{recovery_id}/items", "get"): Operation(
        summary="The ledger of a recovery",
        query={"state": _word(*_STATES), "start": _COUNT},
        response="Items",
        problems=(400, 404),
    ),
    ("items/{item_id}/resolve", "post"): Operation(
        summary="Decide a parked item", request="Decide", response="Item", problems=(*_BODY, 404, 409)
    ),
}

#: What any call may be answered with.
_ANYWHERE = (401, 403, 429, 503)


def document() -> dict[str, Any]:
    """The OpenAPI document. Raises LookupError where the code and the descriptions here do not agree."""
    paths: dict[str, dict[str, Any]] = {}
    served = list(operations())
    unknown = set(_OPERATIONS) - {(path, method) for path, method, _, _ in served}
    if unknown:
        raise LookupError(f"described here and not served: {sorted(unknown)}")
    for path, method, name, view in served:
        operation = _OPERATIONS.get((path, method))
        if operation is None:
            raise LookupError(f"{method.upper()} /{path} is served and not described in {__name__}")
        item = paths.setdefault(f"/{path}", {})
        if "parameters" not in item and "{" in path:
            item["parameters"] = [_path_parameter(found) for found in re.findall(r"{(\w+)}", path)]
        item[method] = _described(operation, f"{name}-{method}", view)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "syncreset",
            "version": "1",
            "description": "The wire protocol, version 1. docs/reference/protocol.md says what the shapes mean.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": "/sync/v1", "description": "Wherever the project includes syncreset.api.urls."}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(_SCHEMAS),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <key>`, or whatever else the project's REST_FRAMEWORK settings take.",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            },
        },
    }


def operations() -> Iterator[tuple[str, str, str, Any]]:
    """What is served: path without its leading slash, method in lower case, the pattern's name, the view's class."""
    # By name: the views can only be imported once Django is set up, which ``python -m`` does on its way.
    for pattern in get_resolver(f"{__package__}.urls").url_patterns:
        if not isinstance(pattern, URLPattern):
            raise TypeError(f"{pattern!r} is no single path")
        view: Any = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls")  # noqa: B009
        path = _CONVERTER.sub(r"{\1}", str(pattern.pattern))
        for method in _METHODS:
            handler = getattr(view, method, None)
            # REST framework answers OPTIONS everywhere by itself; what counts is what is written here.
            if handler is not None and handler.__module__.startswith(f"{__package__}."):
                yield path, method, str(pattern.name), view


def write(target: Path = TARGET) -> None:
    """Write the document as JSON."""
    target.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _path_parameter(name: str) -> Schema:
    schema = _TEXT if name == "schema_hash" else _UUID
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _described(operation: Operation, operation_id: str, view: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation_id,
        "summary": operation.summary,
        "description": " ".join((view.__doc__ or "").split()).replace("``", "`"),
    }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in operation.query.items()
    ] + [
        {"name": name, "in": "header", "required": required, "schema": _TEXT}
        for name, required in operation.headers.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.request)}
    described["responses"] = {str(operation.status): _answer(operation)} | {
        str(status): _problem(status, operation) for status in sorted({*operation.problems, *_ANYWHERE})
    }
    return described


def _content(name: str) -> dict[str, Any]:
    if "/" in name:
        return {
            name: {"schema": _TEXT if name.startswith("text/") else {"type": "string", "format": "binary"}}
        }
    return {"application/json": {"schema": _ref(name)}}


def _answer(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.response_headers:
        answer["headers"] = {name: {"schema": _TEXT} for name in operation.response_headers}
    if operation.response is not None:
        answer["content"] = _content(operation.response)
    return answer


def _problem(status: int, operation: Operation) -> dict[str, Any]:
    carries_checkpoint = operation.request in ("PullRequest", "PushRequest")
    schema = _ref("Problem")
    if status == 409 and carries_checkpoint:
        schema = {"anyOf": [_ref("ClientReset"), _ref("Problem")]}
    return {"description": "A problem.", "content": {"application/problem+json": {"schema": schema}}}


if __name__ == "__main__":
    if not settings.configured:
        # The document says nothing of any project: the apps that the views need are enough.
        settings.configure(
            INSTALLED_APPS=[
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "rest_framework",
                "syncreset",
            ],
            SECRET_KEY="none",  # noqa: S106
            USE_TZ=True,
        )
    django.setup()
    write()
