"""The Celery app of the tests: what pytest enqueues with and what a worker process runs."""

import os

from celery import Celery
from django.apps import apps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

app = Celery("syncreset-tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.task(name="tests.add_vet")
def add_vet(code: str, name: str) -> None:
    """Makes a vet: what the harness's own test lets a worker do."""
    apps.get_model("shelters", "Vet").objects.create(code=code, name=name)
