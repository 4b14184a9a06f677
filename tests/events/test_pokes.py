"""Who is poked, by real servers: for pushes, plain writes and recoveries, and for nobody else's scopes."""

import httpx
import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from demo_project import services
from syncreset.recovery.run import run
from tests.events.conftest import EarFactory, ServerFactory
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.snapshots import forced, made_here

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=["redis", "alone"])
def broker(request: pytest.FixtureRequest) -> str | None:
    """The Redis of the servers: there is one, or none."""
    return request.getfixturevalue("redis_url") if request.param == "redis" else None


def pushed(server: services.Service, user: User, phone: Device, shelter: Shelter) -> None:
    """A push of the phone, over the real server."""
    change = phone.create(DOG, dog_fields(shelter, name="Pushed"))
    token, _ = Token.objects.get_or_create(user=user)
    answer = httpx.post(
        f"{server.url}sync/v1/push",
        json=phone.body(change),
        headers={"Authorization": f"Token {token.key}"},
        timeout=30,
    )
    assert [result["state"] for result in answer.json()["results"]] == ["applied"]


def test_pushes_and_plain_writes_poke_who_holds_the_scope_and_nobody_else(
    asgi: ServerFactory,
    ear: EarFactory,
    broker: str | None,
    user_factory: UserFactory,
    device: DeviceFactory,
    shelter: Shelter,
    other_shelter: Shelter,
) -> None:
    server = asgi(broker)
    ours, others = user_factory(shelter), user_factory(other_shelter)
    phone = device(user=ours)
    phone.pull()
    near, far = ear(server, ours), ear(server, others)
    assert near.headers["content-type"] == "text/event-stream"
    assert near.headers["cache-control"] == "no-store"
    assert near.headers["x-accel-buffering"] == "no"

    pushed(server, ours, phone, shelter)
    near.wait_for_pokes(1)
    Dog.objects.create(shelter=shelter, name="Written by another process")
    near.wait_for_pokes(2)
    Dog.objects.create(shelter=other_shelter, name="Elsewhere")
    far.wait_for_pokes(1)

    assert far.pokes == 1, "what happened in the other shelter came before"
    assert near.pokes == 2


def test_a_recovery_in_another_process_pokes(
    asgi: ServerFactory,
    ear: EarFactory,
    redis_url: str,
    settings: Settings,
    user_factory: UserFactory,
    device: DeviceFactory,
    shelter: Shelter,
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "EVENTS_URL": redis_url}
    user = user_factory(shelter)
    phone = device(user=user)
    phone.pull()
    reset = forced(phone)
    line = made_here(DOG, "0190a5b4-0000-7000-8000-000000000001", dog_fields(shelter, name="Kept"))
    recovery = phone.upload(reset, phone.snapshot(reset, [line]))
    listening = ear(asgi(redis_url), user)
    before = listening.pokes

    assert run(recovery) == "done"

    listening.wait_for_pokes(before + 1)
    assert Dog.objects.get().name == "Kept"


def test_when_the_process_that_looks_dies_another_one_looks(
    asgi: ServerFactory, ear: EarFactory, redis_url: str, user_factory: UserFactory, shelter: Shelter
) -> None:
    first, second = asgi(redis_url), asgi(redis_url)
    user = user_factory(shelter)
    ear(first, user)
    listening = ear(second, user)
    Dog.objects.create(shelter=shelter, name="Told by the first")
    listening.wait_for_pokes(1)

    first.kill()
    Dog.objects.create(shelter=shelter, name="Told by the second")

    listening.wait_for_pokes(2)


def test_without_a_redis_that_answers_each_process_looks_itself(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    server = asgi(f"redis://127.0.0.1:{services.free_port()}/0")
    listening = ear(server, user_factory(shelter))

    Dog.objects.create(shelter=shelter, name="Rex")

    listening.wait_for_pokes(1)
    assert "Redis cannot be reached" in server.log_text()


def test_a_redis_that_goes_away_and_comes_back_loses_nothing(
    asgi: ServerFactory, ear: EarFactory, user_factory: UserFactory, shelter: Shelter
) -> None:
    port = services.free_port()
    with services.embedded_redis(port=port) as redis:
        listening = ear(asgi(redis.url), user_factory(shelter))
        Dog.objects.create(shelter=shelter, name="With")
        listening.wait_for_pokes(1)
    Dog.objects.create(shelter=shelter, name="Without")
    listening.wait_for_pokes(2)
    with services.embedded_redis(port=port):
        # It says that it has missed something as soon as Redis is there again.
        listening.wait_for_pokes(listening.pokes + 1)
        Dog.objects.create(shelter=shelter, name="With again")
        listening.wait_for_pokes(listening.pokes + 1)
