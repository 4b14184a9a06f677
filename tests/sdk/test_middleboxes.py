"""What stands between a device and its server: hotels' login pages, proxies, gateways. They refuse nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from syncreset.sdk import (
    Mode,
    ProblemReceived,
    ProtocolViolation,
    Replica,
    Request,
    Response,
    ServerUnavailable,
)
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import Fleet, same_as_server, sync
from tests.support.simulated_server import SimulatedServer, refusal

HTML = b"<html><body>Welcome to the hotel</body></html>"

PLACES: dict[str, Callable[[Request], bool]] = {
    "the reset": lambda request: request.method == "GET" and "resets/" in request.path,
    "the upload's making": lambda request: request.method == "POST" and request.path.endswith("/snapshot"),
    "the upload's offset": lambda request: request.method == "HEAD",
    "a piece": lambda request: request.method == "PATCH",
    "the recovery": lambda request: request.path.startswith("recoveries/"),
}


def page(status: int, **headers: str) -> Response:
    return Response(status=status, headers={"content-type": "text/html", **headers}, body=HTML)


def gateway(status: int, kind: str = "application/json", **members: Any) -> Response:
    return Response(status=status, headers={"content-type": kind}, body=json.dumps(members).encode())


STRANGERS = {
    "login page": page(302, location="http://hotel.test/login"),
    "not found": page(404),
    "gone": page(410),
    "proxy's login": page(407),
    "too large": page(413),
    "gateway": gateway(403, message="Forbidden"),
    "gateway with a code": gateway(422, code="invalid_snapshot"),
    "another API's problem": gateway(400, "application/problem+json", title="Bad Request"),
    "timeout": refusal(408, "timeout"),
    "too early": refusal(425, "too_early"),
}


def instead(
    server: SimulatedServer, place: Callable[[Request], bool], stranger: Response
) -> Callable[[Request], Response]:
    """Answers as the server does, but at one place as somebody else."""
    return lambda request: stranger if place(request) else server.answer(request)


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_strangers_answer_is_no_refusal_and_discards_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None, place: str, stranger: str
) -> None:
    replica = fleet.synced(mode="recover_or_discard")
    work_offline(replica)
    server.force_reset(replica.client_id)

    with pytest.raises(ServerUnavailable) as raised:
        sync(replica, instead(server, PLACES[place], STRANGERS[stranger]))
    state, states = replica.reset_state(), [backup.state for backup in replica.backups()]
    report = fleet.sync(replica)

    assert raised.value.status == STRANGERS[stranger].status
    assert states == ["kept"]
    assert state is not None
    assert (state.state, state.problem) in (("unfinished", None), ("waiting", None))
    assert report.reset is not None
    assert report.reset.state == "recovered"
    assert_the_work_arrived(server)
    assert same_as_server(replica, server)


@pytest.mark.parametrize("mode", ["recover", "recover_or_discard"])
def test_a_token_that_has_expired_is_told_and_discards_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None, mode: Mode
) -> None:
    replica = fleet.synced(mode=mode)
    work_offline(replica)
    server.force_reset(replica.client_id)

    with pytest.raises(ProblemReceived, match="not_authenticated"):
        sync(replica, instead(server, PLACES["a piece"], refusal(401, "not_authenticated")))
    assert [backup.state for backup in replica.backups()] == ["kept"]


def test_what_the_server_refuses_without_a_body_is_asked_for_in_words(
    server: SimulatedServer, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    asked: list[str] = []

    def answer(request: Request) -> Response:
        if request.method == "HEAD":
            asked.append(request.method)
            return Response(status=401, headers={"content-type": "application/problem+json"})
        if asked:
            return refusal(401, "not_authenticated")
        return server.answer(request)

    with pytest.raises(ProblemReceived, match="not_authenticated"):
        sync(replica, answer)

    assert [backup.state for backup in replica.backups()] == ["kept"]


OTHERS: dict[str, Callable[[Request], bool]] = {
    "the greeting": lambda request: request.path == "",
    "the schema": lambda request: request.path == "schema",
    "the client": lambda request: request.path == "clients",
    "a pull": lambda request: request.path == "pull",
    "a push": lambda request: request.path == "push",
}

JUNK = {
    "a page": HTML,
    "nothing": b"",
    "a list": b"[]",
    "an empty object": b"{}",
    "another": b'{"error": "login"}',
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("place", [*PLACES, *OTHERS])
def test_a_success_that_the_protocol_does_not_have_is_a_violation_and_loses_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None, place: str, junk: str
) -> None:
    replica = fleet.open()
    if place not in ("the schema", "the client"):
        fleet.sync(replica)
        work_offline(replica)
    if place in PLACES:
        server.force_reset(replica.client_id)

    with pytest.raises(ProtocolViolation):
        sync(replica, instead(server, (PLACES | OTHERS)[place], Response(status=200, body=JUNK[junk])))
    fleet.sync(replica)

    assert same_as_server(replica, server)
    if place not in ("the schema", "the client"):
        assert_the_work_arrived(server)


PUT = {"model": "farm.animal", "pk": "a1", "fields": {}, "updated": 1, "clocks": {}}


@pytest.mark.parametrize(
    "change",
    [
        7,
        {},
        {"model": "farm.animal", "pk": 7, "removed": True},
        {"model": "farm.animal", "pk": "a1", "deleted": "yes"},
        PUT | {"fields": None},
        PUT | {"updated": True},
        PUT | {"clocks": {"*": "1"}},
    ],
)
def test_a_change_of_another_shape_is_not_even_kept_for_later(
    server: SimulatedServer, fleet: Fleet, replica: Replica, change: Any
) -> None:
    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "pull":
            return gateway(200, **(response.json() | {"changes": [change]}))
        return response

    with pytest.raises(ProtocolViolation):
        sync(replica, answer)
    fleet.sync(replica)

    assert same_as_server(replica, server)


def test_a_proxy_that_takes_less_than_the_server_gets_smaller_pushes(
    server: SimulatedServer, replica: Replica
) -> None:
    for number in range(8):
        replica.create("farm.animal", pk=f"new-{number}", name="x" * 40)

    def proxy(request: Request) -> Response:
        return page(413) if len(request.body) > 1000 else server.answer(request)

    report = sync(replica, proxy)

    assert report.results == {"applied": 8}
    assert same_as_server(replica, server)


def test_a_proxy_that_takes_less_than_the_server_gets_smaller_pieces(
    server: SimulatedServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.upload.SMALLEST", 50)
    work_offline(replica)
    server.force_reset(replica.client_id)

    def proxy(request: Request) -> Response:
        if request.method == "PATCH" and len(request.body) > 150:
            return page(413)
        return server.answer(request)

    sync(replica, proxy)

    sent = [len(request.body) for request in server.requests if request.method == "PATCH"]
    assert len(sent) > 1
    assert max(sent) <= 150
    assert_the_work_arrived(server)


def test_a_change_that_a_proxy_does_not_let_through_is_kept(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", name="x" * 40)

    with pytest.raises(ServerUnavailable, match="413"):
        sync(replica, instead(server, OTHERS["a push"], page(413)))
    assert replica.pending() == 1
    fleet.sync(replica)

    assert server.fields("farm.animal")["a1"]["name"] == "x" * 40


def too_large(server: SimulatedServer) -> Callable[[Request], Response]:
    """Answers as a server that reads no request with a certain change in it."""

    def answer(request: Request) -> Response:
        if request.path == "push" and b"poison" in request.body:
            server.requests.append(request)
            return refusal(413, "too_large")
        return server.answer(request)

    return answer


def test_a_change_too_large_for_the_server_does_not_keep_a_reset_from_beginning(
    server: SimulatedServer, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", tags="poison")
    server.force_reset(replica.client_id)

    report = sync(replica, too_large(server))

    assert report.reset is not None
    assert report.reset.state == "recovered"
    assert same_as_server(replica, server)


def test_a_change_too_large_for_the_server_is_tried_and_told_once(
    server: SimulatedServer, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", tags="poison")

    first = sync(replica, too_large(server))
    replica.acknowledge(*replica.unresolved())
    sent = len(server.requests)
    second = sync(replica, too_large(server))

    assert (first.results, first.unresolved) == ({"rejected": 1}, 1)
    assert (second.results, second.unresolved) == ({}, 0)
    assert not any(b"poison" in request.body for request in server.requests[sent:])
    assert same_as_server(replica, server)


# -- links that cut long messages off ---------------------------------------------------------------------------------


def cutting(server: SimulatedServer, *, up: int = 10**9, down: int = 10**9) -> Callable[[Request], Response]:
    """A link that ends a connection after so many bytes."""

    def answer(request: Request) -> Response:
        if len(request.body or b"") > up:
            raise ServerUnavailable("the connection was closed")
        response = server.answer(request)
        if len(response.body) > down:
            raise ServerUnavailable("the connection was closed")
        return response

    return answer


def sync_until_it_ends(replica: Replica, answer: Callable[[Request], Response], most: int) -> int:
    """How many syncs it took."""
    for number in range(1, most + 1):
        try:
            sync(replica, answer)
        except ServerUnavailable:
            continue
        return number
    raise AssertionError(f"{most} syncs did not get through")


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_link_that_cuts_long_messages_off_is_got_through(
    server: SimulatedServer, fleet: Fleet, way: str
) -> None:
    for number in range(300):
        server.put("farm.animal", f"s{number}", name="x" * 50)
    replica = fleet.open()
    if way == "up":
        fleet.sync(replica)
        for number in range(300):
            replica.create("farm.animal", pk=f"d{number}", name="x" * 50)

    sync_until_it_ends(replica, cutting(server, **{way: 8000}), most=10)

    assert same_as_server(replica, server)


def test_a_link_that_is_good_again_carries_more_again(server: SimulatedServer, fleet: Fleet) -> None:
    for number in range(200):
        server.put("farm.animal", f"s{number}", name="x" * 50)
    replica = fleet.open()
    sync_until_it_ends(replica, cutting(server, down=8000), most=10)
    for number in range(8):
        server.put("farm.animal", f"s{number}", name="y")
        fleet.sync(replica)

    server.requests.clear()
    fleet.sync(replica)

    asked = [json.loads(request.body) for request in server.requests if request.path == "pull"]
    assert [(body["limit"], body["max_bytes"]) for body in asked] == [(1000, 4 * 1024**2)]


def test_pages_are_smaller_in_bytes_after_a_lost_answer_and_larger_after_good_ones(
    server: SimulatedServer, fleet: Fleet
) -> None:
    for number in range(9):
        server.put("farm.animal", f"s{number}", name="x" * 20_000)
    replica = fleet.open()

    def asked() -> list[int]:
        bodies = [json.loads(request.body) for request in server.requests if request.path == "pull"]
        server.requests.clear()
        return [body["max_bytes"] for body in bodies]

    sync_until_it_ends(replica, cutting(server, down=50_000), most=10)
    smaller = asked()
    server.put("farm.animal", "s1", name="y")
    fleet.sync(replica)
    larger = asked()

    assert smaller[:7] == [2**22 >> number for number in range(7)]
    assert set(smaller[7:]) == {2**15}
    assert larger == [2**16]
    assert same_as_server(replica, server)


def test_a_link_that_carries_nothing_is_not_asked_for_ever_less(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "s1", name="x")
    replica = fleet.open()

    for _ in range(12):
        with pytest.raises(ServerUnavailable):
            sync(
                replica, lambda request: cutting(server, down=0 if request.path == "pull" else 10**9)(request)
            )

    assert json.loads(server.requests[-1].body)["max_bytes"] == 32 * 1024


def test_no_more_bytes_are_asked_for_than_the_server_allows(server: SimulatedServer, fleet: Fleet) -> None:
    server.page_bytes = 20_000
    for number in range(9):
        server.put("farm.animal", f"s{number}", name="x" * 5_000)
    replica = fleet.synced()

    bodies = [json.loads(request.body) for request in server.requests if request.path == "pull"]
    assert {body["max_bytes"] for body in bodies} == {20_000}
    assert len(bodies) == 3
    assert same_as_server(replica, server)


def test_what_the_link_carries_is_known_after_a_reset(server: SimulatedServer, fleet: Fleet) -> None:
    for number in range(200):
        server.put("farm.animal", f"s{number}", name="x" * 50)
    replica = fleet.open()
    sync_until_it_ends(replica, cutting(server, down=8000), most=10)

    server.force_reset(replica.client_id)

    assert sync_until_it_ends(replica, cutting(server, down=8000), most=3) <= 3
