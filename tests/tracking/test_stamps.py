"""A write stamps the row and the fields whose values it changed, and nothing else."""

import copy
import pickle
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.serializers import serialize
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext, isolate_apps

from syncreset.protocol.clock import now
from syncreset.tracking.fields import FieldTimestampsField, LastUpdatedField, MergedClocks, MergedTimestamp
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.feed import Clocks, clocks_of
from tests.zoo.models import Specimen

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelter(db: None) -> Shelter:
    return Shelter.objects.create(name="North")


@pytest.fixture
def rex(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=2)


def stamped_since(before: Clocks, instance: models.Model) -> set[str]:
    """The fields that were stamped since, all with the row's newest time, which grew."""
    after = clocks_of(instance)
    changed = {name for name, clock in after.fields.items() if before.fields.get(name) != clock}
    assert changed
    assert after.updated > before.updated
    assert {after.fields[name] for name in changed} == {after.updated}
    return changed


def test_a_new_row_has_the_clock_of_its_creation(shelter: Shelter) -> None:
    earliest = now() - 1000

    dog = Dog.objects.create(shelter=shelter, name="Rex")

    clocks = clocks_of(dog)
    assert clocks.fields == {"*": clocks.updated}
    assert earliest <= clocks.updated <= now()
    assert (dog.last_updated, dog.field_timestamps) == (clocks.updated, clocks.fields)


def _save(dog: Dog) -> None:
    dog.age = 3
    dog.save()


def _save_one_field(dog: Dog) -> None:
    dog.age = 3
    dog.save(update_fields=["age"])


def _update(dog: Dog) -> None:
    Dog.objects.filter(pk=dog.pk).update(age=3)


def _update_by_expression(dog: Dog) -> None:
    Dog.objects.filter(pk=dog.pk).update(age=F("age") + 1)


def _save_expression(dog: Dog) -> None:
    dog.age = F("age") + 1
    dog.save()


def _bulk_update(dog: Dog) -> None:
    dog.age = 3
    Dog.objects.bulk_update([dog], ["age", "name"])


def _update_or_create(dog: Dog) -> None:
    Dog.objects.update_or_create(pk=dog.pk, defaults={"age": 3})


def _bulk_create_with_conflicts(dog: Dog) -> None:
    copies = [Dog(pk=dog.pk, shelter=dog.shelter, name=dog.name, age=3)]
    Dog.objects.bulk_create(
        copies, update_conflicts=True, unique_fields=["id"], update_fields=["age", "name"]
    )


def _raw_sql(dog: Dog) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shelters_dog SET age = 3, name = name WHERE name = %s", [dog.name])


def _save_loaded_partly(dog: Dog) -> None:
    partly = Dog.objects.only("age").get(pk=dog.pk)
    partly.age = 3
    partly.save()


def _save_without_clocks(dog: Dog) -> None:
    partly = Dog.objects.defer("last_updated", "field_timestamps").get(pk=dog.pk)
    partly.age = 3
    partly.save()


def _save_unpickled(dog: Dog) -> None:
    loaded = pickle.loads(pickle.dumps(dog))
    loaded.age = 3
    loaded.save()


WRITES = [
    _save,
    _save_one_field,
    _update,
    _update_by_expression,
    _save_expression,
    _bulk_update,
    _update_or_create,
    _bulk_create_with_conflicts,
    _raw_sql,
    _save_loaded_partly,
    _save_without_clocks,
    _save_unpickled,
]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__.strip("_"))
def test_every_way_to_change_a_field_stamps_that_field(rex: Dog, write: Callable[[Dog], None]) -> None:
    before = clocks_of(rex)

    write(rex)

    assert Dog.objects.get(pk=rex.pk).age == 3
    assert stamped_since(before, rex) == {"age"}


def test_a_save_of_equal_values_stamps_nothing(rex: Dog) -> None:
    before = clocks_of(rex)

    rex.save()
    Dog.objects.filter(pk=rex.pk).update(age=2, weight=None, notes="")

    assert clocks_of(rex) == before


def test_null_and_empty_text_are_different_values(shelter: Shelter) -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")
    before = clocks_of(vet)

    Vet.objects.update(phone="")

    assert stamped_since(before, vet) == {"phone"}


def test_several_fields_of_one_statement_have_one_time(rex: Dog) -> None:
    before = clocks_of(rex)

    Dog.objects.update(age=9, weight=Decimal("1.50"), born=date(2020, 1, 2), mother=rex)

    assert stamped_since(before, rex) == {"age", "weight", "born", "mother"}


def test_clocks_grow_with_every_write_however_fast(rex: Dog) -> None:
    seen = []

    for age in range(10, 60):
        Dog.objects.filter(pk=rex.pk).update(age=age)
        seen.append(clocks_of(rex).updated)

    assert seen == sorted(set(seen))


def test_a_row_made_again_is_later_than_the_one_deleted(shelter: Shelter) -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")
    for name in ("Dr. B", "Dr. C", "Dr. D"):
        Vet.objects.update(name=name)
    before = clocks_of(vet)

    Vet.objects.all().delete()
    again = Vet.objects.create(code="A1", name="Dr. A")

    assert clocks_of(again).updated > before.updated


def test_a_stale_instance_does_not_write_its_old_clocks_back(rex: Dog) -> None:
    stale = Dog.objects.get(pk=rex.pk)
    Dog.objects.filter(pk=rex.pk).update(notes="bites")
    before = clocks_of(rex)

    stale.notes = "bites"
    stale.name = "Max"
    stale.save()

    assert stamped_since(before, rex) == {"name"}
    assert stale.field_timestamps == clocks_of(rex).fields


def test_a_statement_that_changes_only_the_row_clock_is_undone(rex: Dog) -> None:
    before = clocks_of(rex)

    Dog.objects.update(last_updated=5)

    assert clocks_of(rex) == before


def test_a_statement_that_empties_the_clocks_is_undone(rex: Dog) -> None:
    before = clocks_of(rex)

    Dog.objects.update(last_updated=5, field_timestamps={})

    assert clocks_of(rex) == before


def test_a_changed_field_is_stamped_whatever_else_the_statement_says_of_the_row_clock(rex: Dog) -> None:
    before = clocks_of(rex)

    Dog.objects.update(last_updated=5, age=8)

    assert stamped_since(before, rex) == {"age"}


def test_a_statement_that_brings_clocks_is_a_merge_and_left_alone(rex: Dog) -> None:
    Dog.objects.update(age=7, last_updated=50, field_timestamps={"*": 10, "age": 50})

    assert clocks_of(rex) == Clocks(updated=50, fields={"*": 10, "age": 50})


def test_a_merge_inserts_its_clocks_in_bulk(shelter: Shelter, rex: Dog) -> None:
    merged = Dog(
        pk=rex.pk,
        shelter=shelter,
        name="Rex",
        age=7,
        last_updated=MergedTimestamp(50),
        field_timestamps=MergedClocks({"*": 10, "age": 50}),
    )
    new = Dog(
        shelter=shelter,
        name="Ada",
        last_updated=MergedTimestamp(60),
        field_timestamps=MergedClocks({"*": 60}),
    )

    Dog.objects.bulk_create(
        [merged, new],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["age", "last_updated", "field_timestamps"],
    )

    assert clocks_of(rex) == Clocks(updated=50, fields={"*": 10, "age": 50})
    assert clocks_of(new) == Clocks(updated=60, fields={"*": 60})


def test_bulk_create_stamps_every_row(shelter: Shelter) -> None:
    dogs = Dog.objects.bulk_create([Dog(shelter=shelter, name=f"Dog {number}") for number in range(20)])

    for dog in dogs:
        clocks = clocks_of(dog)
        assert clocks.fields == {"*": clocks.updated}
        assert dog.last_updated == clocks.updated > 0


def test_a_copy_gets_fresh_clocks(rex: Dog) -> None:
    rex.age = 4
    rex.save()
    original = clocks_of(rex)
    duplicate = copy.copy(rex)

    duplicate.pk = Dog._meta.pk.get_default()
    duplicate._state.adding = True
    duplicate.save()

    clocks = clocks_of(duplicate)
    assert clocks.fields == {"*": clocks.updated}
    # SQLite's clock counts milliseconds: the copy may be made within the one in which the original was.
    assert clocks.updated >= original.fields["*"]


def test_a_fixture_keeps_its_clocks(rex: Dog, tmp_path: Path) -> None:
    rex.age = 4
    rex.save()
    before = clocks_of(rex)
    fixture = tmp_path / "dogs.json"
    fixture.write_text(serialize("json", Dog.objects.all()))
    Dog.objects.all().delete()

    call_command("loaddata", str(fixture), verbosity=0)

    assert clocks_of(rex) == before


def test_a_fixture_without_clocks_is_stamped(tmp_path: Path) -> None:
    fixture = tmp_path / "vets.json"
    fixture.write_text('[{"model": "shelters.vet", "pk": "A1", "fields": {"name": "Dr. A"}}]')

    call_command("loaddata", str(fixture), verbosity=0)

    clocks = clocks_of(Vet.objects.get())
    assert clocks.fields == {"*": clocks.updated}
    assert clocks.updated > 0


def test_a_raw_insert_need_not_name_the_clocks() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shelters_vet (code, name) VALUES ('A1', 'Dr. A')")

    clocks = clocks_of(Vet.objects.get())
    assert clocks.fields == {"*": clocks.updated}


def test_set_null_stamps_the_reference(rex: Dog, shelter: Shelter) -> None:
    puppy = Dog.objects.create(shelter=shelter, name="Pup", mother=rex)
    before = clocks_of(puppy)

    rex.delete()

    assert stamped_since(before, puppy) == {"mother"}


def test_a_proxy_writes_the_same_table(rex: Dog) -> None:
    with isolate_apps("tests.shelters"):

        class Puppy(Dog):
            class Meta:
                proxy = True
                app_label = "shelters"

        puppy = Puppy.objects.get(pk=rex.pk)
    before = clocks_of(rex)

    puppy.age = 0
    puppy.save(update_fields=["age"])

    assert stamped_since(before, rex) == {"age"}
    assert puppy.field_timestamps == clocks_of(rex).fields


def test_a_json_value_is_compared_as_json_and_a_decimal_as_a_number() -> None:
    specimen = Specimen.objects.create(
        label="x", json={"a": [1, None]}, decimal=Decimal("1.5"), binary=b"\x00"
    )
    before = clocks_of(specimen)

    if connection.vendor == "sqlite":
        # PostgreSQL keeps no spaces to begin with.
        with connection.cursor() as cursor:
            cursor.execute("""UPDATE zoo_specimen SET json = '{"a":[1,null]}'""")
    Specimen.objects.update(json={"a": [1, None]}, decimal=Decimal("1.5000"), binary=b"\x00")
    assert clocks_of(specimen) == before

    Specimen.objects.update(json={"a": [1]}, binary=b"\x01")
    assert stamped_since(before, specimen) == {"json", "binary"}


def test_a_computed_column_has_no_clock() -> None:
    specimen = Specimen.objects.create(label="x")
    before = clocks_of(specimen)

    Specimen.objects.update(count=5)

    assert stamped_since(before, specimen) == {"count"}
    assert Specimen.objects.get().generated == 6


def test_fields_of_different_types_are_stamped() -> None:
    specimen = Specimen.objects.create(label="x")
    values: dict[str, Any] = {
        "big_integer": 1,
        "boolean": False,
        "char": "a",
        "duration": timedelta(microseconds=1),
        "float": 0.5,
        "text": "t",
    }

    for name, value in values.items():
        before = clocks_of(specimen)
        Specimen.objects.update(**{name: value})
        assert stamped_since(before, specimen) == {name}


def test_after_a_save_both_clocks_are_read_in_one_query(rex: Dog) -> None:
    rex.age = 5
    rex.save()

    with CaptureQueriesContext(connection) as queries:
        seen = (rex.last_updated, rex.field_timestamps, rex.last_updated)

    assert len(queries) == 1
    assert seen[:2] == (clocks_of(rex).updated, clocks_of(rex).fields)


def test_reading_the_clocks_does_not_turn_the_next_save_into_a_partial_one(rex: Dog) -> None:
    rex.save()

    with CaptureQueriesContext(connection) as queries:
        rex.save()

    assert '"notes"' in queries[0]["sql"]
    assert not rex.get_deferred_fields()


def test_refresh_from_db_brings_the_clocks(rex: Dog) -> None:
    Dog.objects.update(age=5)

    rex.refresh_from_db()

    with CaptureQueriesContext(connection) as queries:
        assert rex.field_timestamps == clocks_of(rex).fields
    assert len(queries) == 1  # the test's own


def test_an_instance_that_could_not_be_inserted_has_empty_clocks(rex: Dog, shelter: Shelter) -> None:
    Dog.objects.update(chip="1")
    clash = Dog(shelter=shelter, name="Clash", chip="1")

    with pytest.raises(IntegrityError), transaction.atomic():
        clash.save()

    assert (clash.last_updated, clash.field_timestamps) == (0, {})


def test_an_instance_of_a_row_that_has_gone_says_so(rex: Dog) -> None:
    rex.save()
    Dog.objects.filter(pk=rex.pk).delete()

    with pytest.raises(Dog.DoesNotExist):
        _ = rex.last_updated


def test_a_deleted_instance_has_empty_clocks(rex: Dog) -> None:
    rex.save()

    rex.delete()

    assert rex.field_timestamps == {}


def test_stale_clocks_survive_pickling_and_copying(rex: Dog) -> None:
    rex.age = 5
    rex.save()

    for twin in (pickle.loads(pickle.dumps(rex)), copy.copy(rex), copy.deepcopy(rex)):
        assert twin.field_timestamps == clocks_of(rex).fields


def test_migrations_name_the_clock_fields_without_arguments() -> None:
    for field in (LastUpdatedField(), FieldTimestampsField()):
        _, path, args, kwargs = field.deconstruct()
        assert path == f"syncreset.tracking.fields.{type(field).__name__}"
        assert (list(args), kwargs) == ([], {})


def test_clocks_are_in_no_form(rex: Dog) -> None:
    rex.full_clean()
    assert not Dog._meta.get_field("last_updated").editable
    assert not Dog._meta.get_field("field_timestamps").editable
