"""What a deletion takes with it is asked of the user's rights, too: nobody deletes by cascade what he may not."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from tests.shelters.models import Dog, Membership, Shelter, Visit
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, recover

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex")


def visit(dog: Dog, shelter: Shelter) -> Visit:
    return Visit.objects.create(shelter=shelter, dog=dog, at="2026-01-01T00:00Z")


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dog: Dog) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


def assert_refused(told: dict[str, Any]) -> None:
    assert (told["state"], told["problem"]["code"]) == ("parked", "protected")
    assert "field" not in told["problem"]


def test_a_deletion_takes_no_row_of_another_scope_with_it(
    phone: Device, dog: Dog, other_shelter: Shelter
) -> None:
    hidden = visit(dog, other_shelter)

    (told,) = phone.push(phone.delete(DOG, str(dog.pk)))

    assert_refused(told)
    assert Dog.objects.filter(pk=dog.pk).exists()
    assert Visit.objects.filter(pk=hidden.pk).exists()
    assert str(hidden.pk) not in str(told)


def test_a_deletion_empties_no_reference_of_another_scope(
    phone: Device, dog: Dog, other_shelter: Shelter
) -> None:
    puppy = Dog.objects.create(shelter=other_shelter, name="Puppy", mother=dog)

    (told,) = phone.push(phone.delete(DOG, str(dog.pk)))

    assert_refused(told)
    puppy.refresh_from_db()
    assert puppy.mother_id == dog.pk


def test_a_deletion_takes_nothing_with_it_that_the_user_may_not_delete(
    shelter: Shelter, dog: Dog, api_for: Callable[[User], APIClient]
) -> None:
    user = User.objects.create_user("clerk")
    Membership.objects.create(user=user, shelter=shelter)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_dog"))
    visit(dog, shelter)
    phone = Device(api_for(user)).register()
    phone.pull()

    (told,) = phone.push(phone.delete(DOG, str(dog.pk)))

    assert_refused(told)
    assert Visit.objects.count() == 1


def test_what_the_user_may_delete_goes_with_the_row(phone: Device, dog: Dog, shelter: Shelter) -> None:
    visit(dog, shelter)
    puppy = Dog.objects.create(shelter=shelter, name="Puppy", mother=dog)
    phone.pull()

    (told,) = phone.push(phone.delete(DOG, str(dog.pk)))

    assert told["state"] == "applied"
    assert not Visit.objects.exists()
    puppy.refresh_from_db()
    assert puppy.mother_id is None


def test_a_snapshot_takes_no_row_of_another_scope_with_it_either(
    phone: Device, dog: Dog, other_shelter: Shelter
) -> None:
    hidden = visit(dog, other_shelter)
    row = phone.rows[DOG, str(dog.pk)]
    line = TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False)

    recovery = recover(phone, forced(phone), [line], full=False)

    assert Item.objects.get(recovery=recovery).code == "protected"
    assert Visit.objects.filter(pk=hidden.pk).exists()
