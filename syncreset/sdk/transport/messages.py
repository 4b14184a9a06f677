"""Requests, responses, and generators of them: the engine says what to ask, a driver asks it."""

import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ...protocol.strict_json import dumps
from ..errors import (
    ClientResetOrdered,
    ProblemReceived,
    ProtocolViolation,
    ReplicaError,
    ServerUnavailable,
    WrongUser,
)

T = TypeVar("T")

#: What the server says of itself; an answer of another kind is that of something on the way.
PROBLEM = "application/problem+json"

#: Statuses that pass by themselves, whoever sent them: a timeout, a request too early, too many of them.
PASSING = (408, 425, 429)


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

    @property
    def is_problem(self) -> bool:
        """Whether this is a problem of the server, by its kind: an answer to HEAD has no body."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return self.status >= 400 and kind == PROBLEM

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
    other 4xx in which the server says what is wrong. All else is ServerUnavailable: what a proxy or a hotel's login
    page answers says nothing of the server, whatever its status.
    """
    if 200 <= response.status < 300:
        return
    problem = _problem(response)
    if problem is None or response.status in PASSING or response.status >= 500:
        raise ServerUnavailable(
            f"the server answered {response.status}"
            if problem is not None or response.status >= 500
            else f"{response.status} was answered, and not by the server's sync API",
            status=response.status,
            retry_after=retry_after(response.headers),
        )
    if response.status == 409 and problem["code"] == "client_reset":
        member(problem, "reset", str)
        raise ClientResetOrdered(response.status, problem, retry_after=retry_after(response.headers))
    if response.status == 403 and problem["code"] == "client_forbidden":
        raise WrongUser(response.status, problem)
    raise ProblemReceived(response.status, problem)


def _problem(response: Response) -> dict[str, Any] | None:
    """The problem document of an answer, None where it is not one of the server's."""
    if not response.is_problem:
        return None
    try:
        problem = response.json()
    except ProtocolViolation:
        return None
    return problem if isinstance(problem.get("code"), str) else None


def member(answer: Any, name: str, kind: type[T], default: T | None = None) -> T:
    """A member of an answer. With a ``default`` it may be missing or null. Raises ProtocolViolation."""
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ProtocolViolation(f"the server's answer has no {name!r} as the protocol has it")
    return value


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
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
