"""A client written against the protocol page alone, as somebody else would write one."""

import base64
import hashlib
import io
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework.test import APIClient

from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Header, Line
from syncreset.protocol.snapshot.write import write_snapshot

PREFIX = "/sync/v1"


def steps(*amounts: Mapping[str, Any], value: Any = None) -> dict[str, Any]:
    """The value of a counter or a set that is changed by steps: each a delta or elements, under an id of its own."""
    made = [{"id": str(uuid.uuid4()), **amount} for amount in amounts]
    return {"steps": made} if value is None else {"steps": made, "value": value}


def delta(amount: Any) -> dict[str, Any]:
    """The value of a counter that is changed by one step."""
    return steps({"delta": amount})


class Device:
    """Keeps what it pulled in a dictionary, and numbers its changes."""

    def __init__(self, api: APIClient, client: str | None = None) -> None:
        self.api = api
        self.client = client or str(uuid.uuid4())
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.told: list[dict[str, Any]] = []
        self.checkpoint: str | None = None
        self.seq = 0
        self.receipt = ""
        self.schema = self.get("/")["schema"]

    def get(self, path: str) -> Any:
        response = self.api.get(f"{PREFIX}{path}")
        assert response.status_code == 200, response.content
        return response.json()

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        response = self.api.post(f"{PREFIX}{path}", body)
        assert response.status_code == status, (response.status_code, response.content)
        return response.json()

    def register(self) -> "Device":
        self.post("/clients", {"client": self.client, "name": "test", "schema": self.schema}, 201)
        return self

    def pull(self, status: int = 200, limit: int = 1000, **more: Any) -> Any:
        """Pull to the end, or one answer that is not 200."""
        told = []
        while True:
            body = {
                "client": self.client,
                "schema": self.schema,
                "checkpoint": self.checkpoint,
                "receipt": self.receipt,
                "limit": limit,
                **more,
            }
            page = self.post("/pull", body, status)
            if status != 200:
                return page
            told += page["changes"]
            self.checkpoint = page["checkpoint"]
            self.receipt = page.get("receipt", self.receipt)
            if not page["more"]:
                break
        for change in told:
            key = (change["model"], change["pk"])
            if "fields" in change:
                self.rows[key] = change
            else:
                self.rows.pop(key, None)
        self.told = told
        return page

    def body(self, *changes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        numbered = []
        for change in changes:
            self.seq += 1
            numbered.append({"seq": self.seq, **change})
        return {
            "client": self.client,
            "schema": self.schema,
            "checkpoint": self.checkpoint,
            "receipt": self.receipt,
            "client_time": now(),
            "changes": numbered,
            **more,
        }

    def push(self, *changes: Mapping[str, Any], status: int = 200, **more: Any) -> Any:
        return self.send(self.body(*changes, **more), status)

    def send(self, body: Mapping[str, Any], status: int = 200) -> Any:
        """Push a body, be it for the first time or again. Returns its results, or the problem."""
        answer = self.post("/push", body, status)
        if status != 200:
            return answer
        self.receipt = answer["receipt"]
        return answer["results"]

    def put(self, model: str, pk: str, fields: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """A change of a row this device holds, with the bases it knows."""
        clocks = self.rows[model, pk]["clocks"]
        return {
            "model": model,
            "pk": pk,
            "op": "put",
            "fields": dict(fields),
            "clocks": dict.fromkeys(fields, now()),
            "base": {name: clocks.get(name, clocks["*"]) for name in fields},
            **more,
        }

    def create(
        self, model: str, fields: Mapping[str, Any], pk: str | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "model": model,
            "pk": pk or str(uuid.uuid4()),
            "op": "put",
            "fields": dict(fields),
            "clocks": {"*": now()},
            "base": None,
            **more,
        }

    def delete(self, model: str, pk: str, **more: Any) -> dict[str, Any]:
        return {
            "model": model,
            "pk": pk,
            "op": "delete",
            "clocks": {"*": now()},
            "base": {"*": self.rows[model, pk]["updated"]},
            **more,
        }

    def snapshot(self, reset: str, lines: Iterable[Line], **header: Any) -> bytes:
        target = io.BytesIO()
        described = {
            "client": self.client,
            "reset": reset,
            "schema": self.schema,
            "checkpoint": self.checkpoint,
            "strategy": "by_base",
            "created": now(),
            "client_time": now(),
            **header,
        }
        write_snapshot(target, Header(**described), lines)
        return target.getvalue()

    def upload(self, reset: str, data: bytes, *, status: int = 204) -> Any:
        """Create an upload and send it in one piece. Returns the recovery's id, or the problem."""
        metadata = ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}"
            for key, value in {"sha256": hashlib.sha256(data).hexdigest(), "mode": "recover"}.items()
        )
        created = self.api.post(
            f"{PREFIX}/resets/{reset}/snapshot",
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), "Upload-Metadata": metadata},
        )
        assert created.status_code == 201, created.content
        sent = self.api.generic(
            "PATCH",
            created["Location"],
            data,  # type: ignore[arg-type]
            content_type="application/offset+octet-stream",
            headers={"Tus-Resumable": "1.0.0", "Upload-Offset": "0"},
        )
        assert sent.status_code == status, (sent.status_code, sent.content)
        return sent["Syncreset-Recovery"] if status == 204 else sent.json()
