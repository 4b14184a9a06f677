"""A replica that watches real servers: it is poked, it polls where there are no events, and it is stopped."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from demo_project import services
from syncreset.sdk import Replica, SyncReport, Watch
from tests.conftest import environment_of_test
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory
from tests.support.servers import threaded_server

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


class Watcher:
    """A replica watched in a thread of its own, as an app does it."""

    def __init__(self, path: Path, url: str, user: User, poll: float) -> None:
        self.reports: list[SyncReport] = []
        self.watch: Watch | None = None
        self._token = Token.objects.get_or_create(user=user)[0].key
        self._path, self._url, self._poll = path, url, poll
        self._news = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with Replica(self._path, f"{self._url}sync/v1/", self._token) as replica:
            self.watch = replica.watch(poll=self._poll)
            for report in self.watch:
                with self._news:
                    self.reports.append(report)
                    self._news.notify_all()

    def wait_for(self, pulled: int) -> None:
        """Until so many rows were pulled in all."""
        with self._news:
            assert self._news.wait_for(lambda: sum(report.pulled for report in self.reports) >= pulled, 30)

    def stop(self) -> None:
        assert self.watch is not None
        self.watch.close()
        self.thread.join(15)
        assert not self.thread.is_alive()


@contextmanager
def server_of(kind: str, log: Path, env: dict[str, str]) -> Iterator[services.Service]:
    with ExitStack() as stack:
        if kind == "events":
            server = stack.enter_context(
                services.http_server(asgi="tests.asgi:application", log=log, env=env)
            )
        else:
            server = stack.enter_context(threaded_server(log=log, env=env, threads=1, worker="sync"))
        stack.callback(server.kill)
        yield server


@pytest.mark.parametrize(("kind", "poll"), [("events", 3600.0), ("polling", 0.2)])
def test_a_watching_replica_hears_of_changes_until_it_is_stopped(
    kind: str,
    poll: float,
    user_factory: UserFactory,
    shelter: Shelter,
    media: Path,
    tmp_path: Path,
) -> None:
    user = user_factory(shelter)
    with server_of(kind, tmp_path / "http.log", environment_of_test(media)) as server:
        watcher = Watcher(tmp_path / "field.db", server.url, user, poll)
        watcher.wait_for(1)
        for number in range(1, 4):
            Dog.objects.create(shelter=shelter, name=f"Dog {number}")
            watcher.wait_for(1 + number)

        assert watcher.watch is not None
        assert watcher.watch.listening is (kind == "events")
        watcher.stop()


def test_a_replica_that_waits_for_a_server_can_be_stopped(
    user_factory: UserFactory, shelter: Shelter, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{services.free_port()}/"
    watcher = Watcher(tmp_path / "field.db", url, user_factory(shelter), 3600.0)
    while watcher.watch is None or watcher.watch.failure is None:
        watcher.thread.join(0.01)

    watcher.stop()

    assert watcher.reports == []
