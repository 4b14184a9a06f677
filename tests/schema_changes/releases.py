"""A project in three releases, each deployed for real: its own code, its migrations, its server process.

The second release only adds. The third renames a field and a model, gives a field another type, and removes one.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from demo_project import services

__all__ = ["Deployment"]

ROOT = Path(__file__).resolve().parent.parent.parent

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "only-for-tests-" + "0" * 50
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "kennel.urls"
MEDIA_ROOT = BASE_DIR / "media"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "rest_framework.authtoken", "syncreset",
    "shelters",
]
if os.environ["KENNEL_DATABASE"] == "postgresql":
    DATABASES = {"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["KENNEL_NAME"], "USER": "postgres",
        "HOST": os.environ["KENNEL_HOST"],
    }}
else:
    DATABASES = {"default": {
        "ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }}
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"]}
CELERY_TASK_ALWAYS_EAGER = True
"""

CELERY = """
from celery import Celery

app = Celery("kennel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""

URLS = """
from django.urls import include, path

urlpatterns = [path("sync/v1/", include("syncreset.api.urls"))]
"""

HEAD = """
from django.db import models
from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Shelter(SyncTrackedModel):
    id = models.UUIDField(primary_key=True, default=uuid7)
    name = models.CharField(max_length=40)
"""

FIRST = (
    HEAD
    + """

class Hound(SyncTrackedModel):
    id = models.UUIDField(primary_key=True, default=uuid7)
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE)
    name = models.CharField(max_length=40)
    winters = models.IntegerField(null=True)
    weight = models.IntegerField(null=True)
    tag = models.CharField(max_length=20, default="")


class Walk(SyncTrackedModel):
    id = models.UUIDField(primary_key=True, default=uuid7)
    hound = models.ForeignKey(Hound, on_delete=models.CASCADE)
    miles = models.IntegerField(default=1)
"""
)

SECOND = (
    FIRST.replace(
        '    tag = models.CharField(max_length=20, default="")\n',
        '    tag = models.CharField(max_length=20, default="")\n'
        '    colour = models.CharField(max_length=20, default="brown")\n',
    )
    + """

class Vet(SyncTrackedModel):
    id = models.UUIDField(primary_key=True, default=uuid7)
    name = models.CharField(max_length=40)
"""
)

THIRD = (
    SECOND.replace("Hound", "Dog")
    .replace("winters", "age")
    .replace("weight = models.IntegerField(null=True)", "weight = models.CharField(max_length=20, null=True)")
    .replace('    tag = models.CharField(max_length=20, default="")\n', "")
    .replace(
        '    colour = models.CharField(max_length=20, default="brown")\n',
        '    colour = models.CharField(max_length=20, default="brown")\n\n'
        "    class SyncMeta:\n"
        '        renamed = {"winters": "age"}\n'
        '        renamed_from = "shelters.hound"\n'
        # The data migration rewrites the column later than the device's edit; newest would keep what it wrote.
        '        conflicts = {"weight": "client"}\n',
    )
    .replace("    hound = models.ForeignKey", "    dog = models.ForeignKey")
    .replace(
        "    miles = models.IntegerField(default=1)\n",
        '    miles = models.IntegerField(default=1)\n\n    class SyncMeta:\n        renamed = {"hound": "dog"}\n',
    )
)

UPCASTERS = """
from syncreset import upcast


@upcast("shelters.dog", "weight")
def weight(value, old):
    return None if value is None else f"{value} kg"
"""

ADDITIVE_MIGRATION = """
import syncreset.protocol
import syncreset.tracking.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shelters", "0001_initial")]
    operations = [
        migrations.AddField("hound", "colour", models.CharField(max_length=20, default="brown")),
        migrations.CreateModel("Vet", [
            ("last_updated", syncreset.tracking.fields.LastUpdatedField()),
            ("field_timestamps", syncreset.tracking.fields.FieldTimestampsField()),
            ("id", models.UUIDField(default=syncreset.protocol.uuid7, primary_key=True, serialize=False)),
            ("name", models.CharField(max_length=40)),
        ]),
    ]
"""

BREAKING_MIGRATION = """
from django.db import migrations, models


def in_kilograms(apps, schema_editor):
    for dog in apps.get_model("shelters", "Dog").objects.exclude(weight=None):
        dog.weight = f"{dog.weight} kg"
        dog.save()


class Migration(migrations.Migration):
    dependencies = [("shelters", "0002_more")]
    operations = [
        migrations.RenameModel("Hound", "Dog"),
        migrations.RenameField("dog", "winters", "age"),
        migrations.AlterField("dog", "weight", models.CharField(max_length=20, null=True)),
        migrations.RemoveField("dog", "tag"),
        migrations.RenameField("walk", "hound", "dog"),
        migrations.RunPython(in_kilograms, migrations.RunPython.noop),
    ]
"""

RELEASES: Mapping[int, Mapping[str, str]] = {
    1: {"shelters/models.py": FIRST},
    2: {"shelters/models.py": SECOND, "shelters/migrations/0002_more.py": ADDITIVE_MIGRATION},
    3: {
        "shelters/models.py": THIRD,
        "shelters/upcasters.py": UPCASTERS,
        "shelters/migrations/0003_dogs.py": BREAKING_MIGRATION,
    },
}

ADMIT = """
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

user = User.objects.create_superuser("ada", password="secret")
print(Token.objects.create(user=user).key)
"""


class Deployment:
    """The project in a directory and a database of its own. One server process at a time."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.port = services.free_port()
        self.url = f"http://{services.HOST}:{self.port}/sync/v1/"
        self._stack = stack
        self._server: services.Service | None = None
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "kennel.settings",
            "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
            "PYTHONDEVMODE": "",
            "KENNEL_DATABASE": connection.vendor,
            **self._own_database(),
        }
        for path, text in {
            "kennel/__init__.py": CELERY,
            "kennel/settings.py": SETTINGS,
            "kennel/urls.py": URLS,
            "shelters/__init__.py": "",
            "shelters/migrations/__init__.py": "",
        }.items():
            self._write(path, text)

    def _own_database(self) -> dict[str, str]:
        if connection.vendor != "postgresql":
            return {}
        settings = connection.settings_dict
        name = f"kennel_{self.port}"
        server = psycopg.connect(
            host=settings["HOST"], user=settings["USER"], dbname="postgres", autocommit=True
        )
        self._stack.callback(server.close)
        server.execute(f"CREATE DATABASE {name}")
        self._stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
        return {"KENNEL_NAME": name, "KENNEL_HOST": str(settings["HOST"])}

    def unpack(self, release: int) -> None:
        """Put the code of a release in place, and stop the server that runs the one before."""
        if self._server is not None:
            self._server.stop()
        for path, text in RELEASES[release].items():
            self._write(path, text)
        if release == 1:
            self.manage("makemigrations", "shelters", "-n", "initial")

    def serve(self) -> None:
        """Migrate, and start the server."""
        self.manage("check", "--fail-level", "ERROR")
        self.manage("migrate")
        self._server = self._stack.enter_context(
            services.running(
                "server",
                [sys.executable, "-m", "django", "runserver", "--noreload", f"{services.HOST}:{self.port}"],
                log=self.directory / "server.log",
                env=self._environment,
                cwd=self.directory,
            )
        )
        self._server.wait_until(self._listens)

    def admit(self) -> str:
        """A user who may do everything, and its token."""
        return self.shell(ADMIT)

    def shell(self, code: str) -> str:
        """What code prints that runs in the project."""
        return self.manage("shell", "--verbosity", "0", "-c", code).strip()

    def manage(self, *arguments: str) -> str:
        """What a management command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=self.directory,
            env={**os.environ, **self._environment},
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def log(self) -> str:
        """What the server has told so far."""
        return (self.directory / "server.log").read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((services.HOST, self.port)) == 0

    def _write(self, path: str, text: str) -> None:
        target: Any = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
