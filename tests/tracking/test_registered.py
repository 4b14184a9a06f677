"""Models that were registered: nothing is added to their tables, their rows' clocks live in the entries."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, models
from django.db.migrations import AlterField, Migration
from django.test.utils import CaptureQueriesContext, isolate_apps

from syncreset.checks import models as checks
from syncreset.feed.entries import Entry, EntryKind
from syncreset.models import SyncTrackedModel
from syncreset.tracking import register as registrations
from syncreset.tracking.migrate import after_migrate, before_migrate
from syncreset.tracking.register import register
from syncreset.tracking.registry import (
    is_tracked,
    options_for,
    synced_fields,
    tracked_models,
)
from syncreset.tracking.tombstones import read_fields
from syncreset.tracking.triggers import install as triggers
from tests.market.models import Product, Stand, Trader
from tests.shelters.models import Dog
from tests.support.feed import entries_of, stamp_all, unstamped
from tests.support.registering import forget_models
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db


@pytest.fixture
def stand() -> Stand:
    return Stand.objects.create(code="A1", name="Fruit")


@pytest.fixture
def trader(stand: Stand) -> Trader:
    return Trader.objects.create(stand=stand, name="Ann", pin="1234")


def entry_of(instance: models.Model) -> Entry:
    (entry,) = (entry for entry in entries_of(instance).values() if entry.kind == EntryKind.ROW)
    return entry


def clocks_of(instance: models.Model) -> dict[str, int]:
    clocks = entry_of(instance).clocks
    assert clocks is not None
    return dict(clocks)


def test_registered_models_are_tracked_with_the_fields_named() -> None:
    assert {Stand, Trader} <= set(tracked_models())
    assert [field.name for field in synced_fields(Trader)] == ["stand", "name", "phone", "debts", "notes"]
    assert (options_for(Trader).scope, options_for(Trader).counters) == ("stand", ("debts",))


def test_nothing_is_added_to_the_table() -> None:
    with connection.cursor() as cursor:
        columns = {
            column.name for column in connection.introspection.get_table_description(cursor, "market_stand")
        }
    assert columns == {"code", "name"}


def test_a_new_row_has_its_clocks_in_its_entry(trader: Trader) -> None:
    entry = entry_of(trader)

    assert entry.scope == "market.stand:A1"
    assert entry.updated is not None
    assert entry.updated > 0
    assert entry.clocks == {"*": entry.updated}


def test_an_update_stamps_the_changed_fields_only(trader: Trader) -> None:
    made = entry_of(trader)
    stamp_all()

    Trader.objects.update(name="Bea", debts=0)

    entry = entry_of(trader)
    assert entry.checkpoint is None
    assert (entry.updated or 0) > (made.updated or 0)
    assert entry.clocks == {"*": made.updated, "name": entry.updated}


def test_a_save_of_everything_stamps_nothing_that_stayed(trader: Trader) -> None:
    before = entry_of(trader)
    stamp_all()

    trader.save()

    assert entry_of(trader).clocks == before.clocks
    assert unstamped() == set()


def test_a_field_that_is_not_named_touches_nothing(trader: Trader) -> None:
    stamp_all()

    Trader.objects.update(pin="9999", rank="old")

    assert unstamped() == set()


def test_bulk_statements_are_tracked(stand: Stand) -> None:
    traders = Trader.objects.bulk_create(Trader(stand=stand, name=f"T{number}") for number in range(30))
    made = {trader.pk: clocks_of(trader) for trader in traders}
    for trader in traders:
        trader.phone = trader.name
    Trader.objects.bulk_update(traders[:20], ["phone"])

    for trader in traders[:20]:
        assert clocks_of(trader).keys() == {"*", "phone"}
        assert clocks_of(trader)["phone"] > made[trader.pk]["*"]
    assert clocks_of(traders[25]) == made[traders[25].pk]


def test_an_upsert_of_new_and_old_rows_is_tracked(trader: Trader, stand: Stand) -> None:
    made = clocks_of(trader)
    new = Trader(stand=stand, name="New")
    old = Trader(pk=trader.pk, stand=stand, name="Bea")

    Trader.objects.bulk_create(
        [old, new], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    )

    assert clocks_of(trader).keys() == {"*", "name"}
    assert clocks_of(trader)["*"] == made["*"]
    assert clocks_of(new).keys() == {"*"}


def test_a_row_that_moves_takes_its_clocks_along(trader: Trader) -> None:
    Trader.objects.update(phone="1")
    before = entry_of(trader)
    other = Stand.objects.create(code="B2", name="Fish")

    Trader.objects.update(stand=other)

    entries = entries_of(trader)
    gone, here = entries["market.stand:A1"], entries["market.stand:B2"]
    assert (gone.kind, gone.clocks) == (EntryKind.DEPARTED, None)
    assert here.clocks == {**(before.clocks or {}), "stand": here.updated}
    Trader.objects.update(stand="A1")
    assert entry_of(trader).scope == "market.stand:A1"
    assert clocks_of(trader)["phone"] == (before.clocks or {})["phone"]


def test_a_deleted_row_leaves_a_tombstone_without_what_is_not_synced(trader: Trader) -> None:
    Trader.objects.update(phone="1", notes={"a": [1, None]})
    before = entry_of(trader)
    pk = trader.pk

    Trader.objects.all().delete()

    (entry,) = entries_of(trader, pk).values()
    assert entry.kind == EntryKind.DELETED
    assert entry.at > (before.updated or 0)
    assert entry.row is not None
    assert (entry.row["updated"], entry.row["clocks"]) == (before.updated, before.clocks)
    assert entry.row["fields"].keys() == {"stand", "name", "phone", "debts", "notes"}
    assert "1234" not in str(entry.row["fields"])
    assert read_fields(Trader, connection.vendor, entry.row["fields"])["notes"] == {"a": [1, None]}


def test_a_row_made_again_has_later_clocks(trader: Trader, stand: Stand) -> None:
    pk = trader.pk
    trader.delete()
    deleted = entries_of(trader, pk)["market.stand:A1"].at

    again = Trader.objects.create(pk=pk, stand=stand, name="Ann")

    assert clocks_of(again)["*"] > deleted


def test_a_new_primary_key_is_a_new_row(stand: Stand) -> None:
    Stand.objects.filter(code="A1").update(code="C3")

    assert [entry.kind for entry in entries_of(stand, "A1").values()] == [EntryKind.DELETED]
    (entry,) = entries_of(stand, "C3").values()
    assert (entry.scope, entry.kind, entry.clocks) == ("market.stand:C3", EntryKind.ROW, {"*": entry.updated})


@pytest.mark.django_db(transaction=True)
def test_an_update_from_another_program_is_tracked(outside_sql: Callable[[str], str]) -> None:
    ann = Trader.objects.create(stand=Stand.objects.create(code="A1", name="Fruit"), name="Ann")

    outside_sql("UPDATE market_trader SET name = 'Bea'; UPDATE market_trader SET pin = '1';")

    assert clocks_of(ann).keys() == {"*", "name"}


def test_rows_that_were_there_get_clocks_when_the_triggers_are_installed(
    stand: Stand, trader: Trader
) -> None:
    kept = clocks_of(stand)
    drop_triggers(Trader)
    other = Trader.objects.create(stand=stand, name="Other")
    Trader.objects.filter(pk=trader.pk).delete()
    assert not entries_of(other)

    triggers.install(connection, tracked_models())

    assert clocks_of(other) == {"*": entry_of(other).updated}
    assert [entry.kind for entry in entries_of(trader, trader.pk).values()] == [EntryKind.DELETED]
    assert clocks_of(stand) == kept
    assert triggers.missing_or_stale(connection, tracked_models()) == []


def test_a_row_moved_without_triggers_keeps_its_clocks(trader: Trader) -> None:
    before = clocks_of(trader)
    drop_triggers(Trader)
    Trader.objects.update(stand=Stand.objects.create(code="B2", name="Fish"))

    triggers.install(connection, [Trader])

    assert entry_of(trader).scope == "market.stand:B2"
    assert clocks_of(trader) == before


def test_what_a_migration_wrote_is_stamped_in_the_entries(stand: Stand, trader: Trader) -> None:
    changed = Trader.objects.create(stand=stand, name="Changed")
    gone = Trader.objects.create(stand=stand, name="Gone", phone="1")
    before = {row.pk: clocks_of(row) for row in (trader, changed, gone)}
    stamp_all()
    alter = AlterField("trader", "name", models.CharField(max_length=101))
    migration = type("Migration", (Migration,), {"operations": [alter]})("9999_alter", "market")

    before_migrate(using=connection.alias, plan=[(migration, False)], apps=apps)
    assert "market_trader" not in {trigger.table for trigger in triggers.installed(connection).values()}
    new = Trader.objects.create(stand=stand, name="New")
    Trader.objects.filter(pk=changed.pk).update(name="Other", pin="1")
    Trader.objects.filter(pk=trader.pk).update(pin="1")
    Trader.objects.filter(pk=gone.pk).delete()
    after_migrate(using=connection.alias)

    assert clocks_of(trader) == before[trader.pk]
    assert clocks_of(changed) == {**before[changed.pk], "name": entry_of(changed).updated}
    assert clocks_of(new) == {"*": entry_of(new).updated}
    (tombstone,) = entries_of(gone, gone.pk).values()
    assert tombstone.kind == EntryKind.DELETED
    assert tombstone.row is not None
    assert tombstone.row["clocks"] == before[gone.pk]
    assert tombstone.row["fields"]["phone"] == "1"
    # The triggers of its many-to-many table were away as well, so clients are to read every row again.
    assert unstamped() == {("market.trader", str(row)) for row in (trader.pk, changed.pk, new.pk, gone.pk)}


def test_a_renamed_field_keeps_its_clock(trader: Trader) -> None:
    Trader.objects.update(phone="1")
    (table,) = triggers.tables_of(connection, [Trader])
    before = clocks_of(trader)

    with connection.cursor() as cursor:
        cursor.execute(
            triggers.clocks_of(connection, table).rename_clock_sql(connection, table, "phone", "name")
        )

    assert clocks_of(trader) == {"*": before["*"], "name": before["phone"]}


@pytest.fixture
def registered_user(db: None) -> Iterator[Callable[..., None]]:
    """Registers `auth.User` for the length of the test."""

    def do(**options: Any) -> None:
        register(User, **options)
        forget_models()

    yield do
    drop_triggers(User)
    registrations._REGISTERED.pop(User, None)
    forget_models()


def test_users_are_tracked_without_their_passwords(registered_user: Any) -> None:
    ada = User.objects.create_user("ada", password="secret", first_name="Ada")
    registered_user(fields=["username", "first_name"])

    triggers.install(connection, tracked_models())
    assert clocks_of(ada) == {"*": entry_of(ada).updated}
    stamp_all()
    ada.set_password("other")
    ada.save()
    assert unstamped() == set()
    User.objects.update(first_name="Adah", is_staff=True)
    assert clocks_of(ada).keys() == {"*", "first_name"}
    pk = ada.pk
    ada.delete()

    (tombstone,) = entries_of(ada, pk).values()
    assert tombstone.row is not None
    assert tombstone.row["fields"] == {"username": "ada", "first_name": "Adah"}
    assert [message.id for message in checks.check_model(User)] == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"fields": ["username", "passwort"]}, {"syncreset.E015"}),
        ({"fields": ["id"]}, {"syncreset.E015"}),
        ({"fields": ["groups"]}, {"syncreset.W007"}),
        ({"fields": ["username"], "read_only": ["email"]}, {"syncreset.E016"}),
        ({"fields": ["username"], "scop": None}, {"syncreset.E003"}),
    ],
)
def test_a_wrong_registration_is_refused(
    registered_user: Any, said: dict[str, Any], expected: set[str]
) -> None:
    registered_user(**said)

    messages = checks.check_models(None)

    assert {message.id for message in messages if message.obj is User} == expected


def test_a_scope_must_be_among_the_fields(registered_user: Any) -> None:
    class Meta:
        app_label = "market"

    with isolate_apps("tests.market"):
        model: Any = type(
            "Helper",
            (models.Model,),
            {"__module__": __name__, "Meta": Meta, "stand": models.ForeignKey(Stand, models.CASCADE)},
        )
    register(model, fields=[], scope="stand")
    try:
        assert [message.id for message in checks.check_model(model)] == ["syncreset.E016"]
    finally:
        registrations._REGISTERED.pop(model)


def test_fields_are_named_one_by_one_and_models_registered_once() -> None:
    with pytest.raises(TypeError, match="list of field names"):
        register(User, fields="__all__")
    with pytest.raises(TypeError, match="inherits SyncTrackedModel"):
        register(Dog, fields=["name"])
    with pytest.raises(TypeError, match="abstract"):
        register(SyncTrackedModel, fields=[])
    with pytest.raises(ValueError, match="registered already"):
        register(Stand, fields=[])
    assert not is_tracked(User)


def test_the_same_registration_again_is_none() -> None:
    register(Stand, fields=["name"], scope="code")

    assert registrations.registered_models().count(Stand) == 1


def test_register_can_be_imported_before_django_is_set_up() -> None:
    code = "import sys; from syncreset import register; assert 'django' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_with_columns_of_its_own_leaves_the_entrys_clocks_empty() -> None:
    entry = entry_of(Product.objects.create(name="Apples"))

    assert (entry.updated, entry.clocks) == (None, None)


def test_an_update_of_a_registered_row_is_one_statement(trader: Trader) -> None:
    with CaptureQueriesContext(connection) as queries:
        Trader.objects.update(name="Bea")

    assert len(queries) == 1
