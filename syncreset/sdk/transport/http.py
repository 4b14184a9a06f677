"""The driver that sends the engine's requests over HTTP, with httpx."""

import gzip
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import httpx

from ..errors import ProtocolViolation, ServerUnavailable
from .listening import Listening
from .messages import Exchange, Request, Response, retry_after, run

T = TypeVar("T")

#: How often, and for how many seconds in total, a request is repeated that the server put off (429, 503).
REPEATS, LONGEST_WAIT = 5, 60.0

#: A stream of events says something every ten seconds; one that is silent for longer than this is broken.
_LISTENING = httpx.Timeout(10.0, read=30.0)

#: Bodies smaller than this many bytes are not worth compressing.
WORTH_COMPRESSING = 1024


class HttpDriver:
    """Runs exchanges against one server. ``token`` is sent to that server alone.

    A token without a scheme is sent as DRF's ``Token …``; ``"Bearer …"`` is sent as it is.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        client: httpx.Client | None = None,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = httpx.URL(url if url.endswith("/") else url + "/")
        self._owned = client is None
        self._client = client
        self._timeout = timeout
        self._sleep = sleep
        self._headers = {"user-agent": "syncreset-python", **(headers or {})}
        if token is not None:
            self._headers["authorization"] = token if " " in token else f"Token {token}"

    def close(self) -> None:
        """Close the connections, unless the HTTP client was handed in."""
        if self._owned and self._client is not None:
            self._client.close()
            self._client = None

    def run(self, exchange: Exchange[T]) -> T:
        """Run to the end. Raises what the exchange raises, and ServerUnavailable where the network fails."""
        return run(exchange, self._send)

    def _send(self, request: Request) -> Response:
        if request.after:
            self._sleep(request.after)
        url, client = self._url(request.path), self._open()
        headers, body = self._compressed(request)
        waited = 0.0
        for left in reversed(range(REPEATS)):
            try:
                answer = client.request(request.method, url, headers=headers, content=body)
            except httpx.HTTPError as error:
                raise ServerUnavailable(f"{request.method} {url.path}: {error!r}") from error
            pause = _pause(answer)
            if pause is None or not left or waited + pause > LONGEST_WAIT:
                break
            self._sleep(pause)
            waited += pause
        return Response(
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=answer.content,
        )

    def listen(self) -> Listening:
        """Open the stream of events. Raises ServerUnavailable: ``status`` is None where there was no answer at all."""
        headers = self._headers | {"accept": "text/event-stream", "accept-encoding": "identity"}
        client = self._open()
        request = client.build_request("GET", self._url("events"), headers=headers, timeout=_LISTENING)
        try:
            answer = client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise ServerUnavailable(f"GET {request.url.path}: {error!r}") from error
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status_code != 200 or kind != "text/event-stream":
            answer.close()
            raise ServerUnavailable(
                f"the server answered {answer.status_code}, and no stream of events",
                status=answer.status_code,
                retry_after=retry_after(answer.headers),
            )
        return Listening(answer)

    def _open(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout)
        return self._client

    def _url(self, path: str) -> httpx.URL:
        try:
            url = self._root.join(path)
        except httpx.InvalidURL as error:
            raise ProtocolViolation(f"the server names a place that is none: {path!r}") from error
        if (url.scheme, url.host, url.port) != (self._root.scheme, self._root.host, self._root.port):
            raise ProtocolViolation(f"the server sends this replica to another server, {url.host}")
        return url

    def _compressed(self, request: Request) -> tuple[dict[str, str], bytes]:
        headers = self._headers | dict(request.headers)
        if len(request.body) < WORTH_COMPRESSING or request.headers.get("content-type") != "application/json":
            return headers, request.body
        return headers | {"content-encoding": "gzip"}, gzip.compress(request.body, compresslevel=4, mtime=0)


def _pause(answer: httpx.Response) -> float | None:
    """How many seconds the server asks to wait before repeating; None for an answer that stands."""
    if answer.status_code not in (429, 503):
        return None
    seconds = retry_after(answer.headers)
    return 1.0 if seconds is None else max(seconds, 0.1)
