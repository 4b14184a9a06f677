"""The thread that follows the feed, in the test's own process: what wakes it, and what its listeners may come to."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis
from rest_framework.test import APIClient

from demo_project import services
from syncreset.clients.scopes import scopes_of
from syncreset.events import follower, streams
from syncreset.events.hub import Hub, Listener
from syncreset.events.hub import hub as hub_of_process
from syncreset.events.look import MOST_SCOPES, Seen, newest, touched_since
from syncreset.events.streams import HELLO, POKE, STILL_HERE, blocking_stream
from syncreset.events.written import announce
from syncreset.feed.checkpoints import Checkpoint
from tests.shelters.models import Dog, Membership, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory

#: What servers with threads say; the test client does not.
THREADED: dict[str, Any] = {"wsgi.multithread": True}

pytestmark = pytest.mark.django_db(transaction=True)


class Following:
    """Hubs whose threads have ended when the test has."""

    def __init__(self) -> None:
        self._left: list[tuple[Hub, Listener, follower.Follower]] = []

    def listen(self, *shelters: Shelter) -> tuple[Hub, Listener]:
        hub = Hub()
        scopes = frozenset(f"shelters.shelter:{shelter.pk}" for shelter in shelters)
        listener = Listener("somebody", scopes)
        hub.join(listener, of_user=1)
        assert hub._follower is not None
        self._left.append((hub, listener, hub._follower))
        return hub, listener

    def end(self) -> None:
        for hub, listener, thread in self._left:
            hub.leave(listener)
            assert len(hub) == 0
            announce()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def following() -> Iterator[Following]:
    made = Following()
    yield made
    made.end()


def test_a_push_is_announced_to_whoever_looks(
    following: Following,
    redis_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    device: DeviceFactory,
    shelter: Shelter,
) -> None:
    """Nobody looks by the clock here: only the announcement can wake the thread."""
    with Redis.from_url(redis_url) as redis:
        # Whoever was elected in a test before has not given it back if it was killed.
        redis.flushall()
    settings.SYNCRESET = {**settings.SYNCRESET, "EVENTS_URL": redis_url}
    monkeypatch.setattr(follower, "PAUSE", 3600.0)
    phone = device(shelter)
    phone.pull()
    _, listener = following.listen(shelter)
    # The thread looks once by itself; the push may come before or after it.
    for number in range(2):
        phone.push(phone.create(DOG, dog_fields(shelter, name=f"Dog {number}")))
        assert listener.wait(30)


def test_a_push_does_not_need_a_redis_that_answers(
    settings: Settings, caplog: pytest.LogCaptureFixture, device: DeviceFactory, shelter: Shelter
) -> None:
    settings.SYNCRESET = {
        **settings.SYNCRESET,
        "EVENTS_URL": f"redis://127.0.0.1:{services.free_port()}/0",
    }
    phone = device(shelter)
    phone.pull()

    phone.push(phone.create(DOG, dog_fields(shelter, name="Rex")))
    phone.push(phone.create(DOG, dog_fields(shelter, name="Bo")))

    assert Dog.objects.count() == 2
    assert caplog.text.count("Redis cannot be reached") == 1, "it is left alone for a while"


def test_a_restored_database_pokes_everybody(shelter: Shelter) -> None:
    seen = newest()
    Dog.objects.create(shelter=shelter, name="Rex")
    found, touched = touched_since(seen)
    assert (found.number, touched) == (seen.number + 1, frozenset({f"shelters.shelter:{shelter.pk}"}))

    Checkpoint.objects.filter(number=found.number).delete()

    assert touched_since(found) == (seen, None)
    assert touched_since(seen) == (seen, frozenset())


def test_a_restored_database_that_has_numbered_anew_pokes_everybody(shelter: Shelter) -> None:
    before = newest()
    Dog.objects.create(shelter=shelter, name="Lost")
    lost = newest()
    Checkpoint.objects.filter(number=lost.number).delete()
    Dog.objects.create(shelter=shelter, name="Rex")

    found, touched = touched_since(lost)

    assert (found.number, touched) == (lost.number, None)
    assert touched_since(before)[1] == frozenset({f"shelters.shelter:{shelter.pk}"})


def test_more_scopes_than_can_be_named_are_all(monkeypatch: pytest.MonkeyPatch, shelter: Shelter) -> None:
    assert MOST_SCOPES > 2
    monkeypatch.setattr("syncreset.events.look.MOST_SCOPES", 2)
    seen = newest()
    for number in range(3):
        Dog.objects.create(shelter=Shelter.objects.create(name=str(number)), name="Rex")

    assert touched_since(seen)[1] is None


def test_listeners_of_a_thread_that_has_died_are_ended(
    following: Following, monkeypatch: pytest.MonkeyPatch, shelter: Shelter
) -> None:
    monkeypatch.setattr(follower, "PAUSE", 0.01)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    hub, listener = following.listen(shelter)

    def fault(seen: Seen) -> None:
        raise AssertionError("injected")

    monkeypatch.setattr(follower, "touched_since", fault)

    assert listener.wait(30)
    assert listener.over
    stream = blocking_stream(hub, listener, frozenset, seconds=60)
    assert list(stream) == [HELLO]


def test_a_shelter_gained_while_listening_is_listened_to(
    following: Following,
    monkeypatch: pytest.MonkeyPatch,
    user_factory: UserFactory,
    shelter: Shelter,
    other_shelter: Shelter,
) -> None:
    monkeypatch.setattr(streams, "RESCOPE", 0.0)
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    user = user_factory(shelter)
    hub, listener = following.listen(shelter)
    stream = blocking_stream(hub, listener, partial(scopes_of, user), seconds=60)
    assert next(stream) == HELLO

    Membership.objects.create(user=user, shelter=other_shelter)

    assert POKE in (next(stream) for _ in range(10))
    assert listener.scopes == scopes_of(user)


def test_a_silent_stream_says_that_it_is_there_and_frees_what_it_held(
    following: Following, monkeypatch: pytest.MonkeyPatch, shelter: Shelter
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    hub, listener = following.listen(shelter)
    stream = blocking_stream(hub, listener, frozenset, seconds=0.05)

    assert set(stream) == {HELLO, STILL_HERE}

    assert len(hub) == 0


def test_a_stream_that_is_never_read_is_forgotten_with_its_response(
    api_for: Callable[..., APIClient], user_factory: UserFactory, shelter: Shelter
) -> None:
    api = api_for(user_factory(shelter))
    responses = [api.get("/sync/v1/events", **THREADED)]
    thread = hub_of_process._follower
    assert thread is not None
    assert len(hub_of_process) == 1

    responses.clear()
    gc.collect()

    assert len(hub_of_process) == 0
    thread.join(30)
