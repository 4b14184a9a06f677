"""`syncreset recover`."""

import uuid
from pathlib import Path

import pytest
from django.core.files.storage import storages

from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.uploads import discard_pieces
from tests.shelters.models import Dog, Shelter
from tests.support.commands import command, data_of, fails
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "0190a5b4-0000-7000-8000-000000000001"


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    phone = device(shelter)
    phone.pull()
    return phone


@pytest.fixture
def uploaded(phone: Device, shelter: Shelter) -> Recovery:
    """A recovery of one new dog that no worker has taken yet."""
    reset = forced(phone)
    snapshot = phone.snapshot(reset, [made_here(DOG, NEW, dog_fields(shelter, name="Rex"))])
    return Recovery.objects.get(pk=phone.upload(reset, snapshot))


def test_a_recovery_that_waits_is_run_here(uploaded: Recovery) -> None:
    told = data_of("recover", str(uploaded.pk), "--wait")

    assert told["recovery"] == str(uploaded.pk)
    assert (told["kind"], told["state"], told["problem"]) == ("merge", "done", None)
    assert told["progress"] == {"done": 1, "total": 1}
    assert told["totals"]["applied"] == 1
    assert Dog.objects.get().name == "Rex"


def test_a_recovery_that_waits_is_handed_to_a_worker_again(
    uploaded: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Recovery] = []
    monkeypatch.setattr("syncreset.management.subcommands.recover.enqueue", handed.append)

    assert data_of("recover", str(uploaded.pk))["state"] == "queued"

    assert handed == [uploaded]
    assert Recovery.objects.count() == 1
    assert not Dog.objects.exists()


def test_a_finished_recovery_is_run_again_with_another_strategy(phone: Device, shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone.pull()
    row = phone.rows[DOG, str(dog.pk)]
    Dog.objects.update(age=9)
    first = recover(phone, forced(phone), [row_line(row, {})])
    assert Dog.objects.get().age == 9

    text = command("recover", str(first.pk), "--strategy", "overwrite", "--wait")

    again = Recovery.objects.exclude(pk=first.pk).get()
    assert (again.strategy, again.state) == ("overwrite", "done")
    assert again.upload == first.upload
    assert f"{again.pk}\n" in text
    assert "overwrite" in text
    assert Dog.objects.get().age == 1


def test_without_waiting_it_is_left_to_a_worker(uploaded: Recovery) -> None:
    command("recover", str(uploaded.pk), "--wait")

    text = command("recover", str(uploaded.pk))

    again = Recovery.objects.exclude(pk=uploaded.pk).get()
    assert text == f"The merge {again.pk} is queued for a worker.\n"
    assert again.state == "queued"


def test_a_preview_writes_nothing_and_undoing_gives_back(uploaded: Recovery) -> None:
    command("recover", str(uploaded.pk), "--wait")

    undone = data_of("recover", str(uploaded.pk), "--undo", "--wait")
    assert (undone["kind"], undone["state"]) == ("undo", "done")
    assert not Dog.objects.exists()
    uploaded.refresh_from_db()
    assert uploaded.state == "undone"

    previewed = data_of("recover", str(uploaded.pk), "--preview", "--wait")
    assert (previewed["kind"], sum(previewed["totals"].values())) == ("preview", 1)
    assert not Dog.objects.exists()
    assert "only a finished recovery can be undone" in fails("recover", str(uploaded.pk), "--undo")[1]
    assert "name the recovery that it is of" in fails("recover", previewed["recovery"])[1]


def test_what_cannot_be_is_refused_with_a_reason(uploaded: Recovery) -> None:
    key, missing = str(uploaded.pk), str(uuid.uuid4())

    assert f"There is no recovery {missing}" in fails("recover", missing)[1]
    assert "let it finish first" in fails("recover", key, "--strategy", "overwrite")[1]
    assert "let it finish first" in fails("recover", key, "--undo")[1]
    assert "There is no strategy 'os.nothing'" in fails("recover", key, "--strategy", "os.nothing")[1]
    assert "There is no strategy 'best'" in fails("recover", key, "--strategy", "best")[1]
    command("recover", key, "--wait")
    assert "Undoing has no strategy" in fails("recover", key, "--undo", "--strategy", "overwrite")[1]
    assert Recovery.objects.count() == 1


def test_a_purged_snapshot_cannot_be_recovered(uploaded: Recovery) -> None:
    command("recover", str(uploaded.pk), "--wait")
    discard_pieces(uploaded.upload)

    assert "was purged" in fails("recover", str(uploaded.pk), "--wait")[1]

    again = recover_again(uploaded)
    assert "was purged" in fails("recover", str(again.pk), "--wait")[1]
    again.refresh_from_db()
    assert again.state == "failed"


def test_a_crash_is_told_and_the_recovery_can_be_run_on(uploaded: Recovery, media: Path) -> None:
    piece = uploaded.upload.pieces.get()
    stored = (media / piece.name).read_bytes()
    storages["default"].delete(piece.name)

    error = fails("recover", str(uploaded.pk), "--wait")[1]
    assert piece.name in error.replace("\n", "")
    assert "is tried again" in error.replace("\n", " ")

    (media / piece.name).write_bytes(stored)
    assert data_of("recover", str(uploaded.pk), "--wait")["state"] == "done"
    assert Dog.objects.count() == 1


def test_one_that_another_process_holds_is_left_to_it(uploaded: Recovery) -> None:
    Recovery.objects.filter(pk=uploaded.pk).update(state="merging", lease_until=now() + 10**9)

    _printed, error = fails("recover", str(uploaded.pk), "--wait")

    assert "Another process works on" in error
    assert not Dog.objects.exists()
