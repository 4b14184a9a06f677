"""How far a reset is said to be: each state is true, and each ends. And which snapshots a reset takes."""

from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset, ResetReason, order_reset
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.errors import ProtocolError
from syncreset.recovery.intake import finish_upload
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, edited, forced

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    Dog.objects.create(shelter=shelter, name="Rex", age=1)
    made = device(shelter)
    made.pull()
    return made


def state(phone: Device, reset: str) -> str:
    told = phone.get(f"/resets/{reset}")
    assert (told["bootstrapped"] is not None) == (Reset.objects.get(pk=reset).bootstrapped is not None)
    return str(told["state"])


def uploaded(phone: Device, reset: str, **header: Any) -> str:
    (row,) = [row for (model, _), row in phone.rows.items() if model == DOG]
    return str(phone.upload(reset, phone.snapshot(reset, [edited(row, age=2)], **header)))


def test_a_reset_that_is_recovered_after_its_bootstrap(phone: Device) -> None:
    reset = forced(phone)
    data = phone.snapshot(reset, [])
    states = [state(phone, reset)]
    bootstrap(phone, reset)
    states.append(state(phone, reset))
    recovery = phone.upload(reset, data)
    states.append(state(phone, reset))
    run(recovery)
    states.append(state(phone, reset))

    assert states == ["ordered", "bootstrapped", "recovering", "done"]


def test_a_reset_that_is_recovered_before_its_bootstrap(phone: Device) -> None:
    reset = forced(phone)
    recovery = uploaded(phone, reset)
    states = [state(phone, reset)]
    run(recovery)
    states.append(state(phone, reset))
    bootstrap(phone, reset)
    states.append(state(phone, reset))

    assert states == ["recovering", "recovered", "done"]


@pytest.mark.parametrize(
    ("mode", "ended"),
    [("discard", "discarded"), ("manual", "done"), ("recover", "bootstrapped"), (None, "bootstrapped")],
)
def test_the_bootstrap_says_what_becomes_of_the_backup(phone: Device, mode: str | None, ended: str) -> None:
    reset = forced(phone)
    phone.checkpoint = None

    phone.pull(reset=reset, mode=mode)

    assert state(phone, reset) == ended
    Reset.objects.update(deadline=now() - 1)
    assert state(phone, reset) == ("expired" if ended == "bootstrapped" else ended)


@pytest.mark.parametrize("mode", ["burn", 7, "x" * 41, ["discard"]])
def test_a_mode_that_is_none_is_refused(phone: Device, mode: Any) -> None:
    reset = forced(phone)
    phone.checkpoint = None

    assert phone.pull(status=400, reset=reset, mode=mode)["code"] == "malformed"
    assert state(phone, reset) == "ordered"


def test_a_mode_that_is_not_allowed_or_of_no_reset_is_refused(phone: Device, settings: Any) -> None:
    assert phone.pull(status=400, mode="discard")["code"] == "malformed"
    settings.SYNCRESET = {**settings.SYNCRESET, "MODES": ("recover",)}
    reset = forced(phone)
    phone.checkpoint = None

    assert phone.pull(status=400, reset=reset, mode="discard")["code"] == "malformed"


def test_a_reset_that_was_discarded_takes_a_snapshot_still(phone: Device) -> None:
    reset = forced(phone)
    data = phone.snapshot(reset, [])
    phone.checkpoint = None
    phone.pull(reset=reset, mode="discard")

    run(phone.upload(reset, data))

    assert state(phone, reset) == "done"


def test_a_recovery_that_failed_is_no_reset_that_is_done(phone: Device) -> None:
    reset = forced(phone)
    recovery = uploaded(phone, reset)
    bootstrap(phone, reset)
    Recovery.objects.update(state="failed")
    states = [state(phone, reset)]
    again = recover_again(Recovery.objects.get(pk=recovery))
    states.append(state(phone, reset))
    run(again.pk)
    states.append(state(phone, reset))

    assert states == ["failed", "recovering", "done"]


def test_a_reset_that_was_replaced_says_so(phone: Device) -> None:
    reset = forced(phone)
    order_reset(Client.objects.get(pk=phone.client), ResetReason.HISTORY_DIVERGED)

    assert state(phone, reset) == "replaced"


def test_a_reset_for_later_says_so(phone: Device) -> None:
    (reset,) = Reset.objects.force(Client.objects.all(), not_before=now() + 10**9)
    states = [state(phone, str(reset.pk))]
    Reset.objects.update(not_before=now() - 1)
    states.append(state(phone, str(reset.pk)))

    assert states == ["scheduled", "ordered"]


def full_reset(phone: Device) -> str:
    (reset,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=True)
    assert phone.pull(status=409)["recovery"]["full"] is True
    return str(reset.pk)


def test_a_reset_that_wants_every_row_takes_nothing_less(phone: Device) -> None:
    reset = full_reset(phone)
    rows = dict(phone.rows)
    (row,) = [row for (model, _), row in rows.items() if model == DOG]
    part = phone.snapshot(reset, [edited(row, age=2)], full=False)

    refused = phone.upload(reset, part, status=422)

    assert (refused["code"], "full" in refused["detail"]) == ("invalid_snapshot", True)
    assert not Recovery.objects.exists()
    assert Upload.objects.get().refused.startswith("invalid_snapshot: ")
    run(uploaded(phone, reset, full=True))
    assert Dog.objects.get().age == 2


def test_an_operator_may_take_a_part_where_every_row_was_wanted(phone: Device) -> None:
    """The device may be gone: what it had not synced is better than nothing."""
    reset = full_reset(phone)
    (row,) = [row for (model, _), row in phone.rows.items() if model == DOG]
    phone.upload(reset, phone.snapshot(reset, [edited(row, age=2)], full=False), status=422)

    with pytest.raises(ProtocolError, match="full: false"):
        finish_upload(Upload.objects.get())
    run(finish_upload(Upload.objects.get(), by_operator=True).pk)

    assert Dog.objects.get().age == 2


def test_another_copy_of_the_store_has_a_recovery_of_its_own(phone: Device) -> None:
    reset = forced(phone)
    (row,) = [row for (model, _), row in phone.rows.items() if model == DOG]
    one = phone.snapshot(reset, [edited(row, age=2)])
    two = phone.snapshot(reset, [edited(row, notes="of the copy")])

    first, second = phone.upload(reset, one), phone.upload(reset, two)
    again = phone.upload(reset, two)
    for recovery in (first, second):
        run(recovery)

    assert first != second == again
    digests = [phone.get(f"/recoveries/{recovery}")["receipt"]["sha256"] for recovery in (first, second)]
    assert digests[0] != digests[1]
    assert (Dog.objects.get().age, Dog.objects.get().notes) == (2, "of the copy")
    assert Item.objects.filter(state="applied").count() == 2
