"""A write enters the row into the feed, once for each scope that has to hear of it."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.query import QuerySet

from syncreset.feed.entries import Entry
from syncreset.protocol.clock import now
from tests.shelters.models import Dog, Shelter, Ticket, Vet, Visit
from tests.support.feed import clocks_of, entries_of, stamp_all, unstamped
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed, UUIDKeyed

pytestmark = pytest.mark.django_db

ROW, DELETED, DEPARTED, TRUNCATED = 0, 1, 2, 3


@pytest.fixture
def north(db: None) -> Shelter:
    return Shelter.objects.create(name="North")


@pytest.fixture
def south(db: None) -> Shelter:
    return Shelter.objects.create(name="South")


@pytest.fixture
def rex(north: Shelter) -> Dog:
    dog = Dog.objects.create(shelter=north, name="Rex", age=2)
    stamp_all()
    return dog


def scope_of(shelter: Shelter) -> str:
    return f"shelters.shelter:{shelter.pk}"


def test_a_new_row_is_entered_in_its_scope(north: Shelter) -> None:
    dog = Dog.objects.create(shelter=north, name="Rex")

    [entry] = entries_of(dog).values()
    assert (entry.model, entry.pk_text, entry.scope) == ("shelters.dog", str(dog.pk), scope_of(north))
    assert (entry.kind, entry.checkpoint, entry.row) == (ROW, None, None)
    assert 0 <= now() - entry.at < 10_000_000


def test_a_scope_is_a_scope_of_its_own(north: Shelter) -> None:
    assert set(entries_of(north)) == {scope_of(north)}


def test_a_model_without_scope_is_entered_for_everyone() -> None:
    assert set(entries_of(Vet.objects.create(code="A1", name="Dr. A"))) == {"*"}


def test_a_changed_row_is_unstamped_again_and_keeps_one_entry(rex: Dog) -> None:
    Dog.objects.update(age=3)
    Dog.objects.update(age=4)

    [entry] = entries_of(rex).values()
    assert (entry.kind, entry.checkpoint) == (ROW, None)


def test_an_unchanged_row_is_not_entered(rex: Dog) -> None:
    rex.save()
    Dog.objects.update(age=2, last_updated=77)

    assert unstamped() == set()


def test_a_merge_is_entered(rex: Dog) -> None:
    Dog.objects.update(last_updated=50, field_timestamps={"*": 50})

    assert unstamped() == {("shelters.dog", str(rex.pk))}


def _delete_instance(dog: Dog) -> None:
    dog.delete()


def _delete_queryset(dog: Dog) -> None:
    Dog.objects.filter(pk=dog.pk).delete()


def _delete_raw(dog: Dog) -> None:
    rows: QuerySet[Dog] = Dog.objects.filter(pk=dog.pk)
    rows._raw_delete(rows.db)


def _delete_by_sql(dog: Dog) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shelters_dog")


def _delete_by_cascade(dog: Dog) -> None:
    dog.shelter.delete()


@pytest.mark.parametrize(
    "delete", [_delete_instance, _delete_queryset, _delete_raw, _delete_by_sql, _delete_by_cascade]
)
def test_every_way_to_delete_leaves_a_tombstone(
    rex: Dog, north: Shelter, delete: Callable[[Dog], None]
) -> None:
    pk, clocks, scope = rex.pk, clocks_of(rex), scope_of(north)

    delete(rex)

    [entry] = entries_of(rex, pk).values()
    assert (entry.kind, entry.checkpoint, entry.scope) == (DELETED, None, scope)
    assert entry.at > clocks.updated
    assert entry.row is not None
    assert entry.row["updated"] == clocks.updated
    assert entry.row["clocks"] == clocks.fields
    assert entry.row["fields"]["name"] == "Rex"
    assert set(entry.row["fields"]) == {
        "shelter", "name", "age", "notes", "weight", "born", "mother", "chip", "intake_no"
    }  # fmt: skip


def test_a_cascade_reaches_grandchildren(rex: Dog, north: Shelter) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    visit = Visit.objects.create(shelter=north, dog=rex, at=at)
    pk = visit.pk

    rex.delete()

    assert entries_of(visit, pk)[scope_of(north)].kind == DELETED


def test_a_row_made_again_replaces_its_tombstone() -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")
    Vet.objects.all().delete()

    Vet.objects.create(code="A1", name="Dr. B")

    [entry] = entries_of(vet).values()
    assert (entry.kind, entry.row) == (ROW, None)


def _move_by_save(dog: Dog, to: Shelter) -> None:
    dog.shelter = to
    dog.save()


def _move_by_update(dog: Dog, to: Shelter) -> None:
    Dog.objects.update(shelter=to)


def _move_by_merge(dog: Dog, to: Shelter) -> None:
    Dog.objects.update(shelter=to, last_updated=50, field_timestamps={"*": 10, "shelter": 50})


@pytest.mark.parametrize("move", [_move_by_save, _move_by_update, _move_by_merge])
def test_a_row_that_changes_scope_departs_from_the_old_one(
    rex: Dog, north: Shelter, south: Shelter, move: Callable[[Dog, Shelter], None]
) -> None:
    move(rex, south)

    entries = entries_of(rex)
    assert {scope: entry.kind for scope, entry in entries.items()} == {
        scope_of(north): DEPARTED,
        scope_of(south): ROW,
    }
    assert all(entry.checkpoint is None and entry.row is None for entry in entries.values())


def test_a_row_that_comes_back_is_a_row_again(rex: Dog, north: Shelter, south: Shelter) -> None:
    Dog.objects.update(shelter=south)
    Dog.objects.update(shelter=north)

    kinds = {scope: entry.kind for scope, entry in entries_of(rex).items()}
    assert kinds == {scope_of(north): ROW, scope_of(south): DEPARTED}


def test_a_new_primary_key_is_a_new_object() -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")

    Vet.objects.update(code="B2")

    [old], [new] = entries_of(vet, "A1").values(), entries_of(vet, "B2").values()
    assert old.row is not None
    assert (old.kind, old.row["fields"]["name"]) == (DELETED, "Dr. A")
    assert (new.kind, new.row) == (ROW, None)


def test_a_new_primary_key_of_a_scope_is_a_new_scope(north: Shelter) -> None:
    old, new = north.pk, uuid.uuid4()

    Shelter.objects.update(id=new)

    assert entries_of(north, old)[f"shelters.shelter:{old}"].kind == DELETED
    assert entries_of(north, new)[f"shelters.shelter:{new}"].kind == ROW


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: IntegerKeyed.objects.create(number=-5), "-5"),
        (lambda: BigIntegerKeyed.objects.create(number=2**62), str(2**62)),
        (lambda: CharKeyed.objects.create(code="it's ü\"%"), "it's ü\"%"),
        (lambda: UUIDKeyed.objects.create(pk=uuid.UUID(int=7)), "00000000-0000-0000-0000-000000000007"),
        (
            lambda: OneToOneKeyed.objects.create(owner=UUIDKeyed.objects.create(pk=uuid.UUID(int=8))),
            "00000000-0000-0000-0000-000000000008",
        ),
    ],
    ids=["integer", "big integer", "text", "uuid", "relation"],
)
def test_a_key_is_entered_as_it_is_on_the_wire(make: Callable[[], Any], text: str) -> None:
    instance = make()

    assert list(entries_of(instance, text)) == ["*"]


def test_a_numbered_row_is_entered_with_its_number(north: Shelter) -> None:
    ticket = Ticket.objects.create(shelter=north, subject="Roof")

    assert set(entries_of(ticket)) == {scope_of(north)}


def test_a_bulk_statement_enters_all_its_rows(north: Shelter) -> None:
    Dog.objects.bulk_create(Dog(shelter=north, name=f"Dog {number}", age=number) for number in range(50))
    stamp_all()

    Dog.objects.filter(age__gte=10).update(notes="old")

    assert len(unstamped()) == 40


def test_what_is_rolled_back_is_not_entered(rex: Dog) -> None:
    with transaction.atomic():
        Dog.objects.update(age=9)
        transaction.set_rollback(True)

    assert unstamped() == set()


@pytest.mark.django_db(transaction=True)
def test_the_entry_is_committed_with_the_row(north: Shelter) -> None:
    Dog.objects.create(shelter=north, name="Rex")

    assert Entry.objects.filter(model="shelters.dog", checkpoint=None).count() == 1


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has TRUNCATE")
@pytest.mark.django_db(transaction=True)
def test_truncate_asks_for_a_new_epoch(rex: Dog) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE shelters_dog CASCADE")

    assert set(
        Entry.objects.filter(kind=TRUNCATED).values_list("model", "pk_text", "scope", "checkpoint")
    ) == {
        ("shelters.dog", "", "*", None),
        ("shelters.visit", "", "*", None),
    }


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has upserts of many tables")
def test_one_statement_may_write_through_a_common_table_expression(rex: Dog, south: Shelter) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH gone AS (DELETE FROM shelters_dog RETURNING name)"
            " INSERT INTO shelters_vet (code, name) SELECT 'R', name FROM gone"
        )

    assert {entry.kind for entry in entries_of(rex).values()} == {DELETED}
    assert ("shelters.vet", "R") in unstamped()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="REPLACE is SQLite's")
class TestReplace:
    def test_a_replaced_row_is_entered(self, rex: Dog) -> None:
        Vet.objects.create(code="A1", name="Dr. A")
        stamp_all()

        with connection.cursor() as cursor:
            cursor.execute("INSERT OR REPLACE INTO shelters_vet (code, name) VALUES ('A1', 'Dr. B')")

        assert unstamped() == {("shelters.vet", "A1")}
        clocks = clocks_of(Vet.objects.get())
        assert clocks.fields == {"*": clocks.updated}

    def test_a_row_replaced_in_another_scope_departs(self, rex: Dog, north: Shelter, south: Shelter) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO shelters_dog (id, shelter_id, name, notes, intake_no)"
                " VALUES (%s, %s, 'R', '', '')",
                [rex.pk.hex, south.pk.hex],
            )

        kinds = {scope: entry.kind for scope, entry in entries_of(rex).items()}
        assert kinds == {scope_of(north): DEPARTED, scope_of(south): ROW}

    def test_an_ignored_row_changes_nothing(self, rex: Dog) -> None:
        Vet.objects.create(code="A1", name="Dr. A")
        stamp_all()

        with connection.cursor() as cursor:
            cursor.execute("INSERT OR IGNORE INTO shelters_vet (code, name) VALUES ('A1', 'B'), ('A2', 'C')")

        assert unstamped() == {("shelters.vet", "A2")}
