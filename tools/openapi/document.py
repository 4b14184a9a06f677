"""The document: paths and methods from the code, the shapes of bodies from the descriptions beside this file.

A path or method that is not described here, and a description of one that is not served, are errors.
"""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver

from .operations import OPERATIONS, Operation
from .shapes import SCHEMAS, TEXT, UUID, Schema, ref

_METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
_CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")

#: What any call may be answered with.
_ANYWHERE = (401, 403, 429, 503)


def document() -> dict[str, Any]:
    """The OpenAPI document. Raises LookupError where the code and the descriptions here do not agree."""
    paths: dict[str, dict[str, Any]] = {}
    served = list(operations())
    unknown = set(OPERATIONS) - {(path, method) for path, method, _, _ in served}
    if unknown:
        raise LookupError(f"described here and not served: {sorted(unknown)}")
    for path, method, name, view in served:
        operation = OPERATIONS.get((path, method))
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
            "schemas": dict(SCHEMAS),
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
    for pattern in get_resolver("syncreset.api.urls").url_patterns:
        if not isinstance(pattern, URLPattern):
            raise TypeError(f"{pattern!r} is no single path")
        view: Any = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls")  # noqa: B009
        path = _CONVERTER.sub(r"{\1}", str(pattern.pattern))
        for method in _METHODS:
            handler = getattr(view, method, None)
            # REST framework answers OPTIONS everywhere by itself; what counts is what is written here.
            if handler is not None and handler.__module__.startswith("syncreset.api."):
                yield path, method, str(pattern.name), view


def _path_parameter(name: str) -> Schema:
    schema = TEXT if name == "schema_hash" else UUID
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
        {"name": name, "in": "header", "required": required, "schema": TEXT}
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
            name: {"schema": TEXT if name.startswith("text/") else {"type": "string", "format": "binary"}}
        }
    return {"application/json": {"schema": ref(name)}}


def _answer(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.response_headers:
        answer["headers"] = {name: {"schema": TEXT} for name in operation.response_headers}
    if operation.response is not None:
        answer["content"] = _content(operation.response)
    return answer


def _problem(status: int, operation: Operation) -> dict[str, Any]:
    carries_checkpoint = operation.request in ("PullRequest", "PushRequest")
    schema = ref("Problem")
    if status == 409 and carries_checkpoint:
        schema = {"anyOf": [ref("ClientReset"), ref("Problem")]}
    return {"description": "A problem.", "content": {"application/problem+json": {"schema": schema}}}
