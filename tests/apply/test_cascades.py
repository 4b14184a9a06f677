"""What a deletion takes with it is asked of the user's rights, too: nobody deletes by cascade what he may not."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from syncreset.feed.checkpoints import Checkpoint
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from tests.shelters.models import Dog, Membership, Shelter, Visit
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, edited, forced, recover

VISIT = "shelters.visit"

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


def told_of(phone: Device, *changes: dict[str, Any]) -> list[tuple[str, str]]:
    return [(result["state"], result.get("problem", {}).get("code", "")) for result in phone.push(*changes)]


def test_what_the_client_alone_has_touched_goes_with_the_row(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    seen = visit(dog, shelter)
    phone.pull()

    edit = phone.put(VISIT, str(seen.pk), {"at": "2026-02-01T00:00:00Z"})
    made = phone.create(VISIT, {"shelter": str(shelter.pk), "dog": str(dog.pk), "at": "2026-03-01T00:00:00Z"})
    told = told_of(phone, edit, made)

    assert told == [("applied", "")] * 2
    assert told_of(phone, phone.delete(DOG, str(dog.pk))) == [("applied", "")]
    assert not Visit.objects.exists()


def test_what_the_client_touches_in_the_same_push_goes_with_the_row(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    seen = visit(dog, shelter)
    phone.pull()
    edit = phone.put(VISIT, str(seen.pk), {"at": "2026-02-01T00:00:00Z"})

    assert told_of(phone, edit, phone.delete(DOG, str(dog.pk))) == [("applied", "")] * 2


def test_what_the_client_touched_and_somebody_else_after_it_stays(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    seen = visit(dog, shelter)
    phone.pull()
    phone.push(phone.put(VISIT, str(seen.pk), {"at": "2026-02-01T00:00:00Z"}))
    Visit.objects.update(at="2026-04-01T00:00:00Z")

    assert told_of(phone, phone.delete(DOG, str(dog.pk))) == [("superseded", "unseen_rows")]
    assert Visit.objects.exists()


def test_a_deletion_is_judged_by_what_had_been_seen_when_it_was_made(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    visit(dog, shelter)
    phone.pull()
    deletion = phone.delete(DOG, str(dog.pk), checkpoint=phone.checkpoint)
    Visit.objects.update(at="2026-04-01T00:00:00Z")
    phone.pull()

    assert told_of(phone, deletion) == [("superseded", "unseen_rows")]
    assert Visit.objects.exists()
    phone.pull()
    assert told_of(phone, phone.delete(DOG, str(dog.pk), checkpoint=phone.checkpoint)) == [("applied", "")]


def test_the_same_deletion_in_a_snapshot_is_judged_the_same(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    visit(dog, shelter)
    phone.pull()
    row, held = phone.rows[DOG, str(dog.pk)], phone.checkpoint
    line = TombstoneLine(
        model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False, checkpoint=held
    )
    Visit.objects.update(at="2026-04-01T00:00:00Z")
    phone.pull()

    recovery = recover(phone, forced(phone), [line], full=False)

    assert Item.objects.get(recovery=recovery).code == "unseen_rows"
    assert Visit.objects.exists()


@pytest.mark.parametrize("named", ["no checkpoint", "", "W10.AAAAAAAAAAAAAAAAAAAAAA"])
def test_a_deletion_that_names_no_checkpoint_of_this_history_has_seen_nothing(
    phone: Device, dog: Dog, shelter: Shelter, named: str
) -> None:
    visit(dog, shelter)
    phone.pull()

    deletion = phone.delete(DOG, str(dog.pk), checkpoint=named)

    assert told_of(phone, deletion) == [("superseded", "unseen_rows")]


def test_a_checkpoint_of_a_history_that_was_lost_has_seen_nothing(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    visit(dog, shelter)
    phone.pull()
    lost = phone.checkpoint
    Checkpoint.objects.update(salt="another")
    reset = phone.pull(status=409)["reset"]
    recover(phone, reset, [])
    bootstrap(phone, reset)

    deletion = phone.delete(DOG, str(dog.pk), checkpoint=lost)

    assert told_of(phone, deletion) == [("superseded", "unseen_rows")]


def test_an_edit_after_the_deletion_is_kept(phone: Device, dog: Dog, shelter: Shelter) -> None:
    seen = visit(dog, shelter)
    phone.pull()
    deletion = phone.delete(DOG, str(dog.pk))
    edit = phone.put(VISIT, str(seen.pk), {"at": "2026-02-01T00:00:00Z"})

    assert told_of(phone, edit, deletion) == [("applied", ""), ("superseded", "unseen_rows")]


def test_what_a_snapshot_changes_goes_with_a_deletion_in_it(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    seen = visit(dog, shelter)
    phone.pull()
    edit = edited(phone.rows[VISIT, str(seen.pk)], at="2026-02-01T00:00:00.000000Z")
    row = phone.rows[DOG, str(dog.pk)]
    deletion = TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False)

    recovery = recover(phone, forced(phone), [edit, deletion], full=False)

    assert recovery.totals["applied"] == 2
    assert not Visit.objects.exists()


def test_what_another_life_of_the_store_has_brought_home_is_not_the_deleters(
    phone: Device, dog: Dog, shelter: Shelter
) -> None:
    seen = visit(dog, shelter)
    phone.pull()
    row = phone.rows[DOG, str(dog.pk)]
    deletion = TombstoneLine(model=DOG, pk=row["pk"], at=now() + 1_000_000, base=row["updated"], pulled=False)
    reset = forced(phone)
    edit = edited(phone.rows[VISIT, str(seen.pk)], at="2026-02-01T00:00:00.000000Z")
    recover(phone, reset, [edit], full=False)

    second = recover(phone, reset, [deletion], full=False)

    assert Item.objects.get(recovery=second).code == "unseen_rows"


def test_a_snapshot_empties_no_reference_of_another_scope_either(
    phone: Device, dog: Dog, other_shelter: Shelter
) -> None:
    puppy = Dog.objects.create(shelter=other_shelter, name="Puppy", mother=dog)
    row = phone.rows[DOG, str(dog.pk)]
    line = TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False)

    recovery = recover(phone, forced(phone), [line], full=False)

    item = Item.objects.get(recovery=recovery)
    assert (item.state, item.code) == ("parked", "protected")
    assert str(puppy.pk) not in str(phone.get(f"/recoveries/{recovery.pk}/items"))
    puppy.refresh_from_db()
    assert puppy.mother_id == dog.pk
