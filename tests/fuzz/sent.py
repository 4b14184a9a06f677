"""Requests as they are sent: bytes and headers, told so that each can be sent again by hand."""

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from rest_framework.test import APIClient

from tests.support.device import PREFIX

#: More than this is not told of one body.
MOST = 20_000


@dataclass
class Sent:
    """One request, and once it was sent its answer, what it raised, and the seconds of processor it took."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer: bytes = b""
    answered: dict[str, str] = field(default_factory=dict)
    raised: str = ""
    seconds: float = 0.0

    def send(self, api: APIClient) -> "Sent":
        begun = time.process_time()
        response: Any = api.generic(
            self.method,
            self.path if self.path.startswith(PREFIX) else f"{PREFIX}/{self.path}",
            self.body,  # type: ignore[arg-type]
            content_type=self.content_type,
            headers=self.headers,
        )
        self.status, self.answered = response.status_code, dict(response.headers)
        self.answer = b"" if response.streaming else response.content
        self.seconds = time.process_time() - begun
        if getattr(response, "exc_info", None) is not None:
            self.raised = "".join(traceback.format_exception(*response.exc_info))
        return self

    def __str__(self) -> str:
        told = repr(self.body[:MOST]) + (f" … {len(self.body)} bytes" if len(self.body) > MOST else "")
        lines = [f"{self.method} {self.path} ({self.content_type})", f"  {self.headers}", f"  {told}"]
        lines.append(f"  -> {self.status} {self.answer[:2000]!r}")
        return "\n".join([*lines, self.raised] if self.raised else lines)
