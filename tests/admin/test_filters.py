"""The filters of syncreset's lists that no number of the dashboard leads to."""

from typing import Any

import pytest
from django.urls import reverse

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.recovery.orders import preview
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload, create_upload
from tests.shelters.models import Dog, Shelter
from tests.support.commands import client_of, days_ago
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory
from tests.support.snapshots import forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)


def listed(of: Operator, model: str, **query: str) -> set[object]:
    """The keys of what a list shows."""
    response = of.browser.get(reverse(f"admin:syncreset_{model}_changelist"), query, follow=True)
    return {record.pk for record in response.context["cl"].result_list}


@pytest.mark.parametrize("asked", ["unsynced", "reset"])
def test_what_holds_for_a_client_can_be_asked_for_either_way(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory, asked: str
) -> None:
    one, other = client_of(device(shelter), pending=2), client_of(device(shelter))
    Reset.objects.force([one], not_before=now() + 10**9)
    boss = operator(superuser=True)

    assert listed(boss, "client", **{asked: "yes"}) == {one.pk}
    assert listed(boss, "client", **{asked: "no"}) == {other.pk}
    assert listed(boss, "client", **{asked: "perhaps"}) == {one.pk, other.pk}


def test_uploads_are_filtered_by_what_has_become_of_them_and_by_client(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    recovery = recover(phone, forced(phone), [made_here(DOG, str(Dog().pk), dog_fields(shelter))])
    (reset,) = Reset.objects.force([client_of(device(shelter))])
    names = ("receiving", "expired", "refused", "waiting", "purged")
    made = {name: create_upload(reset, length=9, metadata={"sha256": "0" * 64}).pk for name in names}
    changes: dict[str, dict[str, Any]] = {
        "expired": {"expires": now() - 1},
        "refused": {"offset": 9, "refused": "broken"},
        "waiting": {"offset": 9},
        "purged": {"offset": 9, "purged": now()},
    }
    for name, changed in changes.items():
        Upload.objects.filter(pk=made[name]).update(**changed)
    made["recovered"] = recovery.upload_id
    boss = operator(superuser=True)

    for name, key in made.items():
        assert listed(boss, "upload", state=name) == {key}, name
    assert listed(boss, "upload", client=str(recovery.client_id)) == {recovery.upload_id}


def test_lists_can_leave_out_what_is_old(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    recoveries = []
    for age in (0, 20, 80, 100):
        phone = device(shelter)
        phone.pull()
        made = recover(phone, forced(phone), [made_here(DOG, str(Dog().pk), dog_fields(shelter))])
        for record in (made, made.reset, made.upload):
            type(record)._base_manager.filter(pk=record.pk).update(created=days_ago(age))
        recoveries.append(made)
    boss = operator(superuser=True)

    for days, count in (("7", 1), ("30", 2), ("90", 3), ("1000", 4), ("x", 4)):
        young = recoveries[:count]
        assert listed(boss, "recovery", days=days) == {made.pk for made in young}
        assert listed(boss, "reset", days=days) == {made.reset_id for made in young}
        assert listed(boss, "upload", days=days) == {made.upload_id for made in young}


def test_items_of_previews_can_be_left_out(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = device(shelter)
    phone.pull()
    phone.push(phone.create(DOG, dog_fields(shelter, age="three")))
    recovery = recover(phone, forced(phone), [made_here(DOG, str(Dog().pk), dog_fields(shelter))])
    rehearsal = preview(recovery)
    run(rehearsal.pk)
    boss = operator(superuser=True)

    real = listed(boss, "item", recovery="real")

    assert real == set(Item.objects.exclude(recovery=rehearsal).values_list("pk", flat=True))
    assert len(real) == 2
    assert Item.objects.filter(recovery=rehearsal).exists()


def test_the_list_of_clients_says_and_sorts_by_their_states(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    new, synced = device(shelter), device(shelter)
    synced.pull()
    boss = operator(superuser=True)

    rows = boss.list_of("syncreset_client", o="2").split("<tr>")
    page = boss.page_of(Client.objects.get(pk=new.client))

    (of_new,) = (row for row in rows if new.client in row)
    (of_synced,) = (row for row in rows if synced.client in row)
    assert "never synced" in of_new
    assert "up to date" in of_synced
    assert rows.index(of_synced) < rows.index(of_new)
    assert "never synced" in page
