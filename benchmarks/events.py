"""What listening costs syncing: pushes over HTTP beside many listeners, against the same pushes beside none.

Every listener holds the scope that is pushed to, so each push pokes all of them.
"""

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.apps import apps
from django.contrib.auth import get_user_model

from benchmarks.sidebyside import database
from demo_project import services
from tests.conftest import environment_of_test
from tests.shelters.models import Membership, Shelter
from tests.support.device import APIClient, Device
from tests.support.dogs import DOG, dog_fields

ROUNDS, PUSHES = 2, 100


def main(listeners: int) -> None:
    with ExitStack() as stack:
        stack.enter_context(database())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(services.embedded_redis(directory / "redis"))
        more = {"SYNCRESET_TEST_EVENTS_URL": redis.url, "SYNCRESET_TEST_EVENTS_PER_USER": str(listeners)}
        server = stack.enter_context(
            services.http_server(
                asgi="tests.asgi:application",
                log=directory / "http.log",
                env=environment_of_test(directory) | more,
            )
        )
        stack.callback(server.kill)
        phone, shelter, token = registered()
        alone, beside, pokes = [], [], 0
        with httpx.Client(headers={"Authorization": f"Token {token}"}, timeout=60) as client:
            push_all(client, server.url, phone, shelter)
            for _ in range(ROUNDS):
                alone += push_all(client, server.url, phone, shelter)
                with listening(server.url, token, listeners) as heard:
                    beside += push_all(client, server.url, phone, shelter)
                pokes += heard.value
    print(
        f"{PUSHES * ROUNDS} pushes of one row beside {listeners} listeners, who heard {pokes} pokes, and beside none:"
    )
    for name, of in (("p50", 50), ("p99", 99)):
        one, other = (statistics.quantiles(times, n=100)[of - 1] * 1000 for times in (beside, alone))
        print(f"  {name} {one:7.1f} ms against {other:7.1f} ms: {one / other:5.2f}x")


def registered() -> tuple[Device, Shelter, str]:
    """A device of a user who may write to one shelter, the shelter, and the user's token."""
    shelter = Shelter.objects.create(name="North")
    user = get_user_model().objects.create_superuser("ada")
    Membership.objects.create(user=user, shelter=shelter)
    token = apps.get_model("authtoken.Token").objects.create(user=user).key
    api = APIClient()
    api.default_format = "json"
    api.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    phone = Device(api).register()
    phone.pull()
    return phone, shelter, token


def push_all(client: httpx.Client, url: str, phone: Device, shelter: Shelter) -> list[float]:
    """Push rows one by one. Returns the seconds that each push took."""
    times = []
    for _ in range(PUSHES):
        body = phone.body(phone.create(DOG, dog_fields(shelter, name="Rex")))
        start = time.perf_counter()
        answer = client.post(f"{url}sync/v1/push", json=body)
        times.append(time.perf_counter() - start)
        told = answer.json()
        assert [result["state"] for result in told["results"]] == ["applied"], told
        phone.receipt = told["receipt"]
    return times


@contextmanager
def listening(url: str, token: str, listeners: int) -> Iterator[Any]:
    """So many streams, held by a process of their own. What it gives counts the pokes that they hear."""
    ready, leave = multiprocessing.Event(), multiprocessing.Event()
    heard = multiprocessing.Value("q", 0)
    process = multiprocessing.Process(target=_listen, args=(url, token, listeners, ready, leave, heard))
    process.start()
    try:
        if not ready.wait(300):
            raise SystemExit("the listeners could not connect")
        time.sleep(2)
        yield heard
    finally:
        leave.set()
        process.join()
        time.sleep(2)


def _listen(url: str, token: str, listeners: int, ready: Event, leave: Event, heard: Any) -> None:
    async def all_of_them() -> None:
        room = asyncio.Semaphore(50)
        started = [asyncio.Event() for _ in range(listeners)]
        tasks = [asyncio.create_task(_one(url, token, room, event, heard)) for event in started]
        for event in started:
            await event.wait()
        ready.set()
        await asyncio.to_thread(leave.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of_them())


async def _one(url: str, token: str, room: asyncio.Semaphore, started: asyncio.Event, heard: Any) -> None:
    place = urlsplit(url)
    async with room:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        request = (
            f"GET /sync/v1/events HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Token {token}\r\n\r\n"
        )
        writer.write(request.encode())
        told = await reader.readuntil(b"retry:")
        if b" 200 " not in told.partition(b"\r\n")[0]:
            raise SystemExit(f"a listener was refused: {told!r}")
        started.set()
    try:
        while line := await reader.readline():
            if line.startswith(b"event: poke"):
                with heard.get_lock():
                    heard.value += 1
    finally:
        writer.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
