"""What tests ask for: users, HTTP clients, and real services that start when first asked for.

The database is SQLite in a file, or with `SYNCRESET_TEST_DATABASE=postgresql` an embedded PostgreSQL; both can be
used by other processes at the same time, so a real worker works on the rows of a test marked
`django_db(transaction=True)`.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import TransactionTestCase
from kombu import pools
from pytest_django import DjangoDbBlocker, Settings
from pytest_django.live_server_helper import LiveServer
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from demo_project import services
from demo_project.postgresql import PSQL, embedded_postgresql
from syncreset.feed.entries import Entry
from syncreset.wire.schema import PublishedSchema
from tests.celeryapp import app as celery_app
from tests.support.blank import flushed_to_blank
from tests.support.device import Device
from tests.support.factories import DeviceFactory, UserFactory, WorkerFactory
from tests.support.properties import load_profile

if TYPE_CHECKING:  # Schedules are simulated without these apps.
    from tests.market.models import Product
    from tests.shelters.models import Shelter

load_profile()

# What `outside_sql` runs for SQLite: the statements on its standard input, each row printed as `a|b`.
SQLITE_SHELL = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)) as database:
    for statement in sys.stdin.read().split(";"):
        for row in database.execute(statement):
            print(*("" if value is None else value for value in row), sep="|")
"""

# The apps whose rows a user of the tests may write unless the test says otherwise.
WRITABLE_APPS = ("shelters", "zoo", "market")


@pytest.fixture(scope="session")
def services_of_session() -> Iterator[ExitStack]:
    """Holds what was started for the session and ends it in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    services_of_session: ExitStack,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Says where the test database is: a file of this run, or a PostgreSQL server started now."""
    if connection.vendor == "postgresql":
        server = services_of_session.enter_context(embedded_postgresql())
        connection.settings_dict["HOST"] = str(server.socket)
    else:
        directory = tmp_path_factory.mktemp("database")
        connection.settings_dict["TEST"]["NAME"] = str(directory / "test.sqlite3")


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, live_server: LiveServer) -> LiveServer:
    """The real HTTP server, started once the database is a file: its threads must have connections of their own."""
    return live_server


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A test that commits leaves the database as the first one found it: nothing is in the feed or published."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        Entry.objects.all().delete()
        PublishedSchema.objects.all().delete()
        patch.setattr(TransactionTestCase, "_fixture_teardown", flushed_to_blank())
        connection.close()
        yield


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store of a device in this process need survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("syncreset.sdk.store.connection.SYNCHRONOUS", "OFF")


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Uploaded files go to a directory of the test."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media"


@pytest.fixture
def user_factory(db: None) -> UserFactory:
    """Makes users that hold the given shelters and, unless `writes=False`, all permissions on the test apps' models."""
    numbers = itertools.count(1)

    def make(*shelters: "Shelter", name: str = "", writes: bool = True, **fields: Any) -> User:
        user = User.objects.create_user(name or f"user{next(numbers)}", password="secret", **fields)
        if shelters:
            memberships = apps.get_model("shelters.Membership")
            memberships.objects.bulk_create(memberships(user=user, shelter=shelter) for shelter in shelters)
        if writes:
            user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=WRITABLE_APPS))
        return user

    return make


@pytest.fixture
def api_for(db: None) -> Callable[[User], APIClient]:
    """Makes DRF test clients that send the user's token and JSON."""

    def make(user: User) -> APIClient:
        token, _ = Token.objects.get_or_create(user=user)
        client = APIClient()
        client.default_format = "json"
        client.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
        return client

    return make


@pytest.fixture
def shelter(db: None) -> "Shelter":
    return apps.get_model("shelters.Shelter").objects.create(name="North", city="Oslo")


@pytest.fixture
def other_shelter(db: None) -> "Shelter":
    return apps.get_model("shelters.Shelter").objects.create(name="South", city="Rome")


@pytest.fixture
def apples(db: None) -> "Product":
    return apps.get_model("market.Product").objects.create(name="Apples", stock=10, sold=2**53, weight="1.50")


@pytest.fixture
def device(api_for: Callable[[User], APIClient], user_factory: Any) -> DeviceFactory:
    """Makes registered devices, of a new user of the given shelters or of one given."""

    def make(*shelters: "Shelter", user: User | None = None, registered: bool = True) -> Device:
        made = Device(api_for(user or user_factory(*shelters)))
        return made.register() if registered else made

    return make


@pytest.fixture(scope="session")
def redis_url(services_of_session: ExitStack) -> str:
    """The address of a real Redis server of this session."""
    return services_of_session.enter_context(services.embedded_redis()).url


@pytest.fixture
def celery_on_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The tests' Celery app, with jobs going to the real Redis for the length of the test."""
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    _forget_broker(celery_app)
    celery_app.control.purge()
    yield celery_app
    monkeypatch.undo()
    _forget_broker(celery_app)


@pytest.fixture
def worker(
    celery_on_redis: Celery, transactional_db: None, redis_url: str, media: Path, tmp_path: Path
) -> Iterator[WorkerFactory]:
    """Starts real Celery worker processes on the test's database; they end with the test."""
    with ExitStack() as stack:
        numbers = itertools.count(1)

        def start(
            *, concurrency: int = 2, queues: tuple[str, ...] = (), env: dict[str, str] | None = None
        ) -> services.Service:
            return stack.enter_context(
                services.celery_worker(
                    app="tests.celeryapp",
                    log=tmp_path / f"worker-{next(numbers)}.log",
                    env=environment_of_test(media) | {"CELERY_BROKER_URL": redis_url} | (env or {}),
                    concurrency=concurrency,
                    queues=queues,
                )
            )

        yield start


@pytest.fixture
def outside_sql(transactional_db: None) -> Callable[[str], str]:
    """Runs SQL on the test's database from a program that knows nothing of Django, and returns what it printed.

    PostgreSQL's own `psql`, or Python's `sqlite3` module in a process of its own.
    """

    def run(sql: str) -> str:
        database = connection.settings_dict
        if connection.vendor == "postgresql":
            arguments = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"]
            where = ["-h", database["HOST"], "-U", database["USER"], "-d", database["NAME"]]
            command = [str(PSQL), *arguments, *where]
        else:
            command = [sys.executable, "-c", SQLITE_SHELL, str(database["NAME"])]
        done = subprocess.run(command, input=sql, text=True, check=True, capture_output=True)
        return done.stdout

    return run


def environment_of_test(media: Path) -> dict[str, str]:
    """The variables with which another process finds this test's database and uploads."""
    database = connection.settings_dict
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "SYNCRESET_TEST_DATABASE": connection.vendor,
        "SYNCRESET_TEST_DATABASE_NAME": str(database["NAME"]),
        "SYNCRESET_TEST_DATABASE_HOST": str(database.get("HOST", "")),
        "SYNCRESET_TEST_MEDIA": str(media),
    }


def _forget_broker(app: Celery) -> None:
    """Closes the app's connections, so that the next job goes to the broker of now."""
    pools.reset()
    app._after_fork()  # type: ignore[attr-defined]
