"""Counters and sets of replicas add up: offline, over lost answers, pulls, other devices and resets."""

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import Row
from syncreset.protocol.snapshot.lines import FieldSteps, RowLine, TombstoneLine
from syncreset.protocol.steps import Step, add_step, is_steps, parse_steps, sum_of
from syncreset.sdk import BackupView, Replica, Request, Response, ServerUnavailable
from syncreset.sdk.reset.overlay import overlay
from syncreset.sdk.reset.snapshot import lines_of
from tests.support.fleet import Fleet, sync
from tests.support.properties import examples
from tests.support.simulated_server import SimulatedServer

CRATE = "farm.crate"


@pytest.fixture(autouse=True)
def crate(server: SimulatedServer) -> None:
    server.put(CRATE, "c1", name="Brown", eggs=10, sold=str(2**53), weight="1.50", labels=["fresh", "large"])


def pushed(server: SimulatedServer) -> list[dict[str, Any]]:
    """The fields of all changes that were pushed, in order, replays among them; what their steps came to."""
    bodies = [json.loads(request.body) for request in server.requests if request.path == "push"]
    return [
        {
            name: sum_of(parse_steps(value)) if is_steps(value) else value
            for name, value in change["fields"].items()
        }
        for body in bodies
        for change in body["changes"]
    ]


def row(replica: Replica) -> dict[str, Any]:
    found = replica.get(CRATE, "c1")
    assert found is not None
    return found


def lose_answer(server: SimulatedServer, replica: Replica) -> None:
    """Sync up to the push, whose answer is lost."""

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "push":
            raise ServerUnavailable("the answer was lost")
        return response

    with pytest.raises(ServerUnavailable):
        sync(replica, answer)


def step_line(replica: Replica) -> RowLine:
    """The crate's line in a snapshot of the live store."""
    (line,) = lines_of(replica._device.store, CRATE)
    assert isinstance(line, RowLine)
    return line


def test_what_a_copy_of_a_store_has_yet_to_send_may_have_been_sent(
    server: SimulatedServer, fleet: Fleet, tmp_path: Path
) -> None:
    """The other copy may have done so. A store that was only closed and opened is the same file."""
    fleet.synced().update(CRATE, "c1", eggs=13)
    ours = fleet.open()
    assert [step.sent for step in step_line(ours).steps["eggs"].steps] == [False]
    fleet.shut("field")
    for path in list(tmp_path.glob("field.db*")):
        path.with_name(path.name.replace("field", "copy", 1)).write_bytes(path.read_bytes())

    copy, ours = fleet.open("copy"), fleet.open()

    assert [step.sent for step in step_line(copy).steps["eggs"].steps] == [True]
    assert [step.sent for step in step_line(ours).steps["eggs"].steps] == [False]


def test_counters_and_sets_are_pushed_as_steps(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", name="White", eggs=7, sold=2**53 + 1, weight="1.25", labels=["large", "organic"])

    fleet.sync(ours)

    assert pushed(server) == [
        {
            "name": "White",
            "eggs": {"delta": -3},
            "sold": {"delta": "1"},
            "weight": {"delta": "-0.25"},
            "labels": {"add": ["organic"], "remove": ["fresh"]},
        }
    ]
    assert row(ours) == {"id": "c1"} | server.fields(CRATE)["c1"]
    assert (row(ours)["eggs"], row(ours)["sold"], row(ours)["weight"]) == (7, str(2**53 + 1), "1.25")
    assert ours.pending() == 0


def test_steps_of_two_replicas_add_up_and_are_no_conflict(server: SimulatedServer, fleet: Fleet) -> None:
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    ours.update(CRATE, "c1", eggs=13, labels=["fresh"])
    theirs.update(CRATE, "c1", eggs=8, labels=["fresh", "large", "organic"])

    fleet.sync(theirs)
    report = fleet.sync(ours)
    fleet.sync(theirs)

    assert report.results == {"applied": 1}
    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == row(theirs)["eggs"] == 11
    assert row(ours)["labels"] == row(theirs)["labels"] == ["fresh", "organic"]
    assert (ours.unresolved(), theirs.unresolved()) == ([], [])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE farm_crate SET eggs = eggs + 1; UPDATE farm_crate SET eggs = eggs + 1",
        "INSERT OR REPLACE INTO farm_crate (id, name, eggs, labels) VALUES ('c1', 'Brown', 12, '[]')",
        "INSERT INTO farm_crate (id, eggs) VALUES ('c1', 12) ON CONFLICT (id) DO UPDATE SET eggs = 12",
        "INSERT OR IGNORE INTO farm_crate (id, eggs) VALUES ('c1', 99); UPDATE farm_crate SET eggs = 12",
        "UPDATE farm_crate SET eggs = NULL; UPDATE farm_crate SET eggs = 12",
    ],
)
def test_steps_of_plain_sql_are_counted(server: SimulatedServer, fleet: Fleet, statement: str) -> None:
    ours = fleet.synced()
    server.put(CRATE, "c1", eggs=20)
    with closing(sqlite3.connect(ours.path)) as shell:
        shell.executescript(statement)

    fleet.sync(ours)

    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == 22
    assert ours.unresolved() == []


def test_a_row_replaced_under_another_s_key_is_sent_with_plain_values(
    server: SimulatedServer, fleet: Fleet
) -> None:
    """What the counter was before is known to no trigger then."""
    ours = fleet.synced()
    ours.create(CRATE, pk="c2", name="Other", eggs=4)
    ours.connection.execute("UPDATE OR REPLACE farm_crate SET id = 'c1' WHERE id = 'c2'")

    fleet.sync(ours)

    assert pushed(server)[0]["eggs"] == 4
    assert server.fields(CRATE)["c1"]["eggs"] == 4


def test_null_counts_as_zero_and_setting_it_is_an_assignment(server: SimulatedServer, fleet: Fleet) -> None:
    server.put(CRATE, "c1", weight=None)
    ours = fleet.synced()
    ours.update(CRATE, "c1", weight="0.50", sold=None)

    fleet.sync(ours)

    assert pushed(server) == [{"sold": None, "weight": {"delta": "0.50"}}]
    assert (row(ours)["sold"], row(ours)["weight"]) == (None, "0.50")


def test_what_is_no_number_is_sent_as_it_is(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.connection.execute("UPDATE farm_crate SET weight = 'heavy', labels = '{\"a\": 1}'")

    assert ours.pending_changes()[0].fields == {"weight": "heavy", "labels": {"a": 1}}
    server.refuse = lambda change: {"code": "invalid", "detail": str(dict(change.fields)), "field": "weight"}
    fleet.sync(ours)

    assert pushed(server) == [{"weight": "heavy", "labels": {"a": 1}}]
    assert row(ours)["weight"] == "1.50"


def test_a_new_row_counts_from_nothing(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.create(CRATE, pk="c2", name="New", eggs=5, labels=["fresh"])

    fleet.sync(ours)

    (sent,) = [json.loads(request.body)["changes"] for request in server.requests if request.path == "push"]
    assert sent[0]["fields"]["eggs"]["value"] == 5
    assert pushed(server)[0]["labels"] == {"add": ["fresh"], "remove": []}


def test_a_new_row_goes_on_counting_while_it_is_sent(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.create(CRATE, pk="c2", name="New", eggs=5, labels=["fresh"])
    more = iter([8])

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "push" and (eggs := next(more, None)) is not None:
            server.put(CRATE, "c2", eggs=6)
            ours.update(CRATE, "c2", eggs=eggs)
        return response

    sync(ours, answer)

    assert [fields["eggs"] for fields in pushed(server)] == [{"delta": 5}, {"delta": 3}]
    assert server.fields(CRATE)["c2"]["eggs"] == 9
    assert (ours.get(CRATE, "c2") or {})["eggs"] == 9


def test_a_new_row_whose_answer_was_lost_is_not_counted_twice(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.create(CRATE, pk="c2", name="New", eggs=5, labels=["fresh"])
    lose_answer(server, ours)
    server.put(CRATE, "c2", eggs=6)
    ours.update(CRATE, "c2", eggs=8)

    fleet.sync(ours)

    assert server.fields(CRATE)["c2"]["eggs"] == 9
    assert (ours.get(CRATE, "c2") or {})["eggs"] == 9


def test_a_replay_is_the_same_to_the_byte_and_counts_once(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=13, labels=["fresh", "large", "organic"])
    lose_answer(server, ours)
    server.put(CRATE, "c1", eggs=113)
    ours.update(CRATE, "c1", eggs=15, labels=["fresh", "large"])

    report = fleet.sync(ours)

    first, second = [request.body for request in server.requests if request.path == "push"][:2]
    assert first[first.index(b'"changes"') :] == second[second.index(b'"changes"') :]
    assert report.results == {"applied": 2}
    assert pushed(server)[-1] == {"eggs": {"delta": 2}, "labels": {"add": [], "remove": ["organic"]}}
    assert row(ours)["eggs"] == server.fields(CRATE)["c1"]["eggs"] == 115
    assert row(ours)["labels"] == ["fresh", "large"]


def test_a_step_made_and_taken_back_while_under_way(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=12)
    lose_answer(server, ours)
    ours.update(CRATE, "c1", eggs=10)

    fleet.sync(ours)

    assert [fields["eggs"] for fields in pushed(server)] == [{"delta": 2}, {"delta": 2}, {"delta": -2}]
    assert server.fields(CRATE)["c1"]["eggs"] == 10


def test_a_pulled_value_is_shown_with_the_steps_yet_to_be_sent(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    steps = iter([True])

    def answer(request: Request) -> Response:
        if request.path == "pull" and next(steps, None):
            ours.update(CRATE, "c1", eggs=13, labels=["fresh"])
            server.put(CRATE, "c1", eggs=40, labels=["fresh", "large", "organic"])
            response = server.answer(request)
            answered.append(response)
            return response
        if answered and not seen:
            seen.append(row(ours))
        return server.answer(request)

    answered: list[Response] = []
    seen: list[dict[str, Any]] = []
    sync(ours, answer)

    assert (seen[0]["eggs"], seen[0]["labels"]) == (43, ["fresh", "organic"])
    assert (row(ours)["eggs"], row(ours)["labels"]) == (43, ["fresh", "organic"])
    assert server.fields(CRATE)["c1"]["eggs"] == 43


def test_a_parked_step_is_taken_back_and_told(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    server.refuse = lambda change: {"code": "out_of_range", "detail": "too many", "field": "eggs"}
    ours.update(CRATE, "c1", eggs=90_000)

    fleet.sync(ours)

    assert row(ours)["eggs"] == 10
    assert [(item.code, item.fields) for item in ours.unresolved()] == [
        ("out_of_range", {"eggs": {"delta": 89_990}})
    ]
    assert ours.pending() == 0


def test_a_parked_step_is_told_though_the_answer_was_lost(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    server.refuse = lambda change: {"code": "out_of_range", "detail": "too many", "field": "eggs"}
    ours.update(CRATE, "c1", eggs=90_000)
    lose_answer(server, ours)
    server.refuse = lambda change: None
    ours.update(CRATE, "c1", eggs=90_001)

    fleet.sync(ours)

    assert row(ours)["eggs"] == server.fields(CRATE)["c1"]["eggs"] == 11
    assert [(item.code, item.fields) for item in ours.unresolved()] == [
        ("out_of_range", {"eggs": {"delta": 89_990}})
    ]


def test_a_step_is_no_loss_where_another_field_of_its_change_loses(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=11, name="Early")
    server.wait()
    server.put(CRATE, "c1", name="Late")

    fleet.sync(ours)

    assert [item.fields for item in ours.unresolved()] == [{"name": "Early"}]
    assert row(ours)["eggs"] == 11


def test_steps_that_leave_the_scope_are_kept_as_steps(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    leaves = iter([True])

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "pull" and next(leaves, None):
            ours.update(CRATE, "c1", eggs=14)
            page = response.json() | {"changes": [{"model": CRATE, "pk": "c1", "removed": True}]}
            return Response(status=200, body=json.dumps(page).encode())
        return response

    sync(ours, answer)

    assert [item.fields for item in ours.unresolved()] == [{"eggs": {"delta": 4}}]


def test_a_server_that_forgot_an_acknowledged_step_gets_it_again(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    before = server.dump()
    ours.update(CRATE, "c1", eggs=13)

    def answer(request: Request) -> Response:
        if request.path == "pull":
            raise ServerUnavailable("no answer")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(ours, answer)
    assert ours.pending() == 0
    server.restore(before)
    server.put(CRATE, "c1", eggs=20)
    ours.update(CRATE, "c1", eggs=14)

    report = fleet.sync(ours)

    assert [reset.reason for reset in report.resets] == ["history_diverged"]
    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == 24
    assert ours.pending() == 0


def test_a_store_put_back_to_an_older_copy_goes_on_as_a_client_of_its_own(
    server: SimulatedServer, fleet: Fleet
) -> None:
    """Its later life has sent the first step, under its id: it counts once."""
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=13)
    fleet.shut("field")
    copy_of_store = ours.path.read_bytes()
    ours = fleet.open()
    fleet.sync(ours)
    ours.update(CRATE, "c1", eggs=23)
    fleet.sync(ours)
    fleet.shut("field")
    ours.path.write_bytes(copy_of_store)
    ours = fleet.open()
    name = ours.client_id
    ours.update(CRATE, "c1", eggs=14, name="Put back")

    fleet.sync(ours)

    assert ours.client_id != name
    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == 10 + 3 + 10 + 1
    assert server.fields(CRATE)["c1"]["name"] == "Put back"
    assert ours.unresolved() == []


@pytest.mark.parametrize("first", ["one", "other"])
def test_two_stores_that_live_on_from_one_copy_both_keep_what_they_did(
    server: SimulatedServer, fleet: Fleet, first: str
) -> None:
    fleet.synced("one").update(CRATE, "c1", eggs=13, labels=["fresh"])
    fleet.shut("one")
    stores = fleet.directory / "one.db", fleet.directory / "other.db"
    stores[1].write_bytes(stores[0].read_bytes())
    replicas = {name: fleet.open(name) for name in ("one", "other")}
    for number, replica in enumerate(replicas.values(), start=1):
        replica.connection.execute("UPDATE farm_crate SET eggs = eggs + ?", (100 * number,))
    order = [first, *(replicas.keys() - {first})]

    for _ in range(3):
        for name in order:
            fleet.sync(replicas[name])
            replicas[name].connection.execute("UPDATE farm_crate SET eggs = eggs + 1000")
    for name in order:
        fleet.sync(replicas[name])
    fleet.sync(replicas[order[0]])

    eggs = 10 + 3 + 100 + 200 + 6 * 1000
    assert server.fields(CRATE)["c1"]["eggs"] == eggs
    assert [row(replica)["eggs"] for replica in replicas.values()] == [eggs, eggs]
    assert len({replica.client_id for replica in replicas.values()}) == 2


def test_rows_of_a_through_model_are_rows_as_any_other(server: SimulatedServer, fleet: Fleet) -> None:
    """Here the barn is the one side, and the animal the row between."""
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    barn = ours.create("farm.barn", name="North")
    ours.create("farm.animal", pk="a1", name="Rex", barn=barn)
    fleet.sync(ours)
    fleet.sync(theirs)
    ours.create("farm.animal", pk="a2", name="Bella", barn=barn)
    theirs.delete("farm.animal", "a1")

    fleet.sync(ours)
    fleet.sync(theirs)
    fleet.sync(ours)

    assert [row["id"] for row in ours.all("farm.animal", barn=barn)] == ["a2"]
    assert [row["id"] for row in theirs.all("farm.animal", barn=barn)] == ["a2"]


# -- snapshots -----------------------------------------------------------------------------------------------------


def told(made: FieldSteps) -> list[tuple[Any, bool, bool]]:
    """The amounts of steps, whether each was sent, and whether it was answered."""
    return [(step.amount, step.sent, step.at is not None) for step in made.steps]


def test_a_snapshot_has_every_step_and_whether_it_was_sent(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=12, labels=["fresh"])
    lose_answer(server, ours)
    ours.update(CRATE, "c1", eggs=15, name="Brown eggs", labels=["fresh", "large"])

    line = step_line(ours)

    assert line.row.fields["eggs"] == 15
    assert told(line.steps["eggs"]) == [({"delta": 2}, True, False), ({"delta": 3}, False, False)]
    assert told(line.steps["labels"]) == [
        ({"add": [], "remove": ["large"]}, True, False),
        ({"add": ["large"], "remove": []}, False, False),
    ]
    assert set(line.base or {}) == {"eggs", "name", "labels"}


def test_a_step_answered_but_not_pulled_is_in_the_snapshot_with_its_clock(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    known = step_line(ours).row.clock("eggs")
    ours.update(CRATE, "c1", eggs=13)

    def answer(request: Request) -> Response:
        if request.path == "pull":
            raise ServerUnavailable("no answer")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(ours, answer)
    ours.update(CRATE, "c1", eggs=14)

    line = step_line(ours)
    assert told(line.steps["eggs"]) == [({"delta": 3}, True, True), ({"delta": 1}, False, False)]
    assert line.base == {"eggs": known}


def test_a_pulled_step_is_remembered_by_its_id(server: SimulatedServer, fleet: Fleet) -> None:
    ours = fleet.synced()
    ours.update(CRATE, "c1", eggs=13)

    fleet.sync(ours)

    (line,) = (step_line(ours),)
    assert (line.steps["eggs"].steps, line.base) == ((), {})
    assert {step.id for step in line.steps["eggs"].counted} == server.state.counted


@pytest.mark.parametrize("taken", [True, False])
def test_a_reset_adds_what_was_counted_offline_and_nothing_twice(
    server: SimulatedServer, fleet: Fleet, taken: bool
) -> None:
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    ours.update(CRATE, "c1", eggs=12)
    if taken:
        lose_answer(server, ours)
    else:
        with pytest.raises(ServerUnavailable):
            sync(ours, lambda request: lost(server, request))
    ours.update(CRATE, "c1", eggs=17)
    theirs.update(CRATE, "c1", eggs=9, labels=["fresh"])
    fleet.sync(theirs)
    server.force_reset(ours.client_id)

    fleet.sync(ours)
    fleet.sync(ours)

    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == 10 + 7 - 1
    assert server.fields(CRATE)["c1"]["labels"] == ["fresh"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_new_row_whose_answer_was_lost_is_recovered_with_what_was_counted_since(
    server: SimulatedServer, fleet: Fleet, taken: bool
) -> None:
    ours = fleet.synced()
    ours.create(CRATE, pk="c2", name="New", eggs=5, weight="1.00", labels=["fresh"])
    with pytest.raises(ServerUnavailable):
        sync(ours, lambda request: lost(server, request, seen=taken))
    ours.update(CRATE, "c2", eggs=8, labels=["fresh", "large"])
    if taken:
        server.put(CRATE, "c2", eggs=25)
    server.force_reset(ours.client_id)

    fleet.sync(ours)
    fleet.sync(ours)

    crate = server.fields(CRATE)["c2"]
    assert (crate["eggs"], crate["weight"]) == (28 if taken else 8, "1.00")
    assert crate["labels"] == ["fresh", "large"]


def lost(server: SimulatedServer, request: Request, *, seen: bool = False) -> Response:
    """Pushes fail, be they ``seen`` by the server or not."""
    if request.path != "push" or seen:
        response = server.answer(request)
    if request.path == "push":
        raise ServerUnavailable("no answer")
    return response


def test_a_restored_server_gets_acknowledged_counts_as_values_and_steps_on_top(
    server: SimulatedServer, fleet: Fleet
) -> None:
    ours = fleet.synced()
    dump = server.dump()
    ours.update(CRATE, "c1", eggs=13)
    fleet.sync(ours)
    ours.update(CRATE, "c1", eggs=15)
    server.restore(dump)

    fleet.sync(ours)
    fleet.sync(ours)

    assert server.fields(CRATE)["c1"]["eggs"] == row(ours)["eggs"] == 15


# -- backups over one another --------------------------------------------------------------------------------------


def line(eggs: int, base: dict[str, int] | None, clock: int, **deltas: int) -> RowLine:
    held = Row(fields={"eggs": eggs}, updated=clock, clocks={"*": 10, "eggs": clock})
    steps = FieldSteps(steps=tuple(Step(id=name, amount={"delta": delta}) for name, delta in deltas.items()))
    return RowLine(model=CRATE, pk="c1", row=held, base=base, steps={"eggs": steps} if deltas else {})


def made(line: Any) -> dict[str, int]:
    """The steps of a line, by id."""
    return {step.id: step.amount["delta"] for step in line.steps["eggs"].steps}


def test_steps_of_two_backups_add_up_on_the_newest_acknowledged_value() -> None:
    older = line(15, {"eggs": 10}, 30, first=2, second=3)
    newer = line(23, {"eggs": 20}, 40, third=3)

    merged = overlay(older, newer)

    assert isinstance(merged, RowLine)
    assert made(merged) == {"first": 2, "second": 3, "third": 3}
    assert (merged.row.fields, merged.base, merged.row.clock("eggs")) == ({"eggs": 28}, {"eggs": 20}, 40)


def test_a_step_that_both_backups_hold_is_one() -> None:
    merged = overlay(line(15, {"eggs": 10}, 30, first=5), line(16, {"eggs": 10}, 40, first=5, second=1))

    assert isinstance(merged, RowLine)
    assert made(merged) == {"first": 5, "second": 1}
    assert merged.row.fields == {"eggs": 16}


@pytest.mark.parametrize(("downloaded", "value", "base"), [(20, 25, 20), (5, 15, 10)])
def test_a_step_of_an_older_backup_stands_on_the_newer_download(
    downloaded: int, value: int, base: int
) -> None:
    merged = overlay(line(15, {"eggs": 10}, 30, first=5), line(20, {}, downloaded))

    assert isinstance(merged, RowLine)
    assert made(merged) == {"first": 5}
    assert (merged.row.fields, merged.base) == ({"eggs": value}, {"eggs": base})


def test_what_was_counted_on_a_new_row_stands_on_the_row_of_its_key_that_the_server_has() -> None:
    """The server knows which of the steps it has."""
    older = line(9, None, 60, first=7, second=2)

    for newer, value, steps in (
        (line(17, {}, 40), 26, {"first": 7, "second": 2}),
        (line(18, {"eggs": 40}, 50, third=1), 27, {"first": 7, "second": 2, "third": 1}),
    ):
        merged = overlay(older, newer)

        assert isinstance(merged, RowLine)
        assert made(merged) == steps
        assert (merged.row.fields, merged.base) == ({"eggs": value}, {"eggs": 40})


def test_an_assignment_takes_the_place_of_steps_before_it() -> None:
    merged = overlay(line(15, {"eggs": 10}, 30, first=5), line(2, {"eggs": 20}, 40))

    assert isinstance(merged, RowLine)
    assert (merged.steps["eggs"].steps, merged.row.fields) == ((), {"eggs": 2})
    assert not isinstance(overlay(line(15, {"eggs": 10}, 30, first=5), merged), TombstoneLine)


# -- at random -----------------------------------------------------------------------------------------------------

LABELS = ["fresh", "large", "organic", "small"]
DEVICES = ("ada", "ben")

who = st.sampled_from(DEVICES)
count = st.tuples(st.just("count"), who, st.integers(-3, 3))
mark = st.tuples(st.sampled_from(["add", "remove"]), who, st.sampled_from(LABELS))
#: The request, counted from the beginning of the sync, that the server never sees, or whose answer is lost.
contact = st.tuples(st.just("sync"), who, st.none() | st.tuples(st.booleans(), st.integers(0, 5)))
counted_meanwhile = st.tuples(st.just("meanwhile"), who, st.tuples(st.integers(0, 4), st.integers(-3, 3)))
on_server = st.tuples(st.just("server"), who, st.integers(-3, 3))
reset = st.tuples(st.just("reset"), who, st.booleans())

stories = examples(40)


class Farm:
    """Two devices that count in one crate, and what all of them counted."""

    def __init__(self, server: SimulatedServer, fleet: Fleet) -> None:
        self.server, self.fleet = server, fleet
        self.replicas = {name: fleet.synced(name) for name in DEVICES}
        self.eggs, self.weight = 10, 150
        self.marked: dict[str, list[tuple[str, str]]] = {}

    def act(self, kind: str, name: str, detail: Any) -> None:
        replica = self.replicas[name]
        if kind == "count":
            self.count(replica, detail)
        elif kind in ("add", "remove"):
            self.mark(name, replica, kind, detail)
        elif kind == "server":
            self.server.put(CRATE, "c1", eggs=self.server.fields(CRATE)["c1"]["eggs"] + detail)
            self.eggs += detail
        elif kind == "reset":
            self.server.force_reset(replica.client_id, full=False)
        elif kind == "meanwhile":
            self.sync(name, None, detail)
        else:
            self.sync(name, detail, None)

    def count(self, replica: Replica, step: int) -> None:
        """With plain SQL, whatever stands there."""
        found = replica.get(CRATE, "c1")
        if found is None:
            return
        weight = f"{(round(float(found['weight']) * 100) + step) / 100:.2f}"
        replica.connection.execute("UPDATE farm_crate SET eggs = eggs + ?, weight = ?", (step, weight))
        self.eggs += step
        self.weight += step

    def mark(self, name: str, replica: Replica, kind: str, label: str) -> None:
        """Add a label or remove it, where that changes anything."""
        found = replica.get(CRATE, "c1")
        if found is None or (label in found["labels"]) == (kind == "add"):
            return
        replica.update(CRATE, "c1", labels=sorted({*found["labels"]} ^ {label}))
        self.marked.setdefault(label, []).append((name, kind))

    def sync(self, name: str, loss: tuple[bool, int] | None, meanwhile: tuple[int, int] | None) -> None:
        replica, numbers = self.replicas[name], iter(range(10_000))

        def answer(request: Request) -> Response:
            number = next(numbers)
            if loss == (False, number):
                raise ServerUnavailable("the request was lost")
            response = self.server.answer(request)
            if meanwhile is not None and meanwhile[0] == number:
                self.count(replica, meanwhile[1])
            if loss == (True, number):
                raise ServerUnavailable("the answer was lost")
            return response

        try:
            sync(replica, answer)
        except ServerUnavailable:
            self.replicas[name] = self.fleet.open(name)

    def settle(self) -> None:
        for _ in range(3):
            for name in DEVICES:
                self.sync(name, None, None)


def farm(directory: str) -> Farm:
    server = SimulatedServer(page=2, changes=2)
    server.put(CRATE, "c1", name="Brown", eggs=10, sold="0", weight="1.50", labels=["fresh"])
    return Farm(server, Fleet(server, Path(directory)))


def settled(made: Farm) -> dict[str, Any]:
    made.settle()
    crate = made.server.fields(CRATE)["c1"]
    for replica in made.replicas.values():
        assert replica.pending() == 0
        assert row(replica) == {"id": "c1"} | crate
        assert replica.unresolved() == []
    return crate


@stories
@given(st.lists(count | contact | counted_meanwhile | on_server | reset, max_size=30))
def test_whatever_happens_the_sum_is_that_of_all_steps(actions: list[tuple[str, str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = farm(directory)
        try:
            for action in actions:
                made.act(*action)

            crate = settled(made)

            assert crate["eggs"] == made.eggs
            assert crate["weight"] == f"{made.weight / 100:.2f}"
        finally:
            made.fleet.close()


@stories
@given(st.lists(mark | contact | reset, max_size=30))
def test_whatever_happens_each_element_is_as_the_last_to_reach_the_server_left_it(
    actions: list[tuple[str, str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = farm(directory)
        try:
            for action in actions:
                made.act(*action)

            crate = settled(made)

            elements = {"fresh"}
            for item in made.server.state.ledger:
                change = item.counted.fields.get("labels", {})
                assert isinstance(change, dict)
                elements = (elements | {*change.get("add", ())}) - {*change.get("remove", ())}
            assert crate["labels"] == sorted(elements)
            for label, marks in made.marked.items():
                if len({name for name, _ in marks}) == 1:
                    assert (label in crate["labels"]) == (marks[-1][1] == "add")
        finally:
            made.fleet.close()


def test_in_the_mode_manual_the_app_takes_steps_over_as_steps(server: SimulatedServer, fleet: Fleet) -> None:
    def on_manual(before: BackupView, live: Replica) -> None:
        for change in before.pending_changes():
            stands = live.get(change.model, change.pk) or {}
            taken = {name: add_step(stands[name], step) for name, step in change.steps.items()}
            live.update(change.model, change.pk, {**change.fields, **taken})

    ours = fleet.synced(mode="manual", on_manual=on_manual)
    ours.update(CRATE, "c1", name="White", eggs=7, labels=["fresh", "large", "organic"])
    server.wait()
    server.put(CRATE, "c1", eggs=3, labels=["large"])
    server.force_reset(ours.client_id)

    fleet.sync(ours)

    crate = server.fields(CRATE)["c1"]
    assert (crate["name"], crate["eggs"], crate["labels"]) == ("White", 0, ["large", "organic"])
    assert row(ours)["eggs"] == 0
