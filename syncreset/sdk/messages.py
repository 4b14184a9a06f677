"""Requests, responses, and generators of them: the engine says what to ask, a driver asks it."""

import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from syncreset.protocol import dumps

from .errors import (
    ClientResetOrdered,
    ProblemReceived,
    ProtocolViolation,
    ReplicaError,
    ServerUnavailable,
    WrongUser,
)

__all__ = ["Exchange", "Request", "Response", "call", "check", "retry_after", "run"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to send. ``path`` is relative to the API's root, or absolute as the server named it.

    ``after`` is how long to wait before sending, in seconds.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Response:
    """What came back. Names of headers are in lower case; the body is decompressed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """The body as an object. Raises ProtocolViolation."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise ProtocolViolation(f"the server's answer ({self.status}) is not JSON") from error
        if not isinstance(value, dict):
            raise ProtocolViolation(f"the server's answer ({self.status}) is not a JSON object")
        return value


Exchange = Generator[Request, Response, T]


def run(exchange: Exchange[T], send: Callable[[Request], Response]) -> T:
    """Drive a generator to its end. An error of ``send`` is raised where the generator waits for the answer."""
    try:
        request = next(exchange)
        while True:
            try:
                response = send(request)
            except ReplicaError as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result


def call(
    method: str, path: str, body: Mapping[str, Any] | bytes | None = None, *, after: float = 0.0
) -> Exchange[dict[str, Any]]:
    """One JSON call, sent after so many seconds. Raises as ``check`` does."""
    headers = {"accept": "application/json, application/problem+json"}
    data = b""
    if body is not None:
        headers["content-type"] = "application/json"
        data = body if isinstance(body, bytes) else dumps(body).encode("ascii")
    response = yield Request(method=method, path=path, headers=headers, body=data, after=after)
    check(response)
    return response.json()


def check(response: Response) -> None:
    """Raise what an answer outside 2xx means.

    ClientResetOrdered for a 409 ``client_reset``, WrongUser for a 403 ``client_forbidden``, ProblemReceived for any
    other 4xx, ServerUnavailable for 429 and 5xx.
    """
    if 200 <= response.status < 300:
        return
    if response.status == 429 or response.status >= 500:
        raise ServerUnavailable(
            f"the server answered {response.status}", retry_after=retry_after(response.headers)
        )
    try:
        problem = response.json()
    except ProtocolViolation:
        problem = {"detail": response.body[:200].decode("utf-8", "replace")}
    if response.status == 409 and problem.get("code") == "client_reset":
        raise ClientResetOrdered(response.status, problem, retry_after=retry_after(response.headers))
    if response.status == 403 and problem.get("code") == "client_forbidden":
        raise WrongUser(response.status, problem)
    raise ProblemReceived(response.status, problem)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks to wait, as a number or a date; None where it says nothing usable."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
