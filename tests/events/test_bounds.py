"""Listening never starves syncing: what streams hold, how many there may be, and how they end."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.authtoken.models import Token

from demo_project import services
from syncreset.events.follower import Follower
from syncreset.events.hub import Hub, Listener
from tests.events.conftest import EarFactory, ServerFactory
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]

MANY = 40


def root(server: services.Service, user: User) -> httpx.Response:
    token, _ = Token.objects.get_or_create(user=user)
    headers = {"Authorization": f"Token {token.key}"}
    return httpx.get(f"{server.url}sync/v1/", headers=headers, timeout=60)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_many_streams_hold_neither_threads_nor_connections(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = asgi(None, SYNCRESET_TEST_EVENTS_PER_USER=str(MANY))
    user = user_factory(shelter)
    ears = [ear(server, user) for _ in range(MANY)]

    until(lambda: psutil.Process(server.pid).num_threads() < MANY / 2)
    if connection.vendor == "postgresql":
        until(lambda: sessions() < MANY / 2)
    assert root(server, user).status_code == 200
    Dog.objects.create(shelter=shelter, name="Rex")
    for listening in ears:
        listening.wait_for_pokes(1)


def sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        count: int = cursor.fetchone()[0]
        return count


def test_a_look_asks_the_database_as_much_for_many_listeners_as_for_one(shelter: Shelter) -> None:
    def queries_with(listeners: int) -> int:
        told: list[Any] = []
        follower = Follower(told.append, lambda follower: None)
        follower._look_once()
        with CaptureQueriesContext(connection) as captured:
            Dog.objects.create(shelter=shelter, name="Rex")
            writing = len(captured)
            follower._look_once()
        hub = Hub()
        found = [
            Listener(number, frozenset({f"shelters.shelter:{shelter.pk}"})) for number in range(listeners)
        ]
        for listener in found:
            hub._listeners.add(listener)
            hub._enter(listener)
        with CaptureQueriesContext(connection) as telling:
            hub._tell(told[-1])
        assert all(listener.wait(0) for listener in found)
        return len(captured) - writing + len(telling)

    assert queries_with(1000) == queries_with(1)


def test_streams_that_hold_threads_leave_some_for_syncing(
    wsgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = wsgi(threads=2)
    user = user_factory(shelter)

    ears = [ear(server, user) for _ in range(8)]

    assert [listening.status for listening in ears] == [200, *[503] * 7]
    refused = ears[1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    assert json.loads(refused.heard)["code"] == "events_unavailable"
    assert root(server, user).status_code == 200
    Dog.objects.create(shelter=shelter, name="Rex")
    ears[0].wait_for_pokes(1)


def test_a_server_with_one_thread_has_none_for_events(
    wsgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = wsgi(threads=1, worker="sync")
    user = user_factory(shelter)

    assert ear(server, user).status == 503
    assert root(server, user).status_code == 200


def test_a_user_has_a_few_streams_and_one_that_is_left_makes_room(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = asgi(None, SYNCRESET_TEST_EVENTS_PER_USER="2")
    user = user_factory(shelter)
    first, _, third = (ear(server, user) for _ in range(3))
    assert first.status == 200
    assert third.status == 429
    assert json.loads(third.heard)["code"] == "too_many_streams"
    assert int(third.headers["retry-after"]) > 0
    assert ear(server, user_factory(shelter)).status == 200, "another user has streams of their own"

    first.close()

    def has_room() -> bool:
        return ear(server, user).status == 200

    until(has_room)


def test_a_stream_ends_by_itself_and_is_for_users(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = asgi(None, SYNCRESET_TEST_EVENTS_SECONDS="1")

    nobody = ear(server, None)
    assert (nobody.status, json.loads(nobody.heard)["code"]) == (401, "not_authenticated")
    told = ear(server, user_factory(shelter)).read_to_end()

    assert b"retry: 2000" in told
    assert b"event" not in told


def test_clients_that_go_at_once_leave_nothing_behind(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = asgi(None, SYNCRESET_TEST_EVENTS_PER_USER="2")
    user = user_factory(shelter)
    token, _ = Token.objects.get_or_create(user=user)

    place = urlsplit(server.url)
    request = (
        f"GET /sync/v1/events HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Token {token.key}\r\n\r\n"
    )

    for _ in range(10):
        with socket.create_connection((place.hostname or "", place.port or 80), timeout=30) as left:
            left.sendall(request.encode())

    until(lambda: ear(server, user).status == 200)
