"""`syncreset audit`: each kind of fault is found, told of and mended."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from syncreset.feed.checkpoints import stamp
from syncreset.feed.entries import Entry
from syncreset.operations.audit import audit
from syncreset.tracking.triggers import install as triggers
from tests.market.models import Stand
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.commands import command, data_of, fails
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def triggers_return(db: None) -> Iterator[None]:
    """Whatever a test did to them, the next one has its triggers."""
    yield
    triggers.install(connection, [Vet, Dog])


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def found(*arguments: str) -> dict[tuple[str, str], int]:
    """Model and fault to how often it was found."""
    return {(finding.model, finding.fault): finding.count for finding in audit(connection)}


def mended() -> dict[tuple[str, str], bool]:
    told = data_of("audit", "--mend")
    assert told["ok"] is True
    return {(finding["model"], finding["fault"]): finding["mended"] for finding in told["findings"]}


def test_a_server_that_is_as_it_should_be(device: DeviceFactory, shelter: Shelter) -> None:
    Dog.objects.create(shelter=shelter, name="Rex").delete()
    Dog.objects.create(shelter=shelter, name="Max")
    moving = Dog.objects.create(shelter=shelter, name="Ida")
    moving.shelter = Shelter.objects.create(name="South")
    moving.save()
    device(shelter).pull()

    assert data_of("audit") == {"database": "default", "ok": True, "findings": []}
    assert command("audit") == "Triggers, entries and rows agree.\n"


def test_missing_triggers_are_found_and_what_was_written_meanwhile(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    Vet.objects.create(code="A1", name="Dr. A")
    Vet.objects.create(code="B2", name="Dr. B")
    phone.pull()
    drop_triggers(Vet)
    Vet.objects.create(code="C3", name="Dr. C")
    Vet.objects.filter(code="A1").delete()

    printed, error = fails("audit")
    assert "triggers missing" in printed
    assert "shelters.vet" in printed
    assert error == "4 things are wrong. Run it again with --mend."
    counts = found()
    assert counts.pop(("shelters.vet", "triggers")) > 3
    assert counts == {
        ("shelters.vet", "unstamped"): 1,
        ("shelters.vet", "unentered"): 1,
        ("shelters.vet", "orphaned"): 1,
    }

    assert set(mended().values()) == {True}

    assert found() == {}
    phone.pull()
    assert {change["pk"]: "deleted" in change for change in phone.told} == {"A1": True, "C3": False}


def test_a_changed_trigger_is_stale(shelter: Shelter) -> None:
    [table] = triggers.tables_of(connection, [Vet])
    stale = next(trigger for trigger in triggers.expected(connection, table) if "delete" in trigger.name)
    sql(stale.drop_sql)
    sql(stale.create_sql.replace("last_updated + 1", "last_updated + 2"))

    [finding] = audit(connection)

    assert (finding.fault, finding.examples) == ("triggers", (stale.name,))
    assert mended() == {("shelters.vet", "triggers"): True}


def test_entries_that_were_lost_are_made_again(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    dogs = [Dog.objects.create(shelter=shelter, name=f"Dog {number}") for number in range(8)]
    Entry.objects.filter(model=DOG).delete()

    [finding] = audit(connection)
    assert (finding.model, finding.fault, finding.count) == (DOG, "unentered", 8)
    assert finding.examples == tuple(
        f"{pk} in shelters.shelter:{shelter.pk}" for pk in sorted(str(dog.pk) for dog in dogs)[:5]
    )

    mended()

    phone.pull()
    assert {pk for model, pk in phone.rows if model == DOG} == {str(dog.pk) for dog in dogs}


def test_entries_in_a_wrong_scope_depart(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    there = device(other_shelter)
    Entry.objects.filter(model=DOG).update(scope=f"shelters.shelter:{other_shelter.pk}")
    stamp()
    there.pull()

    assert found() == {(DOG, "misplaced"): 1, (DOG, "unentered"): 1}
    assert mended() == {(DOG, "misplaced"): True, (DOG, "unentered"): True}

    here = device(shelter)
    here.pull()
    assert (DOG, str(dog.pk)) in here.rows
    there.pull()
    assert there.told == [{"model": DOG, "pk": str(dog.pk), "removed": True}]


def test_entries_of_rows_that_are_gone_become_tombstones(device: DeviceFactory, shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    phone = device(shelter)
    phone.pull()
    drop_triggers(Dog)
    Dog.objects.all().delete()
    triggers_as_they_were = triggers.expected(connection, *triggers.tables_of(connection, [Dog]))
    for trigger in triggers_as_they_were:
        sql(trigger.create_sql)

    assert found() == {(DOG, "orphaned"): 1}
    mended()

    phone.pull()
    assert [change["pk"] for change in phone.told if change.get("deleted")] == [str(dog.pk)]


def test_rows_whose_clocks_are_empty_are_stamped(shelter: Shelter) -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")
    [table] = triggers.tables_of(connection, [Vet])
    drop_triggers(Vet)
    sql("UPDATE shelters_vet SET field_timestamps = '{}', last_updated = 0")
    for trigger in triggers.expected(connection, table):
        sql(trigger.create_sql)

    [finding] = audit(connection)
    assert (finding.fault, finding.count, finding.examples) == ("unstamped", 1, ("A1",))
    mended()

    vet = Vet.objects.get()
    assert vet.last_updated > 0
    assert vet.field_timestamps == {"*": vet.last_updated}
    assert Entry.objects.get(model="shelters.vet").checkpoint is None


def test_registered_models_are_audited_and_their_entries_clocks(shelter: Shelter) -> None:
    Stand.objects.create(code="A1", name="Fruit")
    Stand.objects.create(code="B2", name="Bread")
    assert found() == {}
    Entry.objects.filter(pk_text="A1").update(clocks=None, updated=None)
    Entry.objects.filter(pk_text="B2").delete()

    assert found() == {("market.stand", "unstamped"): 1, ("market.stand", "unentered"): 1}
    mended()

    assert found() == {}
    for entry in Entry.objects.filter(model="market.stand"):
        assert entry.updated is not None
        assert entry.clocks == {"*": entry.updated}


def test_only_what_is_wrong_is_touched(shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    stamp()
    drop_triggers(Vet)

    mended()

    dog.refresh_from_db()
    assert Entry.objects.get(model=DOG).checkpoint is not None
    assert not Entry.objects.filter(checkpoint=None).exists()


def test_a_table_that_is_not_migrated_cannot_be_mended() -> None:
    with override_settings(DATABASE_ROUTERS=["tests.operations.test_audit.WithoutTables"]):
        assert found() == {}
    sql("ALTER TABLE shelters_vet RENAME TO shelters_vet_away")

    try:
        printed, error = fails("audit", "--mend")
    finally:
        sql("ALTER TABLE shelters_vet_away RENAME TO shelters_vet")

    assert "the table or its clock columns are missing" in printed
    assert error == "1 thing is wrong. Run `manage.py migrate`, then audit again."


class WithoutTables:
    """A router by which nothing lives in any database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return False


def test_databases_must_exist() -> None:
    assert "There is no database 'other'" in fails("audit", "--database", "other")[1]
    assert command("audit", "--database", "default")
