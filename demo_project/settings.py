"""Django settings of the demo. Everything has a default that works on a laptop; the environment changes it:

`DATABASE_URL` (default: SQLite in `DEMO_DIR`), `REDIS_URL`, `SECRET_KEY`, `DEBUG` (0 or 1), `ALLOWED_HOSTS` (comma
separated), `DEMO_DIR` (default `.demo` beside `manage.py`), where the database, the uploads and the logs are, and
`RAMP_RELEASE` (1 or 2, default 2), the release of the app `ground` that is installed.
"""

import os
from pathlib import Path

import dj_database_url

# Whoever loads these settings enqueues with this Celery app.
import demo_project.celery  # noqa: F401

BASE_DIR = Path(__file__).resolve().parent.parent
DEMO_DIR = Path(os.environ.get("DEMO_DIR", BASE_DIR / ".demo"))
DEMO_DIR.mkdir(parents=True, exist_ok=True)

# Two releases of one app, so that the walk-through can deploy the second while a device is offline with the first.
RAMP_RELEASE = int(os.environ.get("RAMP_RELEASE", "2"))

SECRET_KEY = os.environ.get("SECRET_KEY", "insecure-but-good-enough-for-a-demo-on-one-laptop-only")
DEBUG = os.environ.get("DEBUG", "0") == "1"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")

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
    "demo_project.ramp",
    f"demo_project.ground.release_{RAMP_RELEASE}",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "demo_project.urls"

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

DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{DEMO_DIR / 'demo.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Readers go on while one writes, and who writes waits for the lock at the start, never in the middle.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "America/New_York"
USE_TZ = True

STATIC_URL = "static/"
# Static files come from the apps' own directories, so that nothing has to be collected first.
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DEMO_DIR / "media"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}

CELERY_BROKER_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

SYNCRESET = {
    "SCOPES": "demo_project.ramp.scopes.scopes_for",
    "EVENTS_URL": CELERY_BROKER_URL,
}

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Finds recoveries that a broker or a worker has lost. Seconds.
CELERY_BEAT_SCHEDULE = {"sweep": {"task": "syncreset.sweep", "schedule": 30.0}}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
        # One line a request, which the walk-through tells in words.
        "httpx": {"level": "WARNING"},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
}
