"""The HTTP driver: what it sends, what it repeats, where it never sends anything."""

import gzip
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from syncreset.sdk import ProblemReceived, ProtocolViolation, Replica, ServerUnavailable
from syncreset.sdk.transport.http import HttpDriver
from syncreset.sdk.transport.messages import Exchange, Request, call
from tests.support.simulated_server import SimulatedServer

URL = "http://server.test/sync/v1/"


def driver(
    handler: Callable[[httpx.Request], httpx.Response],
    token: str = "secret",
    slept: list[float] | None = None,
) -> HttpDriver:
    client = httpx.Client(transport=httpx.MockTransport(handler))
    return HttpDriver(URL, token, client=client, sleep=(slept if slept is not None else []).append)


def test_a_whole_sync_runs_over_http(tmp_path: Path) -> None:
    server = SimulatedServer()
    server.put("farm.animal", "a1", name="Rex")
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        body = request.content
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        path = request.url.path.removeprefix("/sync/v1/")
        answer = server.answer(
            Request(method=request.method, path=path, headers=dict(request.headers), body=body)
        )
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    client = httpx.Client(transport=httpx.MockTransport(handler))
    with Replica(tmp_path / "field.db", URL, "secret", client=client) as replica:
        replica.sync()
        replica.update("farm.animal", "a1", name="x" * 3000)
        server.force_reset(replica.client_id)
        report = replica.sync()

    assert report.reset is not None
    assert report.reset.state == "recovered"
    assert server.fields("farm.animal")["a1"]["name"] == "x" * 3000
    assert {request.headers["authorization"] for request in seen} == {"Token secret"}


def test_large_bodies_are_compressed() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-encoding"] == "gzip"
        return httpx.Response(200, json={"length": len(json.loads(gzip.decompress(request.content))["text"])})

    assert driver(handler).run(call("POST", "push", {"text": "x" * 5000})) == {"length": 5000}


def test_a_token_with_a_scheme_is_sent_as_it_is() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"sent": request.headers["authorization"]})

    assert driver(handler, "Bearer abc").run(call("GET", "")) == {"sent": "Bearer abc"}


def test_a_request_put_off_is_repeated_after_the_time_asked_for() -> None:
    answers = iter(
        [httpx.Response(503, headers={"retry-after": "3"}), httpx.Response(200, json={"ok": True})]
    )
    slept: list[float] = []

    assert driver(lambda request: next(answers), slept=slept).run(call("GET", "")) == {"ok": True}
    assert slept == [3.0]


def test_repeating_is_bounded() -> None:
    slept: list[float] = []

    with pytest.raises(ServerUnavailable):
        driver(lambda request: httpx.Response(429, headers={"retry-after": "1"}), slept=slept).run(
            call("GET", "")
        )
    with pytest.raises(ServerUnavailable):
        driver(lambda request: httpx.Response(503, headers={"retry-after": "86400"}), slept=slept).run(
            call("GET", "")
        )

    assert slept == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("asked_for", "told"), [("86400", 86400.0), ("Wed, 01 Jan 2020 00:00:00 GMT", 0.0), ("soon", None)]
)
def test_the_app_is_told_when_the_server_wants_to_be_asked_again(asked_for: str, told: float | None) -> None:
    answer = httpx.Response(503, headers={"retry-after": asked_for})

    with pytest.raises(ServerUnavailable) as raised:
        driver(lambda request: answer).run(call("GET", ""))

    assert raised.value.retry_after == told


def test_a_time_to_come_again_may_be_a_date() -> None:
    answer = httpx.Response(503, headers={"retry-after": formatdate(time.time() + 7200, usegmt=True)})

    with pytest.raises(ServerUnavailable) as raised:
        driver(lambda request: answer).run(call("GET", ""))

    assert raised.value.retry_after is not None
    assert 7000 < raised.value.retry_after <= 7200


def test_a_failing_network_is_told_as_such() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with pytest.raises(ServerUnavailable, match="no route"):
        driver(handler).run(call("GET", ""))


def test_a_problem_is_raised_with_its_code() -> None:
    with pytest.raises(ProblemReceived) as raised:
        driver(
            lambda request: httpx.Response(
                403,
                headers={"content-type": "application/problem+json"},
                json={"code": "client_forbidden", "detail": "not yours"},
            )
        ).run(call("GET", ""))

    assert (raised.value.status, raised.value.code) == (403, "client_forbidden")


def test_an_answer_that_is_not_json_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        driver(lambda request: httpx.Response(200, text="<html>")).run(call("GET", ""))


@pytest.mark.parametrize(
    "path", ["http://elsewhere.test/uploads/1", "//elsewhere.test/uploads/1", "https://server.test/x"]
)
def test_the_token_is_never_sent_to_another_server(path: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("a request was sent")

    def exchange() -> Exchange[int]:
        response = yield Request(method="HEAD", path=path)
        return response.status

    with pytest.raises(ProtocolViolation, match="another server"):
        driver(handler).run(exchange())
