"""Writes made with plain SQL on a replica's tables are tracked like those through its methods."""

import re
import sqlite3
from contextlib import closing

import pytest

from syncreset.sdk import Replica
from tests.support.fleet import Fleet
from tests.support.simulated_server import SimulatedServer


@pytest.fixture
def replica(server: SimulatedServer, fleet: Fleet) -> Replica:
    server.put("farm.animal", "a1", name="Rex", age=3)
    server.put("farm.animal", "a2", name="Bella", age=7)
    return fleet.synced()


def pending(replica: Replica) -> dict[tuple[str, str], dict[str, object]]:
    return {(change.op, change.pk): dict(change.fields) for change in replica.pending_changes()}


def test_nothing_is_pending_after_a_bootstrap(replica: Replica) -> None:
    assert replica.pending() == 0
    assert [row["name"] for row in replica.all("farm.animal")] == ["Rex", "Bella"]


def test_an_update_marks_only_the_columns_that_changed(replica: Replica) -> None:
    replica.connection.execute("UPDATE farm_animal SET age = 4, name = 'Rex' WHERE id = 'a1'")

    assert pending(replica) == {("put", "a1"): {"age": 4}}


def test_an_update_that_changes_nothing_marks_nothing(replica: Replica) -> None:
    replica.connection.execute("UPDATE farm_animal SET age = age, name = name, weight = NULL")

    assert replica.pending() == 0


def test_writes_from_another_process_s_shell_are_tracked(replica: Replica) -> None:
    with closing(sqlite3.connect(replica.path)) as shell, shell:
        shell.execute("UPDATE farm_animal SET name = 'Max' WHERE id = 'a2'")

    assert pending(replica) == {("put", "a2"): {"name": "Max"}}


def test_a_row_inserted_without_a_key_gets_a_uuid7(replica: Replica) -> None:
    replica.connection.execute("INSERT INTO farm_animal (name) VALUES ('Luna')")

    ((op, pk),) = pending(replica)
    assert op == "put"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", pk)


def test_a_row_made_and_deleted_before_any_push_leaves_nothing(replica: Replica) -> None:
    replica.connection.execute("INSERT INTO farm_animal (id, name) VALUES ('a3', 'Luna')")
    replica.connection.execute("DELETE FROM farm_animal WHERE id = 'a3'")

    assert replica.pending() == 0


def test_delete_without_where_marks_every_row(replica: Replica) -> None:
    replica.connection.execute("DELETE FROM farm_animal")

    assert pending(replica) == {("delete", "a1"): {}, ("delete", "a2"): {}}


def test_a_deleted_row_made_again_is_a_put(replica: Replica, server: SimulatedServer, fleet: Fleet) -> None:
    replica.connection.execute("DELETE FROM farm_animal WHERE id = 'a1'")
    replica.connection.execute("INSERT INTO farm_animal (id, name, age) VALUES ('a1', 'Rex II', 1)")
    assert [change.op for change in replica.pending_changes()] == ["put"]

    fleet.sync(replica)

    assert server.fields("farm.animal")["a1"]["name"] == "Rex II"
    assert replica.get("farm.animal", "a1") == {"id": "a1"} | server.fields("farm.animal")["a1"]


def test_a_row_deleted_made_again_and_deleted_again_is_deleted_on_the_server(
    replica: Replica, server: SimulatedServer, fleet: Fleet
) -> None:
    for statement in (
        "DELETE FROM farm_animal WHERE id = 'a1'",
        "INSERT INTO farm_animal (id, name) VALUES ('a1', 'Rex II')",
        "DELETE FROM farm_animal WHERE id = 'a1'",
    ):
        replica.connection.execute(statement)

    fleet.sync(replica)

    assert list(server.fields("farm.animal")) == ["a2"]


def test_a_changed_primary_key_is_a_delete_and_a_put(replica: Replica) -> None:
    replica.connection.execute("UPDATE farm_animal SET id = 'b1', age = 9 WHERE id = 'a1'")

    changes = pending(replica)
    assert set(changes) == {("delete", "a1"), ("put", "b1")}
    assert changes["put", "b1"]["age"] == 9


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO farm_animal (id, name, age) VALUES ('a1', 'Rex', 4)",
        (
            "INSERT INTO farm_animal (id, name, age) VALUES ('a1', 'Rex', 4) "
            "ON CONFLICT (id) DO UPDATE SET age = excluded.age"
        ),
    ],
)
def test_replacing_a_row_changes_it_and_does_not_make_a_new_one(
    replica: Replica, server: SimulatedServer, fleet: Fleet, statement: str
) -> None:
    replica.connection.execute(statement)
    assert pending(replica)["put", "a1"]["age"] == 4

    report = fleet.sync(replica)

    assert report.results == {"applied": 1}
    assert server.fields("farm.animal")["a1"]["age"] == 4


def test_a_write_that_is_rolled_back_was_never_there(replica: Replica) -> None:
    def fail_in_the_middle() -> None:
        with replica.transaction():
            replica.connection.execute("UPDATE farm_animal SET age = 99")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()

    assert replica.pending() == 0


def test_text_that_is_not_json_cannot_be_written_to_a_json_column(replica: Replica) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        replica.connection.execute("UPDATE farm_animal SET tags = 'not json' WHERE id = 'a1'")


def test_local_times_grow_and_exceed_the_row_s_known_clocks(
    replica: Replica, server: SimulatedServer
) -> None:
    known = server.state.rows["farm.animal", "a1"].updated
    with replica.transaction():
        for age in range(20):
            replica.connection.execute("UPDATE farm_animal SET age = ?, weight = ?", (age + 20, str(age)))

    marks = [marks for _, _, marks in replica._device.store.pending_marks()]
    times = [at for each in marks for at in each.local.values()]
    assert min(times) > known
    assert len({tuple(sorted(each.local.values())) for each in marks}) == 2
