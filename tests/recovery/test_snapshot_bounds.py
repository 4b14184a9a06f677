"""What a snapshot may cost: a number of lines, one reading, and memory that does not grow with it."""

import gzip
import tracemalloc
from typing import Any

import pytest
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.clock import now
from syncreset.recovery import intake
from syncreset.recovery.check import look_at
from syncreset.recovery.job import Recovery
from syncreset.recovery.merge.keys import SnapshotKeys
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Shelter
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here
from tests.support.wire import create_upload, patch, problem_of

pytestmark = pytest.mark.django_db

VET = "shelters.vet"


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


def vets(count: int) -> list[Any]:
    return [made_here(VET, f"v{number}", {"name": f"Vet {number}", "phone": None}) for number in range(count)]


def test_the_number_of_lines_is_announced_and_kept(phone: Device, settings: Settings) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": 3}
    reset = forced(phone)

    assert phone.get("/")["limits"]["snapshot_lines"] == 3
    problem = phone.upload(reset, phone.snapshot(reset, vets(4)), status=413)
    assert (problem["code"], problem["detail"]) == ("too_large", "the snapshot has more than 3 lines")
    phone.upload(reset, phone.snapshot(reset, vets(3)))


def test_a_refused_snapshot_is_never_read_again(
    phone: Device, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": 1}
    reset = forced(phone)
    data = phone.snapshot(reset, vets(2))
    location = create_upload(phone, reset, data)["Location"]
    first = problem_of(patch(phone, location, data), 413, "too_large")
    read: list[Upload] = []
    monkeypatch.setattr(intake, "look_at", read.append)

    again = problem_of(patch(phone, location, b"", offset=len(data)), 413, "too_large")

    assert again == first
    assert read == []
    monkeypatch.undo()
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": 2}
    assert intake.finish_upload(Upload.objects.get(), by_operator=True).rows == 2
    assert patch(phone, location, b"", offset=len(data)).status_code == 204


def test_a_snapshot_is_read_by_one_request_at_a_time(phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    reset = forced(phone)
    data = phone.snapshot(reset, vets(2))
    location = create_upload(phone, reset, data)["Location"]
    answers: list[Any] = []

    def slow(upload: Upload) -> Any:
        answers.append(patch(phone, location, b"", offset=len(data)))
        return look_at(upload)

    monkeypatch.setattr(intake, "look_at", slow)
    assert patch(phone, location, data).status_code == 204

    (busy,) = answers
    problem_of(busy, 503, "busy")
    assert busy["Retry-After"] == "5"
    assert Recovery.objects.count() == 1
    assert patch(phone, location, b"", offset=len(data)).status_code == 204


def test_a_check_whose_process_died_is_taken_over(phone: Device) -> None:
    reset = forced(phone)
    data = phone.snapshot(reset, vets(1))
    location = create_upload(phone, reset, data)["Location"]
    Upload.objects.update(checked_until=now() + intake.CHECK_LEASE)
    problem_of(patch(phone, location, data), 503, "busy")

    Upload.objects.update(checked_until=now() - 1)

    assert patch(phone, location, b"", offset=len(data)).status_code == 204


def test_keys_are_told_apart_whatever_they_are_made_of() -> None:
    with SnapshotKeys() as keys:
        assert keys.is_new("RowLine", ("a", "b\x00\ud800"))
        assert not keys.is_new("RowLine", ("a", "b\x00\ud800"))
        assert keys.is_new("TombstoneLine", ("a", "b\x00\ud800"))
        assert keys.is_new("RowLine", ("ab", "\x00\ud800"))
        assert ("a", "b") not in keys
        keys.add(("a", "b"))
        assert ("a", "b") in keys
        assert not keys.is_held(("a", "b"))
        keys.hold(("a", "b"))
        assert keys.is_held(("a", "b"))
        for field, at in (("x", 5), ("x", 3), ("\ud800", 2**70), ("x", 7)):
            keys.log(("a", "b"), field, at)
        assert keys.logged(("a", "b")) == {"x": 7, "\ud800": 2**70}
        assert keys.logged(("a", "c")) == {}


def test_memory_does_not_grow_with_the_keys() -> None:
    tracemalloc.start()
    try:
        with SnapshotKeys() as keys:
            for number in range(50_000):
                keys.is_new("RowLine", ("shelters.dog", f"{number:0200d}"))
                keys.add(("shelters.dog", f"{number:0200d}"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_lines_of_nothing_are_refused_before_they_cost_anything(phone: Device, settings: Settings) -> None:
    """Hundreds of thousands of short lines are a few kilobytes of gzip."""
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": 1000}
    (reset,) = Reset.objects.force(Client.objects.filter(pk=phone.client))
    head = gzip.decompress(phone.snapshot(str(reset.pk), [])).partition(b"\n")[0]
    data = gzip.compress(head + b"\n" + b'{"update":["a","b","c",1]}\n' * 300_000)
    assert len(data) < 30_000

    assert phone.upload(str(reset.pk), data, status=413)["code"] == "too_large"
