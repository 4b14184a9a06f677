"""The client reset: nothing is lost, wherever it is killed and whatever the server does in the middle."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from syncreset.sdk import BackupView, Mode, Replica, Request, ResetEvent, Response
from syncreset.sdk.errors import (
    CallbackFailed,
    RecoveryFailed,
    ResetLoop,
    ResetModeNotAllowed,
    ServerUnavailable,
)
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import Fleet, Killed, Reaper, same_as_server, sync, unreliable
from tests.support.simulated_server import SimulatedServer


def files_of(replica: Replica) -> set[str]:
    return {path.name for path in replica.path.parent.iterdir() if path.name.startswith(replica.path.name)}


def test_unsent_work_survives_a_reset(server: SimulatedServer, fleet: Fleet, animals: None) -> None:
    events: list[ResetEvent] = []
    replica = fleet.synced(on_reset=events.append)
    work_offline(replica)
    reset = server.force_reset(replica.client_id)

    report = fleet.sync(replica)

    assert_the_work_arrived(server)
    assert same_as_server(replica, server)
    assert report.reset is not None
    assert (report.reset.state, report.reset.totals) == ("recovered", {"applied": 4})
    (backup,) = replica.backups()
    assert (backup.reset, backup.state, backup.reason) == (reset, "receipted", "admin_forced")
    assert backup.path.exists()
    assert [event.stage for event in events] == [
        "noted",
        "backed_up",
        "downloaded",
        "uploaded",
        "recovered",
        "done",
    ]
    assert replica.pending() == 0


def test_a_download_of_several_pages_tells_how_far_it_is(server: SimulatedServer, fleet: Fleet) -> None:
    server.page = 2
    for number in range(7):
        server.put("farm.animal", f"s{number}", name="x")
    events: list[ResetEvent] = []
    replica = fleet.synced(on_reset=events.append)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    told = [(event.sent, event.total) for event in events if event.stage == "downloading"]
    assert told == [(2, 7), (4, 7), (6, 7)]
    assert same_as_server(replica, server)


def test_the_upload_holds_only_what_is_unsynced(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    (backup,) = replica.backups()
    assert backup.receipt is not None
    assert (backup.receipt["rows"], backup.receipt["tombstones"]) == (3, 1)


def test_the_server_is_healed_of_a_restore(server: SimulatedServer, fleet: Fleet) -> None:
    server.put("farm.animal", "a1", name="Dog 1", age=1)
    server.put("farm.animal", "a2", name="Dog 2", age=2)
    ours, theirs = fleet.synced("ours"), fleet.synced("theirs")
    before = server.dump()
    ours.update("farm.animal", "a1", age=10)
    ours.delete("farm.animal", "a2")
    theirs.create("farm.animal", pk="a3", name="Acknowledged")
    fleet.sync(ours)
    fleet.sync(theirs)
    fleet.sync(ours)
    server.restore(before)
    theirs.update("farm.animal", "a1", name="Unsent")

    for replica in (ours, theirs, ours):
        fleet.sync(replica)

    animals = server.fields("farm.animal")
    assert set(animals) == {"a1", "a3"}
    assert (animals["a1"]["age"], animals["a1"]["name"]) == (10, "Unsent")
    assert [backup.reason for backup in ours.backups()] == ["history_diverged"]
    assert same_as_server(ours, server)
    assert same_as_server(theirs, server)


def test_a_server_that_has_overtaken_is_found_out_too(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    before = server.dump()
    replica.create("farm.animal", pk="a9", name="Acknowledged")
    fleet.sync(replica)
    server.restore(before)
    other = fleet.synced("other")
    for number in range(5):
        server.put("farm.barn", f"b{number}", name="New")
        fleet.sync(other)

    fleet.sync(replica)

    assert "a9" in server.fields("farm.animal")
    assert same_as_server(replica, server)


def test_a_client_that_the_server_never_knew_heals_it(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.restore(SimulatedServer().state)

    fleet.sync(replica)

    assert {"a1", "a3", "a4"} == set(server.fields("farm.animal"))
    assert same_as_server(replica, server)


def test_the_app_goes_on_writing_while_the_server_is_away(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        if request.path == "pull" and b'"reset":"' in request.body:
            raise ServerUnavailable("no network")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(replica, answer)
    replica.create("farm.animal", pk="a5", name="Written meanwhile")
    replica = fleet.open()
    assert [row["id"] for row in replica.all("farm.animal")] == ["a5"]
    fleet.sync(replica)

    assert server.fields("farm.animal").pop("a5")["name"] == "Written meanwhile"
    server.delete("farm.animal", "a5")
    assert_the_work_arrived(server)


def test_a_kill_at_any_moment_of_a_reset_loses_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaper = Reaper(monkeypatch)
    monkeypatch.setattr("syncreset.sdk.reset.upload.CHUNK", 200)
    pristine = server.dump()
    due, killed = 0, True
    while killed:
        due += 1
        server.restore(pristine)
        name = f"life-{due}"
        replica = fleet.synced(name)
        work_offline(replica)
        server.polls = 1
        server.force_reset(replica.client_id)
        reaper.arm(due)
        try:
            sync(replica, reaper.answering(server.answer))
            killed = False
        except Killed:
            reaper.arm(None)
            replica = fleet.open(name)
            replica.create("farm.barn", pk="meanwhile", name="Written after the kill")
            fleet.sync(replica)
        reaper.arm(None)

        if killed:
            assert server.state.rows.pop(("farm.barn", "meanwhile"), None) is not None, due
            replica.delete("farm.barn", "meanwhile")
            fleet.sync(replica)
        assert_the_work_arrived(server)
        assert same_as_server(replica, server), due
        assert {backup.state for backup in replica.backups()} == {"receipted"}, due
        assert len(replica.backups()) == 1, due
        assert replica.unresolved() == [], due
        fleet.shut(name)
    assert due > 50


@pytest.mark.parametrize("lost", range(14))
def test_a_lost_answer_at_any_request_of_a_reset_loses_nothing(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.upload.CHUNK", 200)
    work_offline(replica)
    server.force_reset(replica.client_id)
    try:
        sync(replica, unreliable(server.answer, lost=lambda number: number == lost))
    except ServerUnavailable:
        replica = fleet.open()
        fleet.sync(replica)

    assert_the_work_arrived(server)
    assert same_as_server(replica, server)


def during(
    server: SimulatedServer, step: Callable[[Request], bool], act: Callable[[], None]
) -> Callable[[Request], Response]:
    """Answer, but do something once before the first request that ``step`` is true of."""
    done = iter([True])

    def answer(request: Request) -> Response:
        if step(request) and next(done, False):
            act()
        return server.answer(request)

    return answer


MOMENTS: dict[str, Callable[[Request], bool]] = {
    "before the bootstrap": lambda request: request.path == "pull" and b'"reset":"' in request.body,
    "before the upload is made": lambda request: request.path.endswith("/snapshot"),
    "within the upload": lambda request: (
        request.method == "PATCH" and request.headers["upload-offset"] != "0"
    ),
    "before the receipt": lambda request: request.path.startswith("recoveries/"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_restore_in_the_middle_starts_over_and_loses_nothing(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.upload.CHUNK", 200)
    before = server.dump()
    replica.update("farm.animal", "a3", name="Acknowledged")
    fleet.sync(replica)
    work_offline(replica)
    server.force_reset(replica.client_id)

    try:
        sync(replica, during(server, MOMENTS[moment], lambda: server.restore(before)))
    except RecoveryFailed:
        fleet.sync(replica)

    assert_the_work_arrived(server)
    assert server.fields("farm.animal")["a3"]["name"] == "Acknowledged"
    assert same_as_server(replica, server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}
    assert replica._device.journal.plan is None


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_reset_in_the_middle_starts_over_and_loses_nothing(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.upload.CHUNK", 200)
    work_offline(replica)
    server.force_reset(replica.client_id)

    def another_reset() -> None:
        server.force_reset(replica.client_id, "checkpoint_expired")

    answer = during(server, MOMENTS[moment], another_reset)

    sync(replica, answer)

    assert_the_work_arrived(server)
    assert same_as_server(replica, server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}


def test_edits_in_both_backups_of_a_reset_started_over_arrive(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", age=30, name="First backup")
    replica.update("farm.animal", "a2", name="Only in the first")
    replica.create("farm.animal", pk="a4", name="Made in the first")
    server.force_reset(replica.client_id)
    with pytest.raises(ServerUnavailable):
        sync(
            replica,
            unreliable(server.answer, lost=lambda number: server.requests[-1].path.endswith("/snapshot")),
        )
    replica.update("farm.animal", "a1", name="Second backup")
    replica.update("farm.animal", "a3", name="Only in the second")
    server.state.resets.clear()
    server.state.clients.clear()

    try:
        fleet.sync(replica)
    except RecoveryFailed:
        fleet.sync(replica)

    animals = server.fields("farm.animal")
    assert (animals["a1"]["age"], animals["a1"]["name"]) == (30, "Second backup")
    assert animals["a2"]["name"] == "Only in the first"
    assert animals["a3"]["name"] == "Only in the second"
    assert animals["a4"]["name"] == "Made in the first"
    assert same_as_server(replica, server)
    assert len(replica.backups()) == 2


def test_a_deletion_that_older_unsynced_edits_outlive_is_told(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", name="First backup")
    server.force_reset(replica.client_id)
    with pytest.raises(ServerUnavailable):
        sync(
            replica,
            unreliable(server.answer, lost=lambda number: server.requests[-1].path.endswith("/snapshot")),
        )
    replica.delete("farm.animal", "a1")
    server.state.resets.clear()
    server.state.clients.clear()

    try:
        fleet.sync(replica)
    except RecoveryFailed:
        fleet.sync(replica)

    assert server.fields("farm.animal")["a1"]["name"] == "First backup"
    assert [(item.op, item.pk, item.code) for item in replica.unresolved()] == [
        ("delete", "a1", "edited_before")
    ]
    assert same_as_server(replica, server)


def test_the_same_reset_again_after_it_was_done_fails_loudly(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    reset = server.force_reset(replica.client_id)
    fleet.sync(replica)
    server.state.clients[replica.client_id].reset = reset
    replica.update("farm.animal", "a1", age=50)

    with pytest.raises(ResetLoop):
        fleet.sync(replica)

    assert len(replica.backups()) == 1
    assert replica.get("farm.animal", "a1") is not None
    assert replica.pending() == 1


def test_a_server_that_never_takes_the_bootstrap_is_a_loop(server: SimulatedServer, replica: Replica) -> None:
    server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        if request.path == "pull":
            request = Request(
                method="POST", path="pull", body=request.body.replace(b'"reset":"', b'"reset":"x')
            )
        return server.answer(request)

    with pytest.raises(ResetLoop):
        sync(replica, answer)

    assert len(replica.backups()) <= 3


def test_other_resets_without_end_are_a_loop(server: SimulatedServer, replica: Replica) -> None:
    numbers = iter(range(100))

    def answer(request: Request) -> Response:
        if request.path == "pull":
            server.state.clients[replica.client_id].reset = None
            server.force_reset(replica.client_id, f"reason {next(numbers)}")
        return server.answer(request)

    with pytest.raises(ResetLoop):
        sync(replica, answer)


def test_discard_backs_up_first_and_sends_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    replica = fleet.synced(mode="discard")
    work_offline(replica)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.state == "discarded"
    assert set(server.fields("farm.animal")) == {"a1", "a2", "a3"}
    assert same_as_server(replica, server)
    (backup,) = replica.backups()
    assert backup.state == "discarded"
    with replica.open_backup(backup) as before:
        assert before.pending() == 4


def test_manual_hands_over_both_stores(server: SimulatedServer, fleet: Fleet, animals: None) -> None:
    def take_over(before: BackupView, live: Replica) -> None:
        for change in before.pending_changes():
            if change.op == "put" and live.get(change.model, change.pk) is not None:
                live.update(change.model, change.pk, change.fields)
            elif change.op == "put":
                live.create(change.model, change.fields, pk=change.pk)
            else:
                live.delete(change.model, change.pk)

    replica = fleet.synced(mode="manual", on_manual=take_over)
    work_offline(replica)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.state == "handed_over"
    assert_the_work_arrived(server)
    assert same_as_server(replica, server)


def test_a_callback_that_raises_is_called_again_and_its_cause_is_shown(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    calls: list[int] = []

    def take_over(before: BackupView, live: Replica) -> None:
        calls.append(len(live.all("farm.animal")))
        live.update("farm.animal", "a1", age=99)
        if len(calls) == 1:
            raise ZeroDivisionError("a fault of the app")

    replica = fleet.synced(mode="manual", on_manual=take_over)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed) as failed:
        fleet.sync(replica)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert replica.pending() == 0
    fleet.sync(replica)

    assert calls == [3, 3]
    assert server.fields("farm.animal")["a1"]["age"] == 99


@pytest.mark.parametrize("stage", ["noted", "backed_up", "downloaded", "uploaded", "recovered", "done"])
def test_a_listener_that_raises_leaves_the_reset_resumable(
    server: SimulatedServer, fleet: Fleet, animals: None, stage: str
) -> None:
    fails = iter([True])

    def listen(event: ResetEvent) -> None:
        if event.stage == stage and next(fails, False):
            raise ZeroDivisionError

    replica = fleet.synced(on_reset=listen)
    work_offline(replica)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed):
        fleet.sync(replica)
    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert same_as_server(replica, server)


def test_a_recovery_that_failed_keeps_the_backup_and_syncing_goes_on(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.fail_recoveries = True
    work_offline(replica)
    server.force_reset(replica.client_id)
    server.put("farm.animal", "a3", name="From the server")

    with pytest.raises(RecoveryFailed) as failed:
        fleet.sync(replica)

    assert failed.value.problem["code"] == "worker_lost"
    assert failed.value.report.reset is not None
    assert (replica.get("farm.animal", "a3") or {})["name"] == "From the server"
    assert [backup.state for backup in replica.backups()] == ["kept"]
    with pytest.raises(ValueError, match="has not been recovered"):
        replica.delete_backup(replica.backups()[0])

    server.fail_recoveries = False
    for recovery in server.state.recoveries.values():
        recovery.state, recovery.problem = "queued", None
    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert [backup.state for backup in replica.backups()] == ["receipted"]


def test_recover_or_discard_discards_only_after_a_refusal_and_says_so(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    server.fail_recoveries = True
    replica = fleet.synced(mode="recover_or_discard")
    work_offline(replica)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)

    assert report.reset is not None
    assert (report.reset.state, (report.reset.problem or {})["code"]) == ("discarded", "worker_lost")
    assert [backup.state for backup in replica.backups()] == ["discarded"]
    assert same_as_server(replica, server)


def test_a_receipt_that_says_something_else_is_no_receipt(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path.startswith("recoveries/"):
            wire = response.json()
            wire["receipt"]["rows"] += 1
            return Response(status=200, body=json.dumps(wire).encode())
        return response

    with pytest.raises(RecoveryFailed, match="receipt"):
        sync(replica, answer)

    assert [backup.state for backup in replica.backups()] == ["kept"]


def test_a_recovery_that_takes_long_is_asked_for_at_the_next_sync(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.polls = 10
    work_offline(replica)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica, patience=0.0)
    assert report.reset is not None
    assert report.reset.state == "waiting"
    server.polls = 0
    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.state == "recovered"
    assert_the_work_arrived(server)


@pytest.mark.parametrize(
    ("mode", "allowed", "becomes"),
    [
        ("recover_or_discard", ["discard"], "discarded"),
        ("recover_or_discard", ["recover"], "recovered"),
        ("recover", ["discard"], None),
        ("discard", ["manual", "recover"], None),
    ],
)
def test_the_server_restricts_the_modes(
    server: SimulatedServer, fleet: Fleet, animals: None, mode: Mode, allowed: list[str], becomes: str | None
) -> None:
    replica = fleet.synced(mode=mode)
    work_offline(replica)
    server.modes = allowed
    server.force_reset(replica.client_id)

    if becomes is None:
        with pytest.raises(ResetModeNotAllowed):
            fleet.sync(replica)
        assert replica.pending() == 4
        assert replica.backups() == []
    else:
        report = fleet.sync(replica)
        assert report.reset is not None
        assert report.reset.state == becomes


def test_a_connection_that_outlived_the_reset_cannot_write_into_the_backup(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id)
    with closing(sqlite3.connect(replica.path, isolation_level=None)) as shell:
        shell.execute("UPDATE farm_animal SET age = 77 WHERE id = 'a1'")
        fleet.sync(replica)
        with pytest.raises(sqlite3.IntegrityError, match="backup"):
            shell.execute("UPDATE farm_animal SET age = 78 WHERE id = 'a1'")

    assert server.fields("farm.animal")["a1"]["age"] == 77


def test_another_replica_of_the_same_file_notices_the_reset(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    with Replica(replica.path, "http://server.test/", "token") as second:
        assert second.get("farm.animal", "a1") is not None
        server.force_reset(replica.client_id)
        fleet.sync(replica)
        second.update("farm.animal", "a1", age=12)

    assert replica.pending() == 1


def test_names_from_the_server_never_become_paths(
    server: SimulatedServer, fleet: Fleet, replica: Replica, tmp_path: Path
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    evil = "../../evil/reset"
    (reset,) = server.state.resets.values()
    server.state.resets = {evil: reset}
    reset.id = evil
    server.state.clients[replica.client_id].reset = evil

    def answer(request: Request) -> Response:
        if request.method == "POST" and "/snapshot" in request.path:
            request = Request(method="POST", path="resets/x/snapshot", headers=request.headers)
            server.state.resets["x"] = reset
        return server.answer(request)

    sync(replica, answer)

    (backup,) = replica.backups()
    assert backup.path.parent == replica.path.parent
    assert_the_work_arrived(server)


def test_only_the_backup_and_the_journal_stay_beside_the_store(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    (backup,) = replica.backups()

    assert files_of(replica) - {"field.db", "field.db-wal", "field.db-shm"} == {
        backup.path.name,
        "field.db.lock",
        "field.db.resets",
    }
    replica.delete_backup(backup)
    assert not backup.path.exists()
    assert replica.backups() == []


def test_what_was_unresolved_before_a_reset_is_still_listed(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.refuse = lambda change: {"code": "unique", "detail": "taken"}
    replica.create("farm.animal", pk="a9", name="Rex")
    fleet.sync(replica)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    assert [item.pk for item in replica.unresolved()] == ["a9"]


def test_sequence_numbers_go_on_after_a_reset(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    replica.update("farm.animal", "a1", age=4)
    fleet.sync(replica)
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    replica.update("farm.animal", "a1", age=5)

    report = fleet.sync(replica)

    assert report.results == {"applied": 1}
    assert server.state.clients[replica.client_id].acked == 2


def test_a_schema_that_cannot_be_adopted_is_a_reset_that_keeps_the_work(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    schema: dict[str, Any] = json.loads(json.dumps(server.state.schema))
    schema["hash"] = "schema-2"
    weight = schema["models"][1]["fields"][2]
    weight["type"] = "Float"
    server.state.schema = schema

    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.reason == "schema_incompatible"
    assert_the_work_arrived(server)
    replica.update("farm.animal", "a1", weight=2)
    assert (replica.get("farm.animal", "a1") or {})["weight"] == 2.0
