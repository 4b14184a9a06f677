"""What is still unsynced, taking it out of the device, and leaving the device: never by losing something."""

import gzip
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.sdk import (
    LogoutRefused,
    RecoveryFailed,
    Replica,
    ReplicaClosed,
    Request,
    Response,
    ServerUnavailable,
    UnknownModel,
)
from syncreset.sdk.reset.leave import leave
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import URL, Fleet, Killed, Reaper, offline, online, sync
from tests.support.simulated_server import SimulatedServer, refusal


def beside(replica: Replica) -> list[str]:
    return sorted(path.name for path in replica.path.parent.iterdir() if path.name.startswith("field.db"))


def refuse_the_snapshot(server: SimulatedServer, replica: Replica) -> None:
    """Leave the replica with a kept backup that holds its work."""

    def answer(request: Request) -> Response:
        if request.method == "PATCH":
            return refusal(422, "invalid_snapshot", detail="no")
        return server.answer(request)

    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, answer)


# -- what is pending --------------------------------------------------------------------------------------------------


def test_a_row_is_pending_until_the_server_has_acknowledged_it(fleet: Fleet, replica: Replica) -> None:
    assert not replica.is_pending("farm.animal", "a1")
    work_offline(replica)
    assert [replica.is_pending("farm.animal", pk) for pk in ("a1", "a2", "a3", "a4", "a5")] == [
        True,
        True,
        False,
        True,
        False,
    ]

    fleet.sync(replica)

    assert not any(replica.is_pending("farm.animal", pk) for pk in ("a1", "a2", "a3", "a4"))
    with pytest.raises(UnknownModel):
        replica.is_pending("farm.tractor", "t1")


# -- export -----------------------------------------------------------------------------------------------------------


def exported(path: Path) -> dict[tuple[str, str, str], Any]:
    """The lines of an export by kind, model and key, read as text as a person would."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {
        (kind, line[kind][0], line[kind][1]): line[kind]
        for line in lines
        for kind in ("row", "tombstone")
        if kind in line
    }


def test_an_export_holds_what_is_pending_and_nothing_else(replica: Replica, tmp_path: Path) -> None:
    work_offline(replica)

    count = replica.export_pending(tmp_path / "export.gz")

    found = exported(tmp_path / "export.gz")
    assert count == len(found) == 4
    assert set(found) == {
        ("row", "farm.barn", "b1"),
        ("row", "farm.animal", "a1"),
        ("row", "farm.animal", "a4"),
        ("tombstone", "farm.animal", "a2"),
    }
    assert found["row", "farm.animal", "a1"][2]["age"] == 30
    assert replica.pending() == 4


def test_an_export_holds_kept_backups_too_and_names_their_reset(
    server: SimulatedServer, replica: Replica, tmp_path: Path
) -> None:
    refuse_the_snapshot(server, replica)
    replica.update("farm.animal", "a3", name="Written after the reset")
    replica.update("farm.animal", "a1", name="Also after")

    replica.export_pending(tmp_path / "export.gz")

    found = exported(tmp_path / "export.gz")
    assert len(found) == 5
    assert found["row", "farm.animal", "a3"][2]["name"] == "Written after the reset"
    assert (found["row", "farm.animal", "a1"][2]["age"], found["row", "farm.animal", "a1"][2]["name"]) == (
        30,
        "Also after",
    )
    reader = SnapshotReader(io.BytesIO((tmp_path / "export.gz").read_bytes()))
    (reset,) = server.state.resets
    assert (reader.header.client, reader.header.reset) == (replica.client_id, reset)


def test_an_export_of_nothing_is_a_whole_file(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.open().export_pending(tmp_path / "export.gz") == 0

    reader = SnapshotReader(io.BytesIO((tmp_path / "export.gz").read_bytes()))
    assert list(reader) == []


# -- retention --------------------------------------------------------------------------------------------------------


def at(days: float) -> Any:
    return lambda: now() + int(days * 86_400_000_000)


@pytest.mark.parametrize(
    ("options", "days", "left"),
    [
        ({}, 29, 1),
        ({}, 31, 0),
        ({"keep_backups": None}, 3650, 1),
        ({"keep_backups": 3600.0}, 0.5, 0),
    ],
)
def test_backups_that_are_done_with_go_after_their_time(
    server: SimulatedServer,
    fleet: Fleet,
    animals: None,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    days: float,
    left: int,
) -> None:
    replica = fleet.synced(**options)
    work_offline(replica)
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    assert len(replica.backups()) == 1

    monkeypatch.setattr("syncreset.sdk.store.store.now", at(days))
    monkeypatch.setattr("syncreset.sdk.sync.push_and_pull.now", at(days))
    monkeypatch.setattr("tests.support.simulated_server.now", at(days))
    fleet.sync(replica)

    assert len(replica.backups()) == left
    assert len([name for name in beside(replica) if "backup" in name]) == left


def test_a_backup_that_is_not_recovered_stays_for_ever(
    server: SimulatedServer, fleet: Fleet, animals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = fleet.synced(keep_backups=0)
    refuse_the_snapshot(server, replica)

    monkeypatch.setattr("syncreset.sdk.store.store.now", at(3650))
    fleet.sync(replica)

    assert [backup.state for backup in replica.backups()] == ["kept"]
    assert any("backup" in name for name in beside(replica))


def test_a_backup_that_a_callback_has_yet_to_see_stays(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    seen: list[bool] = []
    replica = fleet.synced(keep_backups=0, on_after=lambda before, live: seen.append(before.path.exists()))
    server.force_reset(replica.client_id)

    fleet.sync(replica)
    fleet.sync(replica)

    assert seen == [True]
    assert replica.backups() == []


def test_a_negative_time_to_keep_backups_is_refused(fleet: Fleet) -> None:
    with pytest.raises(ValueError, match="keep_backups"):
        fleet.open(keep_backups=-1)


# -- logging out ------------------------------------------------------------------------------------------------------


def test_logging_out_sends_what_is_pending_and_leaves_nothing_behind(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    server.force_reset(replica.client_id)
    replica.sync()
    work_offline(replica)

    replica.safe_logout()

    assert_the_work_arrived(server)
    assert beside(replica) == []


def test_logging_out_is_refused_while_something_would_be_lost(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    replica = fleet.open(client=offline())
    work_offline(replica)
    before = beside(replica)

    with pytest.raises(LogoutRefused, match="4 changes not acknowledged") as refused:
        replica.safe_logout()

    assert {(change.op, change.pk) for change in refused.value.pending} == {
        ("put", "a1"),
        ("put", "a4"),
        ("put", "b1"),
        ("delete", "a2"),
    }
    assert isinstance(refused.value.__cause__, ServerUnavailable)
    assert beside(replica) == before
    replica.update("farm.animal", "a3", age=4)
    fleet.sync(replica)
    assert_the_work_arrived(server)


def test_logging_out_is_refused_while_a_backup_is_not_recovered(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    refuse_the_snapshot(server, replica)
    replica = fleet.open(client=online(server))

    with pytest.raises(LogoutRefused, match="1 backups not recovered") as refused:
        replica.safe_logout()

    assert [backup.state for backup in refused.value.backups] == ["kept"]


def test_logging_out_is_refused_while_a_refused_change_is_on_this_device_alone(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    server.refuse = lambda change: {"code": "unique", "detail": "taken"}
    replica.create("farm.animal", pk="a9", name="Rex")

    with pytest.raises(LogoutRefused) as refused:
        replica.safe_logout()
    assert [item.pk for item in refused.value.unresolved] == ["a9"]
    replica.acknowledge(*replica.unresolved())
    replica.safe_logout()

    assert beside(replica) == []


def test_logging_out_by_force_deletes_everything(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    refuse_the_snapshot(server, replica)
    work_more = fleet.open(client=offline())
    work_more.update("farm.animal", "a3", age=9)

    work_more.safe_logout(force=True)

    assert beside(work_more) == []


def test_a_replica_that_was_logged_out_is_closed(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    replica.safe_logout()

    with pytest.raises(ReplicaClosed):
        replica.all("farm.animal")
    with pytest.raises(ReplicaClosed):
        replica.sync()

    assert beside(replica) == []


def test_who_logs_in_next_starts_with_another_client_id_and_nothing_of_before(
    server: SimulatedServer, fleet: Fleet, animals: None
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    client = replica.client_id
    replica.safe_logout()

    replica = fleet.open()

    assert replica.client_id != client
    assert list(replica) == []
    assert replica.backups() == []


def test_killed_at_any_moment_logging_out_has_deleted_everything_or_nothing(
    server: SimulatedServer, fleet: Fleet, animals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaper = Reaper(monkeypatch)
    due, killed, deleted = 0, True, 0
    while killed:
        due += 1
        name = f"life-{due}"
        replica = fleet.open(name, client=online(server))
        replica.sync()
        server.force_reset(replica.client_id)
        replica.sync()
        client = replica.client_id
        reaper.arm(due)
        try:
            leave(replica._device, force=False)
            killed = False
        except Killed:
            reaper.arm(None)
            replica = fleet.open(name)
            if replica.client_id == client:
                assert (len(replica.backups()), len(replica.all("farm.animal"))) == (1, 3), due
            else:
                assert (replica.backups(), dict(replica.models)) == ([], {}), due
                assert not list(replica.path.parent.glob(f"{name}.db.backup-*")), due
                deleted += 1
        reaper.arm(None)
        fleet.shut(name)
    assert deleted > 5


def test_another_program_cannot_write_into_a_store_that_is_being_deleted(
    server: SimulatedServer, fleet: Fleet, animals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = fleet.open(client=online(server))
    replica.sync()
    shell = sqlite3.connect(replica.path, isolation_level=None)
    monkeypatch.setattr("syncreset.sdk.reset.leave.delete_everything", lambda path, journal: None)

    replica.safe_logout()

    with pytest.raises(sqlite3.IntegrityError):
        shell.execute("UPDATE farm_animal SET age = 5")
    shell.close()
    assert Replica(replica.path, URL).models == {}
