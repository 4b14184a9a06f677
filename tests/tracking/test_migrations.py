"""Migrations that alter tracked tables: no write fails for a trigger, and no write of a migration is lost."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import isolate_apps, override_settings

from syncreset.feed.entries import Entry
from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.tracking.migrate import MANIFEST
from syncreset.tracking.registry import tracked_models
from syncreset.tracking.triggers import install as triggers
from tests.support.feed import Clocks, clocks_of, entries_of, stamp_all, unstamped
from tests.tracking.farm.models import Animal, Barn, Stall

pytestmark = pytest.mark.django_db(transaction=True)

Work = Callable[[Any, Any], None]


def migrate(target: str) -> None:
    call_command("migrate", "farm", target, verbosity=0, interactive=False)


def copies() -> list[str]:
    return [name for name in connection.introspection.table_names() if name.startswith("syncreset_before")]


@pytest.fixture
def work() -> Iterator[list[Work]]:
    """What the migration 0003 will do."""
    steps: list[Work] = importlib.import_module("tests.tracking.farm.migrations.0003_rewrite").work
    yield steps
    steps.clear()


@pytest.fixture
def farm(work: list[Work]) -> Iterator[None]:
    """The farm's tables before they are altered, with the triggers that the code of that time had."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.tracking.farm"]):
        try:
            migrate("0001")
            triggers.install(connection, [OldAnimal, Pen])
            yield
        finally:
            work.clear()
            migrate("zero")
    # Without the app its copies belong to no model any more, and go.
    call_command("migrate", verbosity=0, interactive=False)


with isolate_apps("tests.tracking.farm"):

    class OldAnimal(SyncTrackedModel):
        id = models.UUIDField(primary_key=True, default=uuid7)
        barn = models.ForeignKey(Barn, on_delete=models.CASCADE, related_name="+")
        name = models.CharField(max_length=40)
        feet = models.IntegerField(default=4)
        weight = models.IntegerField(default=0)
        junk = models.CharField(max_length=20, default="")

        objects: models.Manager["OldAnimal"] = models.Manager()

        class Meta:
            app_label = "farm"
            db_table = "farm_animal"

        class SyncMeta:
            scope = "barn"

    class Pen(SyncTrackedModel):
        id = models.UUIDField(primary_key=True, default=uuid7)
        barn = models.ForeignKey(Barn, on_delete=models.CASCADE, related_name="+")
        number = models.IntegerField()

        objects: models.Manager["Pen"] = models.Manager()

        class Meta:
            app_label = "farm"

        class SyncMeta:
            scope = "barn"


# Its entries are those of the model that the class stands for.
OldAnimal._meta.model_name = "animal"
OldAnimal._meta.object_name = "Animal"


@pytest.fixture
def barn(farm: None) -> Barn:
    return Barn.objects.create(name="Red")


@pytest.fixture
def cow(barn: Barn) -> OldAnimal:
    return OldAnimal.objects.create(barn=barn, name="Cow", weight=500)


@pytest.fixture
def hen(barn: Barn) -> OldAnimal:
    hen = OldAnimal.objects.create(barn=barn, name="Hen", feet=2, weight=2)
    stamp_all()
    return hen


def kinds(instance: models.Model, pk: Any = None) -> dict[str, int]:
    return {entry.scope: entry.kind for entry in entries_of(instance, pk).values()}


def in_barn(barn: Barn) -> str:
    return f"farm.barn:{barn.pk}"


def test_a_table_made_by_a_migration_is_tracked(barn: Barn) -> None:
    assert kinds(barn) == {in_barn(barn): 0}


def test_an_altered_table_is_tracked_again(cow: OldAnimal, hen: OldAnimal) -> None:
    migrate("0004")

    assert triggers.missing_or_stale(connection, tracked_models()) == []
    Animal.objects.filter(name="Cow").update(legs=3, colour="brown", weight="501")
    assert set(clocks_of(cow).fields) == {"*", "legs", "colour", "weight"}
    assert copies() == []


def test_altering_a_table_stamps_and_enters_nothing(cow: OldAnimal, hen: OldAnimal) -> None:
    before = clocks_of(cow), clocks_of(hen)

    migrate("0002")

    assert (clocks_of(cow), clocks_of(hen)) == before
    assert not {entry for entry in unstamped() if entry[0] == "farm.animal"}


def test_a_renamed_field_keeps_its_clock(cow: OldAnimal, hen: OldAnimal) -> None:
    OldAnimal.objects.filter(name="Cow").update(feet=3)
    before = clocks_of(cow)

    migrate("0002")

    assert clocks_of(cow) == Clocks(
        updated=before.updated, fields={"*": before.fields["*"], "legs": before.fields["feet"]}
    )


def test_what_a_data_migration_changed_is_stamped(cow: OldAnimal, hen: OldAnimal, work: list[Work]) -> None:
    before = clocks_of(cow)
    work.append(lambda animal, _: animal.objects.filter(name="Cow").update(name="Bull", legs=5))

    migrate("0003")

    after = clocks_of(cow)
    assert after.updated == before.updated + 1
    assert after.fields == before.fields | {"name": after.updated, "legs": after.updated}
    assert ("farm.animal", str(cow.pk)) in unstamped()
    assert ("farm.animal", str(hen.pk)) not in unstamped()


def test_an_offline_edit_is_newer_than_what_a_data_migration_made_of_the_value_before(
    cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    edited = now()
    work.append(lambda animal, _: animal.objects.update(name="Beast"))

    migrate("0003")

    assert clocks_of(cow).fields["name"] < edited


def test_what_a_data_migration_changed_of_an_altered_type_is_stamped(
    cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    work.append(lambda animal, _: animal.objects.filter(name="Cow").update(weight="501"))

    migrate("0003")

    assert set(clocks_of(cow).fields) == {"*", "weight"}
    assert set(clocks_of(hen).fields) == {"*"}


def test_what_a_data_migration_deleted_leaves_a_tombstone(
    barn: Barn, cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    clocks = clocks_of(cow)
    work.append(lambda animal, _: animal.objects.filter(name="Cow").delete())

    migrate("0003")

    [entry] = entries_of(cow).values()
    assert (entry.kind, entry.scope, entry.checkpoint) == (1, in_barn(barn), None)
    assert entry.row is not None
    assert entry.row["clocks"] == clocks.fields
    assert entry.row["fields"]["name"] == "Cow"
    assert entry.row["fields"]["legs"] == 4


def test_what_a_data_migration_inserted_is_stamped_and_entered(
    barn: Barn, hen: OldAnimal, work: list[Work]
) -> None:
    work.append(lambda animal, _: animal.objects.create(barn_id=barn.pk, name="Pig"))

    migrate("0003")

    pig = Animal.objects.get(name="Pig")
    assert clocks_of(pig).fields == {"*": clocks_of(pig).updated}
    assert clocks_of(pig).updated > 0
    assert kinds(pig) == {in_barn(barn): 0}


def test_what_a_data_migration_moved_departs(
    barn: Barn, cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    blue = Barn.objects.create(name="Blue")
    work.append(lambda animal, _: animal.objects.filter(name="Cow").update(barn_id=blue.pk))

    migrate("0003")

    assert kinds(cow) == {in_barn(barn): 2, in_barn(blue): 0}
    assert set(clocks_of(cow).fields) == {"*", "barn"}


def test_a_failed_migration_keeps_the_copy_until_the_next_succeeds(
    cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    OldAnimal.objects.filter(name="Cow").update(feet=3)
    before = clocks_of(cow)

    def fail(animal: Any, barn: Any) -> None:
        raise RuntimeError("power cut")

    work.append(fail)
    with pytest.raises(RuntimeError, match="power cut"):
        migrate("0003")
    assert copies() == ["syncreset_before", "syncreset_before_farm_animal"]
    Animal.objects.filter(name="Cow").update(name="Bull")  # the site goes on, untracked
    Animal.objects.filter(name="Hen").delete()
    work.clear()

    migrate("0004")

    after = clocks_of(cow)
    assert set(after.fields) == {"*", "name", "legs"}
    assert after.fields["legs"] == before.fields["feet"]
    assert [entry.kind for entry in entries_of(hen).values()] == [1]
    assert copies() == []


def test_a_data_migration_alone_is_tracked_by_the_triggers(
    cow: OldAnimal, hen: OldAnimal, work: list[Work]
) -> None:
    migrate("0002")
    stamp_all()
    work.append(lambda animal, _: animal.objects.filter(name="Cow").update(name="Bull"))

    migrate("0003")

    assert set(clocks_of(cow).fields) == {"*", "name"}
    assert unstamped() == {("farm.animal", str(cow.pk))}


def test_a_renamed_model_takes_its_entries_along(barn: Barn) -> None:
    pen = Pen.objects.create(barn=barn, number=1)
    gone = Pen.objects.create(barn=barn, number=2)
    gone_pk = gone.pk
    gone.delete()
    stamp_all()

    migrate("0004")

    assert not Entry.objects.filter(model="farm.pen").exists()
    stall = Stall.objects.get(number=1)
    assert kinds(stall) == {in_barn(barn): 0}
    assert kinds(stall, gone_pk) == {in_barn(barn): 1}
    assert {("farm.stall", str(pen.pk)), ("farm.stall", str(gone_pk))} <= unstamped()
    Stall.objects.update(number=5)
    assert set(clocks_of(stall).fields) == {"*", "number"}


def test_migrating_backwards_leaves_nothing_failing(cow: OldAnimal, hen: OldAnimal) -> None:
    migrate("0004")

    migrate("0001")

    OldAnimal.objects.filter(name="Cow").update(name="Bull", feet=3)
    assert set(clocks_of(cow).fields) == {"*", "name"}  # the code of now knows no feet
    assert "syncreset_before_farm_animal" not in copies()


def test_no_table_of_ours_outlives_the_comparison(cow: OldAnimal, hen: OldAnimal) -> None:
    migrate("0004")

    assert MANIFEST not in connection.introspection.table_names()
