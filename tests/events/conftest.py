"""Real servers under ASGI and WSGI, and ears of the tests' users."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from demo_project import services
from tests.conftest import environment_of_test
from tests.support.servers import Ear, threaded_server

ServerFactory = Callable[..., services.Service]
EarFactory = Callable[..., Ear]


@pytest.fixture
def asgi(transactional_db: None, media: Path, tmp_path: Path) -> Iterator[ServerFactory]:
    """Starts Uvicorn processes on the test's database, with the Redis that is named or without."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(redis: str | None, **environment: str) -> services.Service:
            broker = {} if redis is None else {"SYNCRESET_TEST_EVENTS_URL": redis}
            server = stack.enter_context(
                services.http_server(
                    asgi="tests.asgi:application",
                    log=tmp_path / f"asgi-{next(numbers)}.log",
                    env=environment_of_test(media) | broker | environment,
                )
            )
            # Who still listens would keep it from ending.
            stack.callback(server.kill)
            return server

        yield start


@pytest.fixture
def wsgi(transactional_db: None, media: Path, tmp_path: Path) -> Iterator[ServerFactory]:
    """Starts Gunicorn on the test's database."""
    with ExitStack() as stack:

        def start(*, threads: int, worker: str = "gthread") -> services.Service:
            return stack.enter_context(
                threaded_server(
                    log=tmp_path / "wsgi.log", env=environment_of_test(media), threads=threads, worker=worker
                )
            )

        yield start


@pytest.fixture
def ear() -> Iterator[EarFactory]:
    """Opens streams of users; all are closed with the test."""
    with ExitStack() as stack:

        def listen(server: services.Service, user: User | None, headers: str = "") -> Ear:
            token = None if user is None else Token.objects.get_or_create(user=user)[0].key
            return stack.enter_context(Ear(server.url, token, headers=headers))

        yield listen
