"""Recovering snapshots again, and those that were refused."""

import pytest
from django.contrib.admin.models import LogEntry

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery, RecoveryKind, RecoveryState
from syncreset.recovery.orders import undo
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from syncreset.wire.schema import PublishedSchema
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.operators import OperatorFactory, page_url
from tests.support.snapshots import edited, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

RECOVERIES = "syncreset_recovery"
UPLOADS = "syncreset_upload"
MAY_RECOVER = (
    "syncreset.view_recovery",
    "syncreset.view_upload",
    "syncreset.recover_again_recovery",
)


@pytest.fixture
def recovery(device: DeviceFactory, shelter: Shelter) -> Recovery:
    """A finished recovery that made a dog one year older."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    return recover(phone, reset, [edited(phone.rows[DOG, str(dog.pk)], age=2)])


def test_a_recovery_is_asked_about_and_then_runs_again_with_the_chosen_strategy(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_RECOVER)

    question = boss.act(RECOVERIES, "recover_again", recovery)
    assert Recovery.objects.count() == 1
    answer = boss.act(RECOVERIES, "recover_again", recovery, confirmed="yes", strategy="overwrite")

    again = Recovery.objects.exclude(pk=recovery.pk).get()
    assert page_url(recovery) in question
    assert page_url(again) in answer
    assert (again.strategy, again.strategy_chosen, again.created_by) == ("overwrite", True, boss.user)
    assert again.state == RecoveryState.QUEUED
    assert LogEntry.objects.get().object_id == str(recovery.pk)
    assert run(again.pk) == RecoveryState.DONE
    assert set(Item.objects.filter(recovery=again).values_list("state", flat=True)) == {"identical"}


def test_the_strategy_may_stay_and_a_foreign_one_is_refused(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_RECOVER)

    refused = boss.act(RECOVERIES, "recover_again", recovery, confirmed="yes", strategy="os.system")
    assert "Select a valid choice" in refused
    assert Recovery.objects.count() == 1
    boss.act(RECOVERIES, "recover_again", recovery, confirmed="yes", strategy="")

    assert Recovery.objects.exclude(pk=recovery.pk).get().strategy == recovery.strategy


def test_without_the_permission_nothing_is_recovered(recovery: Recovery, operator: OperatorFactory) -> None:
    guest = operator("syncreset.view_recovery", "syncreset.change_recovery", "syncreset.view_upload")

    assert "recover_again" not in guest.list_of(RECOVERIES)
    assert "Recover again" not in guest.page_of(recovery)
    guest.act(RECOVERIES, "recover_again", recovery, confirmed="yes")
    guest.act(UPLOADS, "recover", recovery.upload, confirmed="yes")

    assert Recovery.objects.count() == 1


@pytest.mark.parametrize("why", ["merging", "undoing", "purged"])
def test_what_cannot_be_recovered_again_is_left_out(
    recovery: Recovery, operator: OperatorFactory, why: str
) -> None:
    boss = operator(*MAY_RECOVER)
    if why == "merging":
        Recovery.objects.update(state=RecoveryState.MERGING)
    elif why == "undoing":
        run(undo(recovery).pk)
        recovery = Recovery.objects.get(kind=RecoveryKind.UNDO)
    else:
        Upload.objects.update(purged=now())
    count = Recovery.objects.count()

    question = boss.act(RECOVERIES, "recover_again", recovery)
    boss.act(RECOVERIES, "recover_again", recovery, confirmed="yes")

    assert "Left out: 1 of the selected" in question
    assert 'type="submit" class="default"' not in question
    assert "Recover again" not in boss.page_of(recovery)
    assert Recovery.objects.count() == count


def test_a_refused_snapshot_is_recovered_once_its_schema_is_known(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    phone.upload(reset, phone.snapshot(reset, [], schema="0" * 32), status=422)
    upload = Upload.objects.get()
    boss = operator(*MAY_RECOVER)
    assert "refused" in boss.list_of(UPLOADS)

    still = boss.act(UPLOADS, "recover", upload, confirmed="yes")
    assert "was refused again" in still
    assert not Recovery.objects.exists()
    current = PublishedSchema.objects.get()
    PublishedSchema.objects.create(hash="0" * 32, document=current.document)
    question = boss.act(UPLOADS, "recover", upload)
    assert "unsupported_schema" in question
    assert not Recovery.objects.exists()
    boss.act(UPLOADS, "recover", upload, confirmed="yes")

    recovery = Recovery.objects.get()
    assert run(recovery.pk) == RecoveryState.DONE
    assert LogEntry.objects.get().object_id == str(upload.pk)
    assert "Left out: 1 of the selected" in boss.act(UPLOADS, "recover", upload)
