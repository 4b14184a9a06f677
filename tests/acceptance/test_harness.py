"""The harness itself: real workers and foreign programs work on the rows of the running test."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from django.db import connection
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from tests.celeryapp import add_vet
from tests.shelters.models import Dog, Shelter, Vet
from tests.shelters.scopes import scopes_for
from tests.support.factories import UserFactory, WorkerFactory


@pytest.mark.acceptance
@pytest.mark.django_db(transaction=True)
def test_a_real_worker_writes_into_the_tests_database(worker: WorkerFactory, celery_on_redis: Celery) -> None:
    worker(concurrency=1)

    add_vet.delay("kim", "Kim")

    deadline = time.monotonic() + 20
    while not Vet.objects.filter(code="kim").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert Vet.objects.get(code="kim").name == "Kim"


@pytest.mark.django_db(transaction=True)
def test_a_foreign_program_reads_and_writes_the_tests_database(outside_sql: Callable[[str], str]) -> None:
    Vet.objects.create(code="kim", name="Kim")

    outside_sql("UPDATE shelters_vet SET name = 'Kim Lee' WHERE code = 'kim';")

    assert Vet.objects.get(code="kim").name == "Kim Lee"
    assert outside_sql("SELECT code, name FROM shelters_vet;") == "kim|Kim Lee\n"


@pytest.mark.django_db
def test_users_hold_the_shelters_they_are_members_of(user_factory: UserFactory) -> None:
    here, there = Shelter.objects.create(name="here"), Shelter.objects.create(name="there")
    reader = user_factory(here, writes=False)
    writer = user_factory(here, there)

    assert [set(held) for held in scopes_for(reader)] == [{here}]
    assert [set(held) for held in scopes_for(writer)] == [{here, there}]
    assert writer.has_perm("shelters.add_dog")
    assert not reader.has_perm("shelters.add_dog")


@pytest.mark.django_db
def test_the_test_client_is_somebody(user_factory: UserFactory, api_for: Callable[[Any], APIClient]) -> None:
    user = user_factory(name="ada", is_staff=True, is_superuser=True)

    assert api_for(user).get("/admin/").status_code == 302, "a token is not a session"
    token = APIClient().post("/api/token/", {"username": "ada", "password": "secret"}).json()["token"]
    assert token == Token.objects.get(user=user).key


@pytest.mark.django_db
def test_the_database_is_the_one_that_was_asked_for() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == ("wal",)
        else:
            cursor.execute("SHOW fsync")
            assert cursor.fetchone() == ("off",)
    assert Dog.objects.count() == 0
