"""Push and pull of replicas: what becomes of each change, and of edits made meanwhile."""

import copy
import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from syncreset.rules.merge import Policy
from syncreset.sdk import (
    MissingRow,
    Replica,
    ReplicaBusy,
    Request,
    Response,
    ServerUnavailable,
    UnknownField,
    UnknownModel,
)
from tests.support.fleet import URL, Fleet, online, same_as_server, sync, unreliable
from tests.support.simulated_server import SCHEMA, SimulatedServer, refusal


def test_rows_made_here_reach_the_server_and_other_replicas(server: SimulatedServer, fleet: Fleet) -> None:
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    barn = ours.create("farm.barn", name="North")
    animal = ours.create("farm.animal", {"name": "Rex"}, age=3, barn=barn, tags=["a", 1, True])

    report = fleet.sync(ours)
    fleet.sync(theirs)

    assert (report.pushed, report.results, report.pending) == (2, {"applied": 2}, 0)
    assert theirs.get("farm.animal", animal) == {
        "id": animal,
        "name": "Rex",
        "age": 3,
        "weight": None,
        "tags": ["a", 1, True],
        "barn": barn,
    }


def test_different_fields_of_one_row_both_apply(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    ours.update("farm.animal", "a1", age=4)
    theirs.update("farm.animal", "a1", name="Max")

    assert fleet.sync(ours).results == {"applied": 1}
    assert fleet.sync(theirs).results == {"applied": 1}
    fleet.sync(ours)

    assert server.fields("farm.animal")["a1"] | {} == {
        "name": "Max",
        "age": 4,
        "weight": None,
        "tags": None,
        "barn": None,
    }
    assert same_as_server(ours, server)
    assert same_as_server(theirs, server)


def test_the_loser_of_a_conflict_is_kept_until_acknowledged(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced("ours")
    ours.update("farm.animal", "a1", name="Early", age=9)
    server.wait()
    server.put("farm.animal", "a1", name="Late")

    report = fleet.sync(ours)

    assert report.results == {"merged": 1}
    (lost,) = ours.unresolved()
    assert (lost.state, lost.fields, (lost.server or {})["name"]) == ("merged", {"name": "Early"}, "Late")
    assert same_as_server(ours, server)
    ours.acknowledge(lost)
    assert ours.unresolved() == []


def test_an_edit_beats_a_delete_and_the_row_comes_back(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex")
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    ours.delete("farm.animal", "a1")
    theirs.update("farm.animal", "a1", age=5)
    fleet.sync(theirs)

    report = fleet.sync(ours)

    assert report.results == {"superseded": 1}
    assert ours.get("farm.animal", "a1") is not None
    assert [(item.op, item.code) for item in ours.unresolved()] == [("delete", "changed_since")]
    assert same_as_server(ours, server)


def test_a_rejected_row_leaves_the_table_and_is_kept_with_its_reason(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    server.refuse = lambda change: {"code": "unique", "detail": "taken", "field": "name"}
    pk = ours.create("farm.animal", name="Rex", age=3)

    report = fleet.sync(ours)

    assert (report.results, report.unresolved, report.pending) == ({"rejected": 1}, 1, 0)
    (item,) = ours.unresolved()
    assert (item.pk, item.code, item.field, item.fields["age"]) == (pk, "unique", "name", 3)
    assert ours.all("farm.animal") == []


def test_a_rejected_edit_gives_way_to_the_server_s_row(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()
    server.refuse = lambda change: {"code": "forbidden_field", "detail": "no", "field": "age"}
    ours.update("farm.animal", "a1", age=4)

    fleet.sync(ours)

    assert ours.unresolved()[0].fields == {"age": 4}
    assert same_as_server(ours, server)


def test_what_is_edited_while_a_push_is_under_way_is_pushed_next(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()
    ours.update("farm.animal", "a1", age=4, name="Max")
    ages = iter([5, 6])

    def answer(request: Request) -> Response:
        if request.path == "push" and (age := next(ages, None)) is not None:
            ours.update("farm.animal", "a1", age=age)
        return server.answer(request)

    report = sync(ours, answer)

    assert server.fields("farm.animal")["a1"]["age"] == 6
    assert set(report.results) == {"applied"}
    assert same_as_server(ours, server)


def test_a_row_deleted_while_its_creation_is_in_flight_is_deleted_on_the_server(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    pk = ours.create("farm.animal", name="Rex")

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "push" and ours.get("farm.animal", pk) is not None:
            ours.delete("farm.animal", pk)
        return response

    sync(ours, answer)

    assert server.fields("farm.animal") == {}
    assert same_as_server(ours, server)


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_answer_changes_nothing(server: SimulatedServer, fleet: Fleet, lost: int) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    server.put("farm.animal", "a2", name="Bella", age=7)
    ours = fleet.synced()
    ours.update("farm.animal", "a1", age=4)
    ours.delete("farm.animal", "a2")
    ours.create("farm.animal", pk="a3", name="Luna")
    server.put("farm.barn", "b1", name="North")
    try:
        sync(ours, unreliable(server.answer, lost=lambda number: number == lost))
    except ServerUnavailable:
        ours = fleet.open()

    fleet.sync(ours)

    assert {pk: row["age"] for pk, row in server.fields("farm.animal").items()} == {"a1": 4, "a3": None}
    assert ours.unresolved() == []
    assert same_as_server(ours, server)


def test_an_edit_with_a_lost_answer_and_then_a_delete_ends_deleted(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()
    ours.update("farm.animal", "a1", age=4)
    with pytest.raises(ServerUnavailable):
        sync(ours, unreliable(server.answer, lost=lambda number: number == 1))
    ours.delete("farm.animal", "a1")

    fleet.sync(ours)

    assert server.fields("farm.animal") == {}
    assert ours.unresolved() == []
    assert same_as_server(ours, server)


def test_a_replayed_change_is_the_same_to_the_byte(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.create("farm.animal", pk="a1", name="Rex")
    with pytest.raises(ServerUnavailable):
        sync(ours, unreliable(server.answer, lost=lambda number: number == 1))
    ours.update("farm.animal", "a1", name="Max")

    report = fleet.sync(ours)

    first, second = [request.body for request in server.requests if request.path == "push"][:2]
    assert first[first.index(b'"changes"') :] == second[second.index(b'"changes"') :]
    assert report.results == {"applied": 2}
    assert server.fields("farm.animal")["a1"]["name"] == "Max"


def test_a_server_that_forgot_acknowledged_changes_gets_them_again(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    before = server.dump()
    ours.create("farm.animal", pk="a1", name="Rex")
    with pytest.raises(ServerUnavailable):
        sync(ours, unreliable(server.answer, lost=lambda number: number == 2))
    assert ours.pending() == 0
    server.restore(before)

    fleet.sync(ours)

    assert server.fields("farm.animal")["a1"]["name"] == "Rex"
    assert same_as_server(ours, server)


def test_a_store_put_back_to_an_older_copy_goes_on_with_fresh_numbers(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    fleet.shut("field")
    copy_of_store = ours.path.read_bytes()
    ours = fleet.open()
    ours.create("farm.animal", pk="a1", name="Rex")
    fleet.sync(ours)
    fleet.shut("field")
    ours.path.write_bytes(copy_of_store)
    ours = fleet.open()
    ours.create("farm.animal", pk="a2", name="Luna")

    fleet.sync(ours)

    assert set(server.fields("farm.animal")) == {"a1", "a2"}
    assert same_as_server(ours, server)


def test_a_partial_change_of_a_row_that_the_server_lacks_is_sent_whole(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()
    del server.state.rows["farm.animal", "a1"], server.state.entries["farm.animal", "a1"]
    ours.update("farm.animal", "a1", age=4)

    fleet.sync(ours)

    assert server.fields("farm.animal")["a1"]["name"] == "Rex"
    assert same_as_server(ours, server)


def test_a_row_that_leaves_the_scope_goes_and_its_unsent_edits_are_kept(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    server.put("farm.animal", "a2", name="Bella")
    ours = fleet.synced()
    edits = iter([True])

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "pull" and next(edits, None):
            ours.update("farm.animal", "a1", age=4)
            page = response.json()
            page["changes"] = [{"model": "farm.animal", "pk": pk, "removed": True} for pk in ("a1", "a2")]
            return Response(status=200, body=json.dumps(page).encode())
        return response

    sync(ours, answer)

    assert ours.all("farm.animal") == []
    assert [(item.pk, item.state, item.fields) for item in ours.unresolved()] == [
        ("a1", "removed", {"age": 4})
    ]
    store = ours._device.store
    assert list(store.deletions(pulled=True)) == []


def test_pulled_deletions_are_remembered_for_healing(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex")
    ours = fleet.synced()
    server.delete("farm.animal", "a1")

    fleet.sync(ours)

    assert ours.all("farm.animal") == []
    assert [(model, pk) for model, pk, _ in ours._device.store.deletions(pulled=True)] == [
        ("farm.animal", "a1")
    ]


def test_pages_are_committed_together_and_an_interrupted_pull_goes_on(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.page = 2
    for number in range(7):
        server.put("farm.animal", f"a{number}", name=f"Dog {number}")
    ours = fleet.open()

    with pytest.raises(ServerUnavailable):
        sync(ours, unreliable(server.answer, lost=lambda number: number == 5))
    assert ours.all("farm.animal") == []
    before = len(server.requests)
    fleet.sync(ours)

    assert len(ours.all("farm.animal")) == 7
    pulls = [json.loads(request.body) for request in server.requests[before:] if request.path == "pull"]
    assert pulls[0]["checkpoint"] is not None


def test_a_change_that_no_request_can_carry_does_not_stop_the_queue(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a0", name="Rex", tags="fine")
    ours = fleet.synced()
    ours.update("farm.animal", "a0", tags="poison")
    for number in range(1, 5):
        ours.create("farm.animal", pk=f"a{number}", name=f"Dog {number}")

    def answer(request: Request) -> Response:
        if request.path == "push" and b"poison" in request.body:
            return refusal(400, "malformed", detail="nested too deep")
        return server.answer(request)

    report = sync(ours, answer)

    assert report.results == {"applied": 4, "rejected": 1}
    assert [(item.pk, item.code, item.fields) for item in ours.unresolved()] == [
        ("a0", "malformed", {"tags": "poison"})
    ]
    assert same_as_server(ours, server)


def test_a_push_that_is_refused_as_a_whole_loses_no_change(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.create("farm.animal", pk="a1", name="Rex")

    def answer(request: Request) -> Response:
        if request.path == "push":
            return refusal(400, "malformed", detail="no")
        return server.answer(request)

    with pytest.raises(Exception, match="malformed"):
        sync(ours, answer)

    assert ours.get("farm.animal", "a1") is not None
    assert ours.pending() == 1


def with_colours(server: SimulatedServer, *pks: str) -> None:
    """Deploy a release in which animals have a colour, and these are brown."""
    schema = copy.deepcopy(SCHEMA)
    schema["hash"] = "schema-2"
    schema["models"][1]["fields"].append({"name": "colour", "type": "Char", "null": True})  # type: ignore[index]
    server.state.schema = schema
    for pk in pks:
        row = server.state.rows["farm.animal", pk]
        server.state.rows["farm.animal", pk] = replace(row, fields={**row.fields, "colour": "brown"})


@pytest.mark.parametrize("resets", [False, True])
def test_a_bootstrap_that_was_cut_off_under_the_schema_before_brings_the_new_values_too(
    fleet: Fleet, resets: bool
) -> None:
    server = fleet.server
    server.page = 1
    for pk in ("a1", "a2"):
        server.put("farm.animal", pk, name=pk)
    ours = fleet.open()
    if resets:
        fleet.sync(ours)
        server.force_reset(ours.client_id)
    pulls = itertools.count()
    cut = unreliable(
        server.answer, lost=lambda _: server.requests[-1].path == "pull" and next(pulls) == 1 + resets
    )
    with pytest.raises(ServerUnavailable):
        sync(ours, cut)
    assert ours._device.store.get("staged_checkpoint") is not None

    with_colours(server, "a1", "a2")
    fleet.sync(ours)

    assert {row["colour"] for row in ours.all("farm.animal")} == {"brown"}
    assert same_as_server(ours, server)


def test_a_schema_that_only_adds_is_adopted_and_brings_the_new_values(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    ours = fleet.synced()
    ours.update("farm.animal", "a1", age=4)
    with_colours(server, "a1")

    fleet.sync(ours)

    assert (ours.get("farm.animal", "a1") or {})["colour"] == "brown"
    assert same_as_server(ours, server)


def test_a_clock_that_is_hours_wrong_does_not_matter(
    server: SimulatedServer, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = fleet.synced()
    ours._device.store.connection.execute('UPDATE _syncreset_clock SET "offset" = 7200000000')
    pk = ours.create("farm.animal", name="Rex")
    ours.update("farm.animal", pk, age=3)

    fleet.sync(ours)

    row = server.state.rows["farm.animal", pk]
    assert abs(row.clocks["*"] - server.tick()) < 60_000_000
    assert row.clock("age") > row.clocks["*"]


def test_a_clock_that_was_hours_fast_and_is_put_right_does_not_put_writes_ahead(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.put("farm.animal", "a1", name="Rex")
    server.put("farm.animal", "a2", name="Luna")
    ours = fleet.synced()
    ours.update("farm.animal", "a1", age=3)
    ours.delete("farm.animal", "a2")
    store = ours._device.store
    store.connection.execute('UPDATE _syncreset_clock SET "offset" = -21600000000')

    at = server.tick()
    store.measure(at, asked=at, answered=at)
    ours.update("farm.animal", "a1", name="Max")

    marks, deletion = store.marks("farm.animal", "a1"), store.deletion("farm.animal", "a2")
    assert marks is not None
    assert deletion is not None
    assert marks.written("age") < marks.written("name")
    assert max(marks.written("name"), deletion.at) < server.tick() + 60_000_000


def test_a_transaction_of_another_program_is_waited_for_and_then_told(
    server: SimulatedServer, fleet: Fleet
) -> None:
    fleet.synced().close()
    ours = fleet.open(client=online(server))
    ours.connection.execute("PRAGMA busy_timeout = 0")

    with closing(sqlite3.connect(ours.path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(ReplicaBusy, match="another connection"):
            ours.sync()
        shell.execute("ROLLBACK")

    assert ours.sync().pending == 0


def test_a_replica_can_be_opened_and_written_to_while_another_process_resets_it(
    server: SimulatedServer, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("farm.animal", "a1", name="Rex")
    monkeypatch.setattr("syncreset.sdk.reset.device.LOCK_TIMEOUT", 0.0)
    ours = fleet.synced()
    server.force_reset(ours.client_id)
    opened: list[str] = []

    def answer(request: Request) -> Response:
        if request.path.startswith("recoveries/") or request.method == "PATCH":
            with Replica(ours.path, URL, "token") as second:
                second.update("farm.animal", "a1", age=len(opened))
            opened.append(request.method)
        return server.answer(request)

    sync(ours, answer)

    assert opened == ["PATCH", "GET"]
    assert server.fields("farm.animal")["a1"]["age"] == 1


def test_sync_within_an_open_transaction_is_refused(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()

    with ours.transaction(), pytest.raises(ReplicaBusy):
        fleet.sync(ours)


def test_two_syncs_at_once_are_refused(
    server: SimulatedServer, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = fleet.synced()
    monkeypatch.setattr("syncreset.sdk.reset.device.LOCK_TIMEOUT", 0.0)

    def answer(request: Request) -> Response:
        with pytest.raises(ReplicaBusy):
            fleet.sync(ours)
        return server.answer(request)

    assert sync(ours, answer).pending == 0


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda replica: replica.create("farm.cow", name="Rex"), UnknownModel),
        (lambda replica: replica.create("farm.animal", name="Rex", wings=2), UnknownField),
        (lambda replica: replica.update("farm.animal", "nobody", age=1), MissingRow),
        (lambda replica: replica.delete("farm.animal", "nobody"), MissingRow),
        (lambda replica: replica.all("farm.animal", wings=2), UnknownField),
    ],
)
def test_writes_that_name_nothing_are_errors(
    fleet: Fleet, write: Callable[[Replica], object], error: type[Exception]
) -> None:
    ours = fleet.synced()

    with pytest.raises(error):
        write(ours)


def test_rows_are_found_by_equality(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Rex", age=3)
    server.put("farm.animal", "a2", name="Rex", age=None)
    ours = fleet.synced()

    assert [row["id"] for row in ours.all("farm.animal", name="Rex", age=None)] == ["a2"]
    assert ours.get("farm.animal", "a3") is None


def test_a_change_parked_without_a_row_is_kept(server: SimulatedServer, fleet: Fleet) -> None:
    server.policy = Policy(on_delete="review")
    server.put("farm.animal", "a1", name="Rex")
    ours = fleet.synced()
    ours.update("farm.animal", "a1", name="Max")
    server.delete("farm.animal", "a1")

    report = fleet.sync(ours)

    assert report.results == {"parked": 1}
    assert ours.all("farm.animal") == []
    assert [item.fields for item in ours.unresolved()] == [{"name": "Max"}]
    assert same_as_server(ours, server)
