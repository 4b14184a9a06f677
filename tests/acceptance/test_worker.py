"""Recoveries in real worker processes: killed in the middle, and run twice at once."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from django.db import transaction
from django.db.models import Model

from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.tasks import run_recovery, sweep
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, WorkerFactory
from tests.support.snapshots import edited, forced, made_here

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]

SLOW = {"SYNCRESET_TEST_CHUNK": "2", "SYNCRESET_TEST_LEASE": "2"}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ledger() -> list[tuple[Any, ...]]:
    return list(
        Item.objects.order_by("line").values_list("line", "part", "model", "pk_text", "op", "state", "code")
    )


def rows(model: type[Model]) -> list[tuple[Any, ...]]:
    return list(model._default_manager.order_by("pk").values_list("pk", "name", "age", "chip", "mother_id"))


def queued_recovery(device: DeviceFactory, shelter: Shelter) -> str:
    """A snapshot of new rows, edits, a clash and a faulty row, uploaded while no worker runs."""
    dogs = Dog.objects.bulk_create(Dog(shelter=shelter, name=f"Old {number}", age=1) for number in range(100))
    phone = device(shelter)
    phone.pull()
    Dog.objects.create(shelter=shelter, name="Chipped", chip="taken")
    reset = forced(phone)
    lines = [edited(phone.rows[DOG, str(dog.pk)], age=2) for dog in dogs]
    for number in range(200):
        fault = {50: {"chip": "taken"}, 70: {"age": "x"}}.get(number, {})
        pk = f"0190a5b4-0000-7000-8000-{number:012d}"
        lines.append(made_here(DOG, pk, dog_fields(shelter, name=f"New {number}", **fault)))
    return str(phone.upload(reset, phone.snapshot(reset, lines)))


def as_one_run_leaves_it(recovery: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Ledger and rows after an undisturbed run, which is then undone."""
    with transaction.atomic():
        run(recovery)
        expected = ledger(), rows(Dog)
        transaction.set_rollback(True)
    assert not Item.objects.exists()
    return expected


def test_a_worker_killed_in_the_middle_leaves_what_one_run_leaves(
    device: DeviceFactory, shelter: Shelter, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    recovery = queued_recovery(device, shelter)
    expected = as_one_run_leaves_it(recovery)
    assert len(expected[0]) == 300

    first = worker(concurrency=1, env=SLOW)
    run_recovery.delay(recovery)
    until(lambda: Recovery.objects.get(pk=recovery).position > 50)
    first.kill()
    interrupted = Recovery.objects.get(pk=recovery)
    assert 50 < interrupted.position < 300, "the worker was done before it could be killed"
    assert interrupted.state == "merging"

    worker(concurrency=1, env=SLOW)
    until(lambda: sweep() > 0, seconds=10)
    until(lambda: Recovery.objects.get(pk=recovery).finished is not None)

    assert (ledger(), rows(Dog)) == expected
    finished = Recovery.objects.get(pk=recovery)
    assert (finished.state, finished.attempts) == ("review", 2)
    assert sum(finished.totals.values()) == 300


def test_a_recovery_run_many_times_at_once_leaves_what_one_run_leaves(
    device: DeviceFactory, shelter: Shelter, celery_on_redis: Celery, worker: WorkerFactory
) -> None:
    recovery = queued_recovery(device, shelter)
    expected = as_one_run_leaves_it(recovery)

    worker(concurrency=4, env={**SLOW, "SYNCRESET_TEST_LEASE": "0"})
    for _ in range(8):
        run_recovery.delay(recovery)
    until(lambda: Recovery.objects.get(pk=recovery).finished is not None)

    assert (ledger(), rows(Dog)) == expected
