"""Replicas of one simulated server, and a reaper that kills them between any two steps."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from syncreset.sdk import Replica, ServerUnavailable, SyncReport, engine
from syncreset.sdk.reset import files
from syncreset.sdk.store.store import Store
from syncreset.sdk.transport.messages import Request, Response, run
from tests.support.simulated_server import SimulatedServer

URL = "http://server.test/sync/v1/"


class Killed(BaseException):
    """The process ends here."""


class Fleet:
    """Makes replicas by name and closes them in the end. Opening a name again closes what was open."""

    def __init__(self, server: SimulatedServer, directory: Path) -> None:
        self.server, self.directory = server, directory
        self._open: dict[str, Replica] = {}

    def open(self, name: str = "field", **options: Any) -> Replica:
        self.shut(name)
        self._open[name] = Replica(self.directory / f"{name}.db", URL, "token", **options)
        return self._open[name]

    def synced(self, name: str = "field", **options: Any) -> Replica:
        """A replica that has bootstrapped."""
        replica = self.open(name, **options)
        self.sync(replica)
        return replica

    def sync(self, replica: Replica, **options: Any) -> SyncReport:
        return sync(replica, self.server.answer, **options)

    def shut(self, name: str) -> None:
        if name in self._open:
            self._open.pop(name).close()

    def close(self) -> None:
        for name in list(self._open):
            self.shut(name)


def sync(replica: Replica, answer: Callable[[Request], Response], *, patience: float = 5.0) -> SyncReport:
    """One sync, with the requests answered by a function."""
    device = replica._device
    with device.alone():
        return run(engine.sync(device, patience=patience), answer)


class Reaper:
    """Kills at the ``n``-th moment: before or after a request, a file operation or, if ``commits``, a commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, commits: bool = True) -> None:
        self.moments = 0
        self.due: int | None = None
        for name in ("move", "move_away", "remove"):
            monkeypatch.setattr(files, name, self._around(getattr(files, name)))
        if commits:
            monkeypatch.setattr(Store, "transaction", self._around_commit(Store.transaction))

    def arm(self, due: int | None) -> None:
        self.moments, self.due = 0, due

    def tick(self) -> None:
        self.moments += 1
        if self.moments == self.due:
            raise Killed

    def answering(self, answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        return self._around(answer)

    def _around(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            self.tick()
            result = operation(*arguments)
            self.tick()
            return result

        return watched

    def _around_commit(self, original: Callable[[Store], Any]) -> Callable[[Store], Any]:
        @contextmanager
        def watched(store: Store) -> Iterator[None]:
            with original(store):
                yield
                self.tick()
            self.tick()

        return watched


def unreliable(
    answer: Callable[[Request], Response], *, lost: Callable[[int], bool]
) -> Callable[[Request], Response]:
    """Lose the answers (not the requests) whose number ``lost`` says."""
    numbers = iter(range(1_000_000))

    def answering(request: Request) -> Response:
        response = answer(request)
        if lost(next(numbers)):
            raise ServerUnavailable("the answer was lost")
        return response

    return answering


class Answering(Protocol):
    def answer(self, request: Request, /) -> Response: ...


def online(server: Answering) -> httpx.Client:
    """An HTTP client that reaches a server of these tests."""

    def handler(request: httpx.Request) -> httpx.Response:
        headers, body = dict(request.headers), request.content
        if headers.pop("content-encoding", None) == "gzip":
            body = gzip.decompress(body)
            del headers["content-length"]
        path = request.url.raw_path.decode("ascii").removeprefix("/sync/v1/")
        answer = server.answer(Request(method=request.method, path=path, headers=headers, body=body))
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    return httpx.Client(transport=httpx.MockTransport(handler))


def offline() -> httpx.Client:
    """An HTTP client that reaches nobody."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    return httpx.Client(transport=httpx.MockTransport(handler))


def same_as_server(replica: Replica, server: SimulatedServer) -> bool:
    """Whether the replica holds exactly the server's rows, with nothing left to send."""
    return replica.pending() == 0 and all(
        {
            row["id"]: {name: value for name, value in row.items() if name != "id"}
            for row in replica.all(model)
        }
        == server.fields(model)
        for model in ("farm.barn", "farm.animal")
    )
