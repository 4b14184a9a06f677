"""`syncreset purge`, and the task that does the same."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.test import override_settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import Checkpoint, stamp
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.operations.retention import purge as purge_all
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview, recover_again
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Piece, Upload, create_upload
from syncreset.tasks import purge as purge_task
from tests.shelters.models import Dog, Shelter
from tests.support.commands import client_of, command, data_of, days_ago
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = {
    "entries": 0,
    "expired": 0,
    "unsynced": 0,
    "uploads": 0,
    "snapshots": 0,
    "refused": 0,
    "items": 0,
    "clients": 0,
    "orphans": 0,
    "bytes": 0,
}


def purged(*arguments: str) -> dict[str, Any]:
    """What a rehearsal would remove, and then is removed: the same."""
    rehearsed = data_of("purge", *arguments, "--dry-run")
    told: dict[str, Any] = data_of("purge", *arguments)
    assert (rehearsed.pop("dry_run"), told.pop("dry_run")) == (True, False)
    assert rehearsed == told
    told.pop("horizon")
    return told


@contextmanager
def kept_for(**retention: int) -> Iterator[None]:
    with override_settings(SYNCRESET={**settings.SYNCRESET, **retention}):
        yield


@pytest.fixture
def recovery(device: DeviceFactory, shelter: Shelter) -> Recovery:
    """A recovery that was done 31 days ago."""
    phone = device(shelter)
    phone.pull()
    recovery = recover(
        phone, forced(phone), [made_here(DOG, f"0190a5b4-0000-7000-8000-{1:012}", dog_fields(shelter))]
    )
    assert recovery.state == "done"
    return finished(recovery, 31)


def finished(recovery: Recovery, days: float, **more: Any) -> Recovery:
    Recovery.objects.filter(pk=recovery.pk).update(finished=days_ago(days), **more)
    recovery.refresh_from_db()
    return recovery


def files(media: Path) -> list[Path]:
    return sorted(path for path in media.rglob("*") if path.is_file())


def aged(path: Path, hours: float) -> None:
    then = path.stat().st_mtime - hours * 3600
    os.utime(path, (then, then))


def test_there_is_nothing_to_remove_at_first() -> None:
    assert purged() == NOTHING


def test_old_tombstones_go_and_clients_left_behind_are_counted(
    device: DeviceFactory, shelter: Shelter
) -> None:
    doomed, moving, living = (Dog.objects.create(shelter=shelter, name=name) for name in "abc")
    behind, current = device(shelter), device(shelter)
    behind.pull()
    client_of(behind, pending=4)
    doomed.delete()
    moving.shelter = Shelter.objects.create(name="South")
    moving.save()
    current.pull()
    Checkpoint.objects.update(at=days_ago(91))
    last = str(living.pk)
    living.delete()
    stamp()

    assert purged() == {**NOTHING, "entries": 2, "expired": 1, "unsynced": 4}

    assert set(Entry.objects.exclude(kind=0).values_list("pk_text", flat=True)) == {last}
    assert behind.pull(status=409)["reason"] == "checkpoint_expired"
    current.pull()
    assert purged() == NOTHING


def test_a_rehearsal_removes_nothing(
    device: DeviceFactory, shelter: Shelter, recovery: Recovery, media: Path
) -> None:
    Dog.objects.all().delete()
    stamp()
    Checkpoint.objects.update(at=days_ago(91))
    before = (Entry.objects.count(), Checkpoint.objects.count(), files(media))

    assert data_of("purge", "--dry-run")["entries"] == 1
    text = command("purge", "--dry-run")

    assert (Entry.objects.count(), Checkpoint.objects.count(), files(media)) == before
    assert "Would be removed" in text
    assert "nothing was removed" in text


def test_expired_uploads_go_with_their_pieces(device: DeviceFactory, shelter: Shelter, media: Path) -> None:
    phone = device(shelter)
    uploads = [_begun(phone) for _ in range(3)]
    Upload.objects.filter(pk=uploads[0].pk).update(expires=days_ago(1))
    Upload.objects.filter(pk=uploads[1].pk).update(expires=days_ago(0.01))
    assert len(files(media)) == 3

    assert purged() == {**NOTHING, "uploads": 1, "bytes": 5}

    assert set(Upload.objects.values_list("pk", flat=True)) == {uploads[1].pk, uploads[2].pk}
    assert [path.parent.name for path in files(media)] == sorted(str(upload.pk) for upload in uploads[1:])
    assert not (media / "syncreset" / str(uploads[0].pk)).exists()


def test_a_snapshot_goes_long_after_its_recovery_and_the_ledger_stays(
    recovery: Recovery, media: Path
) -> None:
    size = recovery.upload.length
    with kept_for(SNAPSHOT_RETENTION=32 * 24 * 3600):
        assert purged() == NOTHING

    assert purged() == {**NOTHING, "snapshots": 1, "bytes": size}

    assert files(media) == []
    assert Item.objects.filter(recovery=recovery).count() == 1
    upload = Upload.objects.get()
    assert upload.purged is not None
    assert (upload.sha256, upload.length, upload.offset) == (recovery.upload.sha256, size, size)
    assert purged() == NOTHING


@pytest.mark.parametrize("state", ["queued", "merging", "review", "failed", "undone"])
def test_a_snapshot_that_somebody_may_want_is_kept(recovery: Recovery, state: str, media: Path) -> None:
    Recovery.objects.update(state=state)

    assert purged() == NOTHING
    assert files(media)


def test_the_last_merge_decides_and_whatever_reads_it_now(recovery: Recovery) -> None:
    finished(recovery, 60, state="failed")
    again = recover_again(recovery)
    assert purged() == NOTHING

    run(again.pk)
    assert purged() == NOTHING

    finished(again, 40)
    previewed = preview(again)
    assert purged() == NOTHING

    run(previewed.pk)
    finished(previewed, 35)
    assert purged()["snapshots"] == 1


def test_refused_snapshots_are_kept_for_a_person_and_not_for_ever(
    device: DeviceFactory, shelter: Shelter, media: Path
) -> None:
    phone = device(shelter)
    phone.pull()
    phone.upload(forced(phone), b"no snapshot", status=422)
    Upload.objects.update(created=days_ago(364), expires=days_ago(360))
    assert purged() == NOTHING
    assert len(files(media)) == 1

    Upload.objects.update(created=days_ago(366))

    assert purged() == NOTHING | {"refused": 1, "bytes": len(b"no snapshot")}
    assert files(media) == []
    assert not Upload.objects.exists()


def test_items_of_pushes_go_and_what_is_parked_never_does(device: DeviceFactory, shelter: Shelter) -> None:
    dogs = [Dog.objects.create(shelter=shelter, name="Rex", notes="old") for _ in range(3)]
    phone = device(shelter)
    phone.pull()
    Dog.objects.update(notes="the server's")
    changes = [phone.put(DOG, str(dog.pk), {"notes": "the phone's"}) for dog in dogs]
    items = [result["item"] for result in phone.push(*changes)]
    phone.post(f"/items/{items[0]}/resolve", {"keep": "server"})
    phone.post(f"/items/{items[1]}/resolve", {"keep": "server"})
    Item.objects.update(created=days_ago(900))
    Item.objects.filter(pk=items[0]).update(resolved=days_ago(800))

    assert purged() == NOTHING | {"items": 1}
    assert {str(pk) for pk in Item.objects.values_list("pk", flat=True)} == set(items[1:])


def test_clients_that_never_synced_go(device: DeviceFactory, shelter: Shelter) -> None:
    unused, fresh, used = device(shelter), device(shelter), device(shelter)
    used.pull()
    Client.objects.exclude(pk=fresh.client).update(last_seen=days_ago(31))

    assert purged() == NOTHING | {"clients": 1}
    assert not Client.objects.filter(pk=unused.client).exists()
    assert Client.objects.filter(pk__in=[fresh.client, used.client]).count() == 2


def test_files_that_no_upload_names_go_once_they_are_old(
    device: DeviceFactory, shelter: Shelter, media: Path
) -> None:
    upload = _begun(device(shelter))
    folder = media / "syncreset" / str(upload.pk)
    gone = media / "syncreset" / "0190a5b4-0000-7000-8000-000000000009"
    gone.mkdir()
    for path, hours in ((folder / "lost", 2), (folder / "fresh", 0), (gone / "lost", 2)):
        path.write_bytes(b"?")
        aged(path, hours)
    [piece] = Piece.objects.all()
    aged(media / piece.name, 100)
    (media / "somebody-elses").write_bytes(b"!")

    assert purged() == {**NOTHING, "orphans": 2}

    assert {path.name for path in files(media)} == {Path(piece.name).name, "fresh", "somebody-elses"}
    assert not gone.exists()


def test_a_storage_that_lists_no_files_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(self: FileSystemStorage, path: str) -> Any:
        raise NotImplementedError("subclasses of Storage must provide a listdir() method")

    monkeypatch.setattr(FileSystemStorage, "listdir", listdir)

    assert purged()["orphans"] is None
    assert "the storage cannot list its files" in command("purge")


def test_an_interrupted_purge_is_ended_by_the_next(
    recovery: Recovery, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FileSystemStorage, name: str) -> None:
        raise ConnectionError("the storage went away")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, "delete", broken)
        with pytest.raises(ConnectionError):
            purge_all()
    for path in files(media):
        aged(path, 2)

    assert purged() == {**NOTHING, "orphans": 1}
    assert files(media) == []


def test_the_task_for_beat_purges(recovery: Recovery, media: Path) -> None:
    assert purge_task.name == "syncreset.purge"

    told = purge_task.apply().get()

    assert told["snapshots"] == 1
    assert files(media) == []


def _begun(device: Device) -> Upload:
    """An upload of which five of ten bytes have come."""
    [reset] = Reset.objects.force([client_of(device)])
    upload = create_upload(reset, length=10, metadata={"sha256": "0" * 64})
    sent = device.api.generic(
        "PATCH",
        f"/sync/v1/uploads/{upload.pk}",
        "12345",
        content_type="application/offset+octet-stream",
        headers={"Tus-Resumable": "1.0.0", "Upload-Offset": "0"},
    )
    assert sent.status_code == 204
    assert now() < upload.expires
    return upload
