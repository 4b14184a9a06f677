"""Django settings of the tests, on SQLite or PostgreSQL.

`SYNCRESET_TEST_DATABASE` is `sqlite` (default) or `postgresql`. The other variables are set by `tests/conftest.py`
for the worker processes it starts, so that these find the test database, the storage and the broker.
"""

import os
import tempfile
from pathlib import Path

# Whoever loads these settings enqueues with this Celery app.
import tests.celeryapp  # noqa: F401

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "only-for-tests-" + "0" * 50
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
MEDIA_ROOT = os.environ.get(
    "SYNCRESET_TEST_MEDIA", str(Path(tempfile.gettempdir()) / "syncreset-tests-media")
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "syncreset",
    "tests.shelters",
    "tests.zoo",
    "tests.market",
    "demo_project.ramp",
    "demo_project.ground.release_2",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

if os.environ.get("SYNCRESET_TEST_DATABASE", "sqlite") == "postgresql":
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ.get("SYNCRESET_TEST_DATABASE_NAME", "postgres"),
            "USER": "postgres",
            # A socket directory, known once conftest.py has started the server.
            "HOST": os.environ.get("SYNCRESET_TEST_DATABASE_HOST", ""),
            "TEST": {"NAME": "test_syncreset"},
        }
    }
else:
    # A file, so that threads and worker processes see the same rows as the test.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("SYNCRESET_TEST_DATABASE_NAME", ":memory:"),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
            "TEST": {"NAME": "test.sqlite3"},
        }
    }

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
}

SYNCRESET = {
    "SCOPES": "tests.shelters.scopes.scopes_for",
    # Tests that kill a worker give it small chunks and a short lease.
    "RECOVERY_CHUNK": int(os.environ.get("SYNCRESET_TEST_CHUNK", "500")),
    "RECOVERY_LEASE": int(os.environ.get("SYNCRESET_TEST_LEASE", "60")),
    # Tests of events start real servers, with and without Redis.
    "EVENTS_URL": os.environ.get("SYNCRESET_TEST_EVENTS_URL"),
    "EVENTS_SECONDS": int(os.environ.get("SYNCRESET_TEST_EVENTS_SECONDS", "300")),
    "EVENTS_PER_USER": int(os.environ.get("SYNCRESET_TEST_EVENTS_PER_USER", "5")),
}

# Nobody consumes the in-memory broker: a test that wants a job done runs it itself or asks for `worker`.
CELERY_BROKER_URL = "memory://"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
