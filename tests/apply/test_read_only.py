"""Fields that only the server may set, on whatever road somebody tries to set them."""

import pytest

from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "0190a5b4-0000-7000-8000-000000000001"
STRATEGIES = ("by_base", "by_field", "by_object", "overwrite")


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", intake_no="N-1")


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dog: Dog) -> Device:
    made: Device = device(shelter)
    made.pull()
    return made


@pytest.mark.parametrize("base", [None, {}, {"name": 1}, {"intake_no": 1}], ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_snapshot_makes_a_row_with_a_value_of_its_own(
    phone: Device, shelter: Shelter, dog: Dog, strategy: str, base: dict[str, int] | None
) -> None:
    if base is None:
        line = made_here(DOG, NEW, {**dog_fields(shelter, name="New"), "intake_no": "FORGED"})
    else:
        pulled = phone.rows[DOG, str(dog.pk)]
        fields = {**pulled["fields"], "intake_no": "FORGED"}
        line = row_line({**pulled, "pk": NEW, "fields": fields}, base)

    recovery = recover(phone, forced(phone), [line], strategy=strategy, last_synced={DOG: 1})

    assert not Dog.objects.filter(intake_no="FORGED").exists()
    assert recovery.total == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_deleted_row_comes_back_with_what_it_had(phone: Device, dog: Dog, strategy: str) -> None:
    pk = str(dog.pk)
    line = row_line(phone.rows[DOG, pk], {"name": 1}, name="Edited")
    Dog.objects.filter(pk=pk).delete()

    recovery = recover(phone, forced(phone), [line], strategy=strategy, last_synced={})

    assert recovery.items.get(pk_text=pk).state in ("applied", "merged")
    assert Dog.objects.get(pk=pk).intake_no == "N-1"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_deleted_row_does_not_come_back_with_a_forged_value(phone: Device, dog: Dog, strategy: str) -> None:
    pk = str(dog.pk)
    line = row_line(phone.rows[DOG, pk], {"name": 1}, name="Edited", intake_no="FORGED")
    Dog.objects.filter(pk=pk).delete()

    recovery = recover(phone, forced(phone), [line], strategy=strategy, last_synced={})

    assert not Dog.objects.filter(intake_no="FORGED").exists()
    assert recovery.total == 1


@pytest.mark.parametrize("row", ["missing", "deleted by the user"])
@pytest.mark.parametrize("strategy", ["by_object", "overwrite"])
def test_a_snapshot_that_sets_it_is_refused_by_the_code_of_the_push(
    phone: Device, shelter: Shelter, dog: Dog, strategy: str, row: str
) -> None:
    forged = {**dog_fields(shelter, name="Forged"), "intake_no": "FORGED"}
    (pushed,) = phone.push(phone.create(DOG, forged, NEW))
    pulled = phone.rows[DOG, str(dog.pk)]
    held = {**pulled, "fields": {**pulled["fields"], "intake_no": "FORGED"}}
    if row == "missing":
        line = row_line({**held, "pk": NEW}, {"name": 1}, name="Edited")
    else:
        line = row_line(held, {"name": 1}, name="Edited")
        phone.push(phone.delete(DOG, str(dog.pk)))

    recovery = recover(phone, forced(phone), [line], strategy=strategy, full=False)

    item = recovery.items.get()
    assert (pushed["state"], pushed["problem"]["code"]) == ("rejected", "forbidden_field")
    assert (item.state, item.code) == ("rejected", "forbidden_field")
    assert item.problem["field"] == pushed["problem"]["field"] == "intake_no"
    assert "FORGED" in repr(item.change)
    assert not Dog.objects.filter(name="Edited").exists()
