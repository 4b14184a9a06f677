"""Who may go on with a recovery: the worker whose claim is the newest, from where it left off."""

import pytest

from syncreset.protocol.clock import now
from syncreset.recovery.job import LeaseLost, Recovery, claim, hold
from tests.shelters.models import Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def left_behind(device: DeviceFactory, shelter: Shelter) -> Recovery:
    """A recovery that a worker has claimed, and whose lease has run out."""
    phone = device(shelter)
    phone.pull()
    line = made_here(DOG, "0190a5b4-0000-7000-8000-000000000001", dog_fields(shelter))
    recovery = recover(phone, forced(phone), [line])
    Recovery.objects.filter(pk=recovery.pk).update(state="queued", lease_until=0)
    mine = claim(recovery.pk)
    assert mine is not None
    Recovery.objects.filter(pk=mine.pk).update(lease_until=now() - 1)
    return mine


def test_a_worker_goes_on_while_nobody_else_has_claimed(left_behind: Recovery) -> None:
    hold(left_behind)

    assert claim(left_behind.pk) is None, "its lease runs again"


def test_a_worker_whose_claim_is_not_the_newest_stops_though_nothing_has_moved(left_behind: Recovery) -> None:
    newer = claim(left_behind.pk)
    assert newer is not None
    assert newer.position == left_behind.position

    with pytest.raises(LeaseLost):
        hold(left_behind)
    hold(newer)


def test_a_worker_that_does_not_know_of_a_line_that_was_merged_stops(left_behind: Recovery) -> None:
    Recovery.objects.filter(pk=left_behind.pk).update(position=left_behind.position + 1)

    with pytest.raises(LeaseLost):
        hold(left_behind)
