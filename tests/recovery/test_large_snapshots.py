"""What a request does not read of a snapshot, the worker reads before it merges anything."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.snapshot.lines import Line
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.recovery import check, intake
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Shelter, Vet
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here
from tests.support.wire import create_upload, patch, problem_of

pytestmark = pytest.mark.django_db(transaction=True)

VET = "shelters.vet"
LINES = 7


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(check, "LINES_AT_A_TIME", 2)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


def vets(count: int) -> list[Line]:
    return [made_here(VET, f"v{number}", {"name": f"Vet {number}", "phone": None}) for number in range(count)]


def miscounted(phone: Device, reset: str) -> bytes:
    """A snapshot with an end that announces one row more than there is."""
    lines = gzip.decompress(phone.snapshot(reset, vets(LINES + 1))).splitlines(keepends=True)
    return gzip.compress(b"".join(lines[: LINES + 1] + lines[-1:]))


def test_a_request_reads_the_beginning_and_the_worker_the_rest(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Counted(SnapshotReader):
        def __iter__(self) -> Iterator[Line]:
            read.append(0)
            for line in super().__iter__():
                read[-1] += 1
                yield line

    monkeypatch.setattr(check, "SnapshotReader", Counted)
    reset = forced(phone)

    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))

    assert read == [3]
    told = phone.get(f"/recoveries/{recovery}")
    assert (told["state"], told["progress"]) == ("queued", {"done": 0, "total": 0})
    assert run(recovery) == "done"
    assert read == [3, LINES]
    assert phone.get(f"/recoveries/{recovery}")["progress"] == {"done": LINES, "total": LINES}
    assert Vet.objects.count() == LINES
    assert Item.objects.filter(recovery=recovery, state="applied").count() == LINES


@pytest.mark.parametrize("bound", ["LINES_AT_ONCE", "BYTES_AT_ONCE", "SENT_AT_ONCE"])
def test_each_bound_leaves_the_check_to_the_worker(
    phone: Device, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    for name in ("LINES_AT_ONCE", "BYTES_AT_ONCE", "SENT_AT_ONCE"):
        monkeypatch.setattr(check, name, 2 if name == bound else 10**6)
    reset = forced(phone)

    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))

    assert not Recovery.objects.get(pk=recovery).checked
    assert run(recovery) == "done"
    assert Recovery.objects.get(pk=recovery).rows == LINES


def test_a_snapshot_within_the_bounds_is_checked_at_once(phone: Device) -> None:
    reset = forced(phone)

    recovery = phone.upload(reset, phone.snapshot(reset, vets(2)))

    assert Recovery.objects.get(pk=recovery).checked
    assert Recovery.objects.get(pk=recovery).total == 2


def test_what_is_wrong_behind_the_beginning_fails_the_recovery_and_writes_nothing(phone: Device) -> None:
    reset = forced(phone)
    data = miscounted(phone, reset)
    location = create_upload(phone, reset, data)["Location"]
    recovery = patch(phone, location, data)["Syncreset-Recovery"]

    assert run(recovery) == "failed"

    told = phone.get(f"/recoveries/{recovery}")
    assert (told["state"], told["problem"]["code"]) == ("failed", "invalid_snapshot")
    assert "announces 8 rows, the snapshot has 7" in told["problem"]["detail"]
    assert not Vet.objects.exists()
    assert run(recovery) == "failed"
    problem_of(patch(phone, location, b"", offset=len(data)), 422, "invalid_snapshot")


def test_another_snapshot_can_be_sent_for_one_that_failed_its_check(phone: Device) -> None:
    reset = forced(phone)
    whole = phone.snapshot(reset, vets(LINES))
    failed = phone.upload(reset, miscounted(phone, reset))
    run(failed)

    recovery = phone.upload(reset, whole)

    assert recovery != failed
    assert run(recovery) == "done"
    assert Vet.objects.count() == LINES


def test_the_digest_of_a_large_upload_is_checked_by_the_worker(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SENT_AT_ONCE", 2)
    monkeypatch.setattr(check, "BYTES_AT_A_TIME", 1)
    reset = forced(phone)
    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))
    Upload.objects.update(sha256="0" * 64)

    assert run(recovery) == "failed"

    assert Upload.objects.get().refused.startswith("invalid_snapshot: the snapshot does not have the sha256")
    assert not Vet.objects.exists()


def test_an_operator_has_what_the_worker_refused_read_again(
    phone: Device, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = forced(phone)
    monkeypatch.setattr(check, "LINES_SKIMMED", 4)
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": 4}
    failed = phone.upload(reset, phone.snapshot(reset, vets(LINES)))
    assert run(failed) == "failed"
    assert phone.get(f"/recoveries/{failed}")["problem"]["code"] == "too_large"

    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": LINES}
    again = intake.finish_upload(Upload.objects.get(), by_operator=True)

    assert again.pk != Recovery.objects.get(pk=failed).pk
    assert run(again.pk) == "done"
    assert Upload.objects.get().refused == ""


def test_a_check_that_was_cut_off_is_begun_anew(phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    reset = forced(phone)
    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))
    whole = check.read_to_end

    def killed(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(intake, "read_to_end", killed)
    with pytest.raises(OSError, match="the disk is gone"):
        run(recovery)
    assert not Recovery.objects.get(pk=recovery).checked
    monkeypatch.setattr(intake, "read_to_end", whole)

    assert run(recovery) == "done"
    assert Vet.objects.count() == LINES


def test_a_preview_checks_what_nobody_has_read(phone: Device) -> None:
    reset = forced(phone)
    recovery = Recovery.objects.get(pk=phone.upload(reset, phone.snapshot(reset, vets(LINES))))

    rehearsal = preview(recovery)

    assert run(rehearsal.pk) == "done"
    assert Recovery.objects.get(pk=rehearsal.pk).rows == LINES
    assert not Vet.objects.exists()


def test_a_worker_that_lost_its_lease_while_it_read_writes_nothing(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = forced(phone)
    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))
    lines: list[str] = []

    class Slow(SnapshotReader):
        def __iter__(self) -> Iterator[Line]:
            if not lines:
                lines.append("read once")
                Recovery.objects.filter(pk=recovery).update(lease_until=0)
                assert run(recovery) == "done"
            return super().__iter__()

    monkeypatch.setattr(check, "SnapshotReader", Slow)

    assert run(recovery) == "merging"
    assert Recovery.objects.get(pk=recovery).state == "done"
    assert Item.objects.filter(recovery=recovery).count() == LINES


def test_what_is_seen_to_be_too_large_is_refused_at_once(phone: Device, settings: Any) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": LINES - 1}
    reset = forced(phone)

    problem = phone.upload(reset, phone.snapshot(reset, vets(LINES)), status=413)

    assert problem["detail"] == "the snapshot has more than 6 lines"
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": LINES}
    assert run(phone.upload(reset, phone.snapshot(reset, vets(LINES)))) == "done"


def test_what_is_skimmed_has_a_bound(phone: Device, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(check, "LINES_SKIMMED", 4)
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_LINES_LIMIT": LINES - 1}
    reset = forced(phone)

    recovery = phone.upload(reset, phone.snapshot(reset, vets(LINES)))

    assert run(recovery) == "failed"
    assert phone.get(f"/recoveries/{recovery}")["problem"]["code"] == "too_large"
