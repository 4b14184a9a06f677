"""What the walk-through plays on: the demo's database, its releases, its services, and a copy of the database.

The walk-through's own process outlives releases, so what needs the models of one is asked of `manage.py`.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

from demo_project import services
from demo_project.comparison import Rows

__all__ = ["Stage", "StageFailed"]


#: Seconds to wait for the last connection to the database to be closed.
PATIENCE = 20.0


class StageFailed(Exception):
    """The demo cannot be played here. The message says why, and what to do."""


class Stage:
    """The demo's server side. ``up`` starts HTTP, worker and, unless ``redis_url`` names one, Redis."""

    def __init__(self, *, port: int, redis_url: str | None) -> None:
        self.port = port
        self.redis_url = redis_url
        self.directory = Path(str(settings.DEMO_DIR))  # type: ignore[misc]
        self.url = f"http://{services.HOST}:{port}/"
        self.release = 1

    def prepare(self) -> None:
        """An empty database of the first release with the demo's data. Raises StageFailed for somebody else's."""
        if not services.port_is_free(self.port):
            raise StageFailed(f"port {self.port} is taken: stop what uses it, or run `make demo PORT=8001`")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        _empty_database()
        self._manage("migrate", "--verbosity", "0")
        self._manage("seed_demo")

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run the services of the deployed release until the block ends."""
        with ExitStack() as stack:
            url = self.redis_url or stack.enter_context(services.embedded_redis(self.directory / "redis")).url
            environment = {**self._environment, "REDIS_URL": url}
            logs = self.directory / "logs"
            stack.enter_context(services.celery_worker(log=logs / "worker.log", env=environment, beat=True))
            stack.enter_context(services.http_server(log=logs / "http.log", env=environment, port=self.port))
            yield

    def plan(self, release: int) -> dict[str, Any]:
        """What `manage.py syncreset plan` says of deploying a release: its code, and the database as it is."""
        told: dict[str, Any] = json.loads(self._asked("syncreset", "plan", "--json", release=release))
        return told

    def deploy(self, release: int) -> None:
        """Take the code of another release and migrate. The services must be down."""
        self.release = release
        self._manage("migrate", "--verbosity", "0", "--skip-checks")

    def rows_of(self, username: str) -> Rows:
        """Everything that a user may hold, as the database has it now."""
        return {(model, pk): fields for model, pk, fields in json.loads(self._asked("rows_of", username))}

    def back_up(self) -> None:
        """Copy the database as it is now, while the services are up and nobody works with them."""
        connection.close()
        if connection.vendor == "sqlite":
            with (
                contextlib.closing(sqlite3.connect(self._file)) as live,
                contextlib.closing(sqlite3.connect(self._backup)) as backup,
            ):
                live.backup(backup)
        else:
            _on_server(
                f'DROP DATABASE IF EXISTS "{self._name}_backup"',
                f'CREATE DATABASE "{self._name}_backup" TEMPLATE "{self._name}"',
                patience=PATIENCE,
            )

    def restore(self) -> None:
        """Replace the database by the copy, as after a disaster. The services must be down."""
        connection.close()
        if connection.vendor == "sqlite":
            for suffix in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            self._backup.replace(self._file)
        else:
            _on_server(
                f'DROP DATABASE "{self._name}" WITH (FORCE)',
                f'ALTER DATABASE "{self._name}_backup" RENAME TO "{self._name}"',
            )

    @property
    def _name(self) -> str:
        return str(connection.settings_dict["NAME"])

    @property
    def _file(self) -> Path:
        return Path(self._name)

    @property
    def _backup(self) -> Path:
        return self.directory / "backup.sqlite3"

    @property
    def _environment(self) -> dict[str, str]:
        return {"DJANGO_SETTINGS_MODULE": "demo_project.settings", "RAMP_RELEASE": str(self.release)}

    def _manage(self, *arguments: str) -> None:
        """Run a management command of the deployed release, which tells on the terminal what it does.

        Raises StageFailed.
        """
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(command, env={**os.environ, **self._environment}, check=False)
        if done.returncode:
            raise StageFailed(f"manage.py {' '.join(arguments)} failed")

    def _asked(self, *arguments: str, release: int | None = None) -> str:
        """What a management command writes. Raises StageFailed, with what it complained of."""
        environment = {**os.environ, **self._environment}
        if release is not None:
            environment["RAMP_RELEASE"] = str(release)
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StageFailed(f"manage.py {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
        return done.stdout


def _empty_database() -> None:
    """Remove what an earlier demo left in the database, and nothing else. Raises StageFailed."""
    if connection.vendor == "sqlite":
        Path(str(connection.settings_dict["NAME"])).unlink(missing_ok=True)
        return
    if connection.vendor != "postgresql":
        raise StageFailed("the demo runs on SQLite or PostgreSQL; DATABASE_URL names something else")
    tables = set(connection.introspection.table_names())
    if tables and "ramp_assignment" not in tables:
        raise StageFailed("the database that DATABASE_URL names is not empty: give the demo one of its own")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    connection.close()


def _on_server(*statements: str, patience: float = 0.0) -> None:
    """Run statements on the PostgreSQL server from outside of the demo's database, for they replace or copy it.

    A database is copied only while nothing is connected to it: for ``patience`` seconds that is tried again.
    """
    parameters: Mapping[str, Any] = connection.get_connection_params()
    elsewhere = "template1" if parameters.get("dbname") == "postgres" else "postgres"
    database = psycopg.connect(**{**parameters, "dbname": elsewhere}, autocommit=True)
    deadline = time.monotonic() + patience
    with contextlib.closing(database):
        for statement in statements:
            while True:
                try:
                    database.execute(statement)
                    break
                except psycopg.errors.ObjectInUse:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.1)
