"""Installing triggers: only where they differ, making up for what was written meanwhile."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.db import NotSupportedError, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext, isolate_apps

from syncreset.feed.entries import Entry
from syncreset.models import SyncTrackedModel
from syncreset.tracking.registry import options_for, tracked_models
from syncreset.tracking.triggers import install as triggers
from syncreset.tracking.triggers.table import name_for
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.feed import clocks_of, entries_of, stamp_all, unstamped
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db


def test_migrate_has_installed_the_triggers_of_every_tracked_model() -> None:
    assert triggers.missing_or_stale(connection, tracked_models()) == []
    assert len(triggers.tables_of(connection, tracked_models())) == len(tracked_models())


def test_installing_again_changes_nothing() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert triggers.install(connection, tracked_models()) == []

    assert not [query["sql"] for query in queries if "CREATE" in query["sql"] or "DROP" in query["sql"]]


def test_dropped_triggers_track_nothing_until_they_are_installed() -> None:
    Vet.objects.create(code="A1", name="Dr. A")
    Vet.objects.create(code="B2", name="Dr. B")
    stamp_all()
    drop_triggers(Vet)
    Vet.objects.create(code="C3", name="Dr. C")
    Vet.objects.filter(code="B2").delete()
    assert unstamped() == set()

    [table] = triggers.install(connection, tracked_models())

    assert table.label == "shelters.vet"
    assert unstamped() == {("shelters.vet", "B2"), ("shelters.vet", "C3")}
    new = Vet.objects.get(code="C3")
    assert clocks_of(new).fields == {"*": clocks_of(new).updated}
    assert entries_of(new, "B2")["*"].kind == 1


def test_a_stale_trigger_is_replaced() -> None:
    [table] = triggers.tables_of(connection, [Vet])
    stale = next(trigger for trigger in triggers.expected(connection, table) if "delete" in trigger.name)
    with connection.cursor() as cursor:
        cursor.execute(stale.drop_sql)
        cursor.execute(stale.create_sql.replace("last_updated + 1", "last_updated + 2"))
    assert triggers.missing_or_stale(connection, tracked_models()) == [table]

    assert triggers.install(connection, tracked_models()) == [table]

    assert triggers.missing_or_stale(connection, tracked_models()) == []


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL disables triggers")
def test_a_disabled_trigger_is_stale() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shelters_vet DISABLE TRIGGER zz_syncreset_stamp")

    assert [table.name for table in triggers.missing_or_stale(connection, [Vet])] == ["shelters_vet"]


def test_a_new_declaration_of_the_scope_moves_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    north = Shelter.objects.create(name="North")
    rex = Dog.objects.create(shelter=north, name="Rex")
    stamp_all()
    monkeypatch.setattr(Dog.SyncMeta, "scope", None)
    options_for.cache_clear()

    try:
        triggers.install(connection, [Dog])
    finally:
        options_for.cache_clear()

    assert {scope: entry.kind for scope, entry in entries_of(rex).items()} == {
        "*": 0,
        f"shelters.shelter:{north.pk}": 2,
    }
    assert unstamped() == {("shelters.dog", str(rex.pk))}


def test_columns_that_do_not_exist_yet_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolate_apps("tests.shelters"):

        class Vet(SyncTrackedModel):
            code = models.CharField(max_length=20, primary_key=True)
            name = models.CharField(max_length=100)
            wing = models.CharField(max_length=100, null=True)

            class Meta:
                app_label = "shelters"

    triggers.install(connection, [Vet])
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shelters_vet (code, name) VALUES ('A1', 'Dr. A')")
        cursor.execute("UPDATE shelters_vet SET name = 'Dr. B'")
        cursor.execute("DELETE FROM shelters_vet")

    entry = Entry.objects.get(pk_text="A1")
    assert entry.row is not None
    assert set(entry.row["clocks"]) == {"*", "name"}


def test_a_model_without_its_table_is_left_alone() -> None:
    with isolate_apps("tests.shelters"):

        class Missing(SyncTrackedModel):
            class Meta:
                app_label = "shelters"

    assert triggers.install(connection, [Missing]) == []


def test_names_are_short_enough_for_every_database() -> None:
    long = "shelters_" + "a" * 80

    assert name_for("stamp", "shelters_dog") == "syncreset_stamp_shelters_dog"
    assert len(name_for("stamp", long)) <= 63
    assert name_for("stamp", long) != name_for("stamp", long + "b")


def test_other_databases_are_refused() -> None:
    class Oracle:
        vendor = "oracle"
        display_name = "Oracle"

    with pytest.raises(NotSupportedError, match="Oracle"):
        triggers.vendor_of(Oracle())  # type: ignore[arg-type]


@pytest.mark.django_db(transaction=True)
@isolate_apps("tests.shelters")
def test_a_table_with_many_columns_is_tracked(request: pytest.FixtureRequest) -> None:
    fields: dict[str, object] = {f"field_{number}": models.IntegerField(null=True) for number in range(130)}
    meta = type("Meta", (), {"app_label": "shelters"})
    wide: Any = type("Wide", (SyncTrackedModel,), fields | {"__module__": __name__, "Meta": meta})
    with connection.schema_editor() as editor:
        editor.create_model(wide)
    request.addfinalizer(lambda: drop_table(wide))
    triggers.install(connection, [wide])

    row = wide._default_manager.create(field_7=1)
    wide._default_manager.update(field_7=2, field_129=3)
    clocks = clocks_of(row)
    assert set(clocks.fields) == {"*", "field_7", "field_129"}
    pk = row.pk
    row.delete()

    copy = entries_of(row, pk)["*"].row
    assert copy is not None
    assert len(copy["fields"]) == 130
    assert (copy["fields"]["field_129"], copy["fields"]["field_0"]) == (3, None)


@pytest.mark.django_db(transaction=True)
@isolate_apps("tests.shelters")
def test_tables_and_columns_may_have_any_name(request: pytest.FixtureRequest) -> None:
    names = ("{table}", "entered_at", "began", "ts", "clocks", "rowid", "oid", "_rowid_", "it's", "NEW")
    fields: dict[str, object] = {
        f"field_{place}": models.IntegerField(null=True, db_column=name) for place, name in enumerate(names)
    }
    meta = type("Meta", (), {"app_label": "shelters", "db_table": "it's a {table}"})
    odd: Any = type("Odd", (SyncTrackedModel,), fields | {"__module__": __name__, "Meta": meta})
    with connection.schema_editor() as editor:
        editor.create_model(odd)
    request.addfinalizer(lambda: drop_table(odd))
    triggers.install(connection, [odd])

    row = odd._default_manager.create(field_0=1)
    for name in fields:
        odd._default_manager.update(**{name: 2})
    assert set(clocks_of(row).fields) == {"*", *fields}
    pk = row.pk
    row.delete()

    copy = entries_of(row, pk)["*"].row
    assert copy is not None
    assert copy["fields"] == dict.fromkeys(fields, 2)


def drop_table(model: type[models.Model]) -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(model)


def run_shell(connection: BaseDatabaseWrapper, sql: str) -> None:
    """Runs SQL in the database's own command line client, as an operator does."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        command = ["sqlite3", name, sql]
    else:
        host = str(connection.settings_dict["HOST"])
        command = ["psql", "-v", "ON_ERROR_STOP=1", "-h", host, "-U", "postgres", "-d", name, "-c", sql]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def committed_vet(transactional_db: None) -> Vet:
    return Vet.objects.create(code="A1", name="Dr. A")


@pytest.mark.django_db(transaction=True)
class TestShell:
    """Writes from outside of Django."""

    def test_an_update_from_the_shell_is_stamped_and_entered(self, committed_vet: Vet) -> None:
        before = clocks_of(committed_vet)
        stamp_all()

        run_shell(connection, "UPDATE shelters_vet SET name = 'Dr. B'")

        after = clocks_of(committed_vet)
        assert after.fields == before.fields | {"name": after.updated}
        assert unstamped() == {("shelters.vet", "A1")}

    def test_an_insert_and_a_delete_from_the_shell_are_entered(self, committed_vet: Vet) -> None:
        stamp_all()

        run_shell(connection, "INSERT INTO shelters_vet (code, name) VALUES ('B2', 'Dr. B')")
        run_shell(connection, "DELETE FROM shelters_vet WHERE code = 'A1'")

        assert unstamped() == {("shelters.vet", "A1"), ("shelters.vet", "B2")}
        assert entries_of(committed_vet)["*"].kind == 1

    @pytest.mark.skipif("connection.vendor != 'sqlite'", reason="a switch of SQLite")
    def test_recursive_triggers_make_no_difference(self, committed_vet: Vet) -> None:
        before = clocks_of(committed_vet)
        stamp_all()

        run_shell(
            connection,
            "PRAGMA recursive_triggers = ON; UPDATE shelters_vet SET last_updated = 5;"
            " UPDATE shelters_vet SET name = 'Dr. B';"
            " INSERT OR REPLACE INTO shelters_vet (code, name) VALUES ('C3', 'Dr. C');"
            " INSERT OR REPLACE INTO shelters_vet (code, name) VALUES ('C3', 'Dr. D')",
        )

        after = clocks_of(committed_vet)
        assert after.fields == before.fields | {"name": after.updated}
        assert unstamped() == {("shelters.vet", "A1"), ("shelters.vet", "C3")}
        assert entries_of(committed_vet, "C3")["*"].kind == 0

    @pytest.mark.skipif("connection.vendor != 'postgresql'", reason="schemas are PostgreSQL's")
    def test_any_search_path_will_do(self, committed_vet: Vet) -> None:
        stamp_all()

        run_shell(
            connection,
            "SET search_path = ''; UPDATE public.shelters_vet SET name = 'Dr. B';"
            " INSERT INTO public.shelters_vet (code, name) VALUES ('B2', 'B');"
            " DELETE FROM public.shelters_vet WHERE code = 'A1'",
        )

        assert unstamped() == {("shelters.vet", "A1"), ("shelters.vet", "B2")}

    @pytest.mark.skipif("connection.vendor != 'postgresql'", reason="roles are PostgreSQL's")
    def test_a_role_that_may_not_write_the_feed_is_tracked_too(self, committed_vet: Vet) -> None:
        stamp_all()

        run_shell(
            connection,
            "CREATE ROLE keeper; GRANT SELECT, INSERT, UPDATE, DELETE ON shelters_vet TO keeper; SET ROLE keeper;"
            " UPDATE shelters_vet SET name = 'Dr. B'; RESET ROLE;"
            " REVOKE ALL ON shelters_vet FROM keeper; DROP ROLE keeper",
        )

        assert unstamped() == {("shelters.vet", "A1")}

    @pytest.mark.skipif("connection.vendor != 'postgresql'", reason="COPY is PostgreSQL's")
    def test_copy_is_tracked(self, committed_vet: Vet, tmp_path: Path) -> None:
        stamp_all()

        run_shell(connection, "COPY shelters_vet (code, name) FROM PROGRAM 'printf \"B2\\tB\\nC3\\tC\\n\"'")

        assert unstamped() == {("shelters.vet", "B2"), ("shelters.vet", "C3")}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="row triggers of others are PostgreSQL's")
def test_what_another_trigger_changes_is_stamped() -> None:
    vet = Vet.objects.create(code="A1", name="Dr. A")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.phone := upper(NEW.name); RETURN NEW; END $$;"
            " CREATE TRIGGER shout BEFORE UPDATE ON shelters_vet FOR EACH ROW EXECUTE FUNCTION shout()"
        )

    Vet.objects.update(name="Dr. B")

    assert set(clocks_of(vet).fields) == {"*", "name", "phone"}
