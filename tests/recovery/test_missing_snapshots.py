"""A snapshot that the storage has lost, or that another process cannot see: named, tried again, asked for again."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import MAX_ATTEMPTS, run
from syncreset.recovery.uploads import Piece, Upload
from syncreset.sdk import RecoveryFailed, Replica
from syncreset.sdk.reset.procedure import RESENDINGS
from tests.shelters.models import Dog, Shelter
from tests.support.commands import command, data_of
from tests.support.device import Device
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online
from tests.support.operators import Operator
from tests.support.real_server import RealServer
from tests.support.snapshots import forced
from tests.support.wire import create_upload, patch, problem_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(user_factory: UserFactory, shelter: Shelter) -> RealServer:
    return RealServer(user_factory(shelter))


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


@pytest.fixture
def phone(server: RealServer, dog: Dog, tmp_path: Path) -> Iterator[Replica]:
    """A replica whose backup has been uploaded, and that waits for the recovery."""
    with Replica(tmp_path / "field.db", URL, "token", client=online(server)) as replica:
        replica.sync()
        replica.update("shelters.dog", dog.pk, age=9)
        Reset.objects.force(Client.objects.all())
        server.recovers = False
        replica.sync(wait=False)
        yield replica


def fail(recovery: Recovery) -> list[str]:
    """Run it until it is given up."""
    return [run(recovery.pk) for _ in range(MAX_ATTEMPTS)]


def test_a_recovery_without_its_snapshot_is_tried_again_and_then_fails(
    phone: Replica, media: Path, admin_user: User
) -> None:
    recovery, name = Recovery.objects.get(), Piece.objects.get().name
    (media / name).rename(media / "elsewhere")

    assert run(recovery.pk) == "queued"
    Recovery.objects.update(created=now() - 10**9)
    told = data_of("status")
    text = command("status")
    assert [each["recovery"] for each in told["recoveries"]["idle"]] == [str(recovery.pk)]
    assert told["recoveries"]["idle"][0]["problem"]["code"] == "snapshot_missing"
    assert told["missing_snapshots"] == {str(recovery.upload_id): name}
    assert name in text
    assert fail(recovery)[-2:] == ["failed", "failed"]
    page = Operator(admin_user).page_of(recovery)
    assert "snapshot_missing" in page
    assert name in page
    assert "recover again" in page

    (media / "elsewhere").rename(media / name)
    assert run(recover_again(recovery).pk) == "done"
    assert Dog.objects.get().age == 9
    assert data_of("status")["missing_snapshots"] == {}
    phone.sync()
    assert [backup.state for backup in phone.backups()] == ["receipted"]


def test_idle_recoveries_are_named_after_so_many_seconds(phone: Replica) -> None:
    Recovery.objects.update(created=now() - 60 * 1_000_000)

    assert data_of("status")["recoveries"]["idle"] == []
    assert len(data_of("status", "--idle-seconds", "30")["recoveries"]["idle"]) == 1
    Recovery.objects.update(state="merging", lease_until=now() + 10**9)
    assert data_of("status", "--idle-seconds", "30")["recoveries"]["idle"] == []
    Recovery.objects.update(lease_until=now() - 60 * 1_000_000)
    assert len(data_of("status", "--idle-seconds", "30")["recoveries"]["idle"]) == 1


def test_the_device_sends_its_backup_again_when_the_storage_is_lost(
    phone: Replica, server: RealServer, media: Path, dog: Dog
) -> None:
    shutil.rmtree(media)
    fail(Recovery.objects.get())
    server.recovers = True

    for _ in range(3):
        phone.sync()

    assert Dog.objects.get().age == 9
    assert [backup.state for backup in phone.backups()] == ["receipted"]
    assert phone.reset_state() is None
    assert Upload.objects.count() == 2
    assert sorted(Recovery.objects.values_list("state", flat=True)) == ["done", "failed"]


def test_the_device_sends_its_backup_again_after_the_deadline_too(
    phone: Replica, server: RealServer, media: Path
) -> None:
    shutil.rmtree(media)
    fail(Recovery.objects.get())
    Reset.objects.update(deadline=1)
    server.recovers = True

    for _ in range(4):
        phone.sync()

    assert Dog.objects.get().age == 9
    assert [backup.state for backup in phone.backups()] == ["receipted"]


def test_a_device_does_not_send_its_backup_for_ever(phone: Replica, media: Path) -> None:
    def lose_and_sync() -> None:
        shutil.rmtree(media, ignore_errors=True)
        for recovery in Recovery.objects.filter(state="queued"):
            fail(recovery)
        phone.sync(wait=False)

    for _ in range(2 * RESENDINGS):
        lose_and_sync()
    with pytest.raises(RecoveryFailed, match="not in the storage"):
        lose_and_sync()

    assert Upload.objects.count() == 1 + RESENDINGS
    assert [backup.state for backup in phone.backups()] == ["kept"]


def test_the_device_begins_anew_where_the_storage_is_lost_in_the_middle_of_the_upload(
    device: DeviceFactory, shelter: Shelter, media: Path
) -> None:
    tablet: Device = device(shelter)
    tablet.pull()
    data = tablet.snapshot(reset := forced(tablet), [])
    location = create_upload(tablet, reset, data)["Location"]
    half = len(data) // 2
    patch(tablet, location, data[:half])
    shutil.rmtree(media)

    problem_of(patch(tablet, location, data[half:], half), 410, "snapshot_missing")

    head: Any = tablet.api.head(location, headers={"Tus-Resumable": "1.0.0"})
    assert head.status_code == 410
    assert run(tablet.upload(reset, data)) == "done"
