"""Requests as bytes, for what no well-behaved JSON library would send, and the asserting of problems."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rest_framework.test import APIClient

from tests.support.device import PREFIX, Device


def as_json(value: Any) -> bytes:
    """ASCII JSON: a lone surrogate or NUL travels as its escape."""
    return json.dumps(value, ensure_ascii=True).encode("ascii")


def post_raw(
    api: APIClient, path: str, body: bytes, content_type: str = "application/json", **headers: str
) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.generic("POST", f"{PREFIX}{path}", body, content_type=content_type, headers=named)  # type: ignore[arg-type]


def problem_of(response: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document that an answer must be."""
    assert response.status_code == status, (response.status_code, response.content[:500])
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert {"type", "title", "detail"} <= problem.keys()
    return problem


def push_raw(device: Device, *changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Push changes in ASCII JSON, which must be answered with a result for each."""
    response = post_raw(device.api, "/push", as_json(device.body(*changes)))
    assert response.status_code == 200, (response.status_code, response.content[:500])
    answer = response.json()
    device.receipt = answer["receipt"]
    assert answer["acked"] == device.seq
    assert [result["seq"] for result in answer["results"]] == list(
        range(device.seq - len(changes) + 1, device.seq + 1)
    )
    results: list[dict[str, Any]] = answer["results"]
    return results


def create_upload(
    device: Device, reset: str, data: bytes, *, length: int | None = None, **metadata: str
) -> Any:
    """The answer to the creation of a tus upload for ``data``."""
    described = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "strategy": "by_base",
        "mode": "recover",
    } | metadata
    header = ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in described.items()
    )
    return device.api.post(
        f"{PREFIX}/resets/{reset}/snapshot",
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(data) if length is None else length),
            "Upload-Metadata": header,
        },
    )


def patch(device: Device, location: str, data: bytes, offset: int = 0, **headers: str) -> Any:
    """The answer to a piece of an upload."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return device.api.generic(
        "PATCH",
        location,
        data,  # type: ignore[arg-type]
        content_type="application/offset+octet-stream",
        headers={"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), **named},
    )
