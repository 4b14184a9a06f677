"""What the walk-through plays on: the demo's database, its services, and a backup that the database is put back to."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

from demo_project import services

__all__ = ["Stage", "StageFailed"]


class StageFailed(Exception):
    """The demo cannot be played here. The message says why, and what to do."""


class Stage:
    """The demo's server side. ``up`` starts HTTP, worker and, unless REDIS_URL names one, Redis."""

    def __init__(self, *, port: int) -> None:
        self.port = port
        self.directory = Path(str(settings.DEMO_DIR))  # type: ignore[misc]
        self.url = f"http://{services.HOST}:{port}/"

    def prepare(self) -> None:
        """An empty database with the demo's data in it. Raises StageFailed for a database of somebody else."""
        if not services.port_is_free(self.port):
            raise StageFailed(f"port {self.port} is taken: stop what uses it, or run `make demo PORT=8001`")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        _empty_database()
        self._manage("migrate", "--verbosity", "0")
        self._manage("seed_demo")

    @contextmanager
    def up(self, redis_url: str | None) -> Iterator[None]:
        """Run the services until the block ends."""
        with ExitStack() as stack:
            url = redis_url or stack.enter_context(services.embedded_redis(self.directory / "redis")).url
            environment = {"REDIS_URL": url, "DJANGO_SETTINGS_MODULE": "demo_project.settings"}
            logs = self.directory / "logs"
            stack.enter_context(services.celery_worker(log=logs / "worker.log", env=environment, beat=True))
            stack.enter_context(services.http_server(log=logs / "http.log", env=environment, port=self.port))
            yield

    def back_up(self) -> None:
        """Copy the database as it is now. Nothing may be connected to it on PostgreSQL, as for any template."""
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

    @staticmethod
    def _manage(*arguments: str) -> None:
        command = [sys.executable, "-m", "django", *arguments]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "demo_project.settings"}
        subprocess.run(command, check=True, env=environment)


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


def _on_server(*statements: str) -> None:
    """Run statements on the PostgreSQL server from outside of the demo's database, for they replace it."""
    parameters: Mapping[str, Any] = connection.get_connection_params()
    elsewhere = "template1" if parameters.get("dbname") == "postgres" else "postgres"
    database = psycopg.connect(**{**parameters, "dbname": elsewhere}, autocommit=True)
    with contextlib.closing(database):
        for statement in statements:
            database.execute(statement)
