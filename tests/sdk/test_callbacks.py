"""on_before, on_after and on_fallback: called until they have returned once, whatever happens in between."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from syncreset.sdk import (
    BackupView,
    CallbackFailed,
    Mode,
    Replica,
    ReplicaBusy,
    Request,
    ResetOutcome,
    Response,
    ServerUnavailable,
)
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import Fleet, Killed, Reaper, same_as_server, sync
from tests.support.simulated_server import SimulatedServer

pytestmark = pytest.mark.usefixtures("animals")


class App:
    """Remembers what it was called with; ``faults`` is how often each callback raises first."""

    def __init__(self, **faults: int) -> None:
        self.calls: list[Any] = []
        self.faults = faults

    def on_before(self, before: BackupView) -> None:
        self._called("before", before.pending(), before.is_pending("farm.animal", "a1"))

    def on_after(self, before: BackupView, live: Replica) -> None:
        new = live.get("farm.animal", "a4")
        self._called("after", before.pending(), None if new is None else new["name"])

    def on_fallback(self, outcome: ResetOutcome) -> None:
        self._called("fallback", outcome.state, (outcome.problem or {})["code"])

    def _called(self, name: str, *seen: Any) -> None:
        self.calls.append((name, *seen))
        if self.faults.get(name, 0) > 0:
            self.faults[name] -= 1
            raise ZeroDivisionError("a fault of the app")

    @property
    def options(self) -> dict[str, Any]:
        return {"on_before": self.on_before, "on_after": self.on_after, "on_fallback": self.on_fallback}


BEFORE, AFTER = ("before", 4, True), ("after", 4, "Luna")


def test_before_sees_the_backup_and_after_sees_what_was_recovered(
    server: SimulatedServer, fleet: Fleet
) -> None:
    app = App()
    replica = fleet.synced(**app.options)
    work_offline(replica)
    server.force_reset(replica.client_id)

    fleet.sync(replica)
    fleet.sync(replica)

    assert app.calls == [BEFORE, AFTER]
    assert_the_work_arrived(server)


def test_before_is_called_before_anything_is_downloaded(server: SimulatedServer, fleet: Fleet) -> None:
    asked: list[int] = []
    replica = fleet.synced(on_before=lambda before: asked.append(len(server.requests)))
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    (at,) = asked
    assert server.requests[at - 1].path == "pull"
    assert b'"reset"' not in server.requests[at - 1].body
    assert any(b'"reset"' in request.body for request in server.requests[at:])


@pytest.mark.parametrize("name", ["before", "after"])
def test_a_callback_that_raises_shows_its_cause_and_is_called_again_by_the_next_sync(
    server: SimulatedServer, fleet: Fleet, name: str
) -> None:
    app = App(**{name: 2})
    replica = fleet.synced(**app.options)
    work_offline(replica)
    server.force_reset(replica.client_id)

    for _ in range(2):
        with pytest.raises(CallbackFailed, match=f"on_{name}") as failed:
            fleet.sync(replica)
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
    fleet.sync(replica)
    fleet.sync(replica)

    called = {"before": [BEFORE] * 3 + [AFTER], "after": [BEFORE] + [AFTER] * 3}
    assert app.calls == called[name]
    assert_the_work_arrived(server)
    assert same_as_server(replica, server)


def test_nothing_is_left_of_what_a_callback_wrote_that_raised(server: SimulatedServer, fleet: Fleet) -> None:
    faults = iter([True])

    def on_after(before: BackupView, live: Replica) -> None:
        live.create("farm.barn", name="Written by the callback")
        if next(faults, False):
            raise ZeroDivisionError

    replica = fleet.synced(on_after=on_after)
    server.force_reset(replica.client_id)
    with pytest.raises(CallbackFailed):
        fleet.sync(replica)
    assert replica.all("farm.barn") == []

    fleet.sync(replica)

    assert [row["name"] for row in server.fields("farm.barn").values()] == ["Written by the callback"]


ENDINGS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "a with block": lambda connection: connection.__exit__(None, None, None),
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "plain SQL": lambda connection: connection.execute("COMMIT"),
    "a script": lambda connection: connection.executescript("SELECT 1;"),
    "a conflict": lambda connection: connection.execute(
        "INSERT OR ROLLBACK INTO farm_animal (id) VALUES ('a1')"
    ),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["on_after", "on_manual"])
def test_a_callback_cannot_end_the_transaction_that_it_writes_in(
    server: SimulatedServer, fleet: Fleet, name: str, ending: str, swallowed: bool
) -> None:
    faults = iter([True])

    def callback(before: BackupView, live: Replica) -> None:
        age = (live.get("farm.animal", "a1") or {})["age"]
        live.connection.execute("UPDATE farm_animal SET age = ? WHERE id = 'a1'", [age + 10])
        if not next(faults, False):
            return
        try:
            ENDINGS[ending](live.connection)
        except sqlite3.Error:
            if not swallowed:
                raise

    options: dict[str, Any] = {name: callback, "mode": "manual" if name == "on_manual" else "recover"}
    replica = fleet.synced(**options)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed, match=name):
        fleet.sync(replica)
    assert (replica.get("farm.animal", "a1") or {})["age"] == 1
    replica.connection.execute("BEGIN")
    replica.connection.execute("COMMIT")
    fleet.sync(replica)

    assert server.fields("farm.animal")["a1"]["age"] == 11


def test_a_callback_that_commits_is_told_what_to_do_instead(server: SimulatedServer, fleet: Fleet) -> None:
    def on_after(before: BackupView, live: Replica) -> None:
        with live.connection:
            live.create("farm.barn", name="North")

    replica = fleet.synced(on_after=on_after)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed, match=r"COMMIT in a callback.* without committing"):
        fleet.sync(replica)


def test_a_callback_may_use_transactions_of_the_replica(server: SimulatedServer, fleet: Fleet) -> None:
    def on_after(before: BackupView, live: Replica) -> None:
        with live.transaction():
            live.create("farm.barn", pk="b1", name="North")
        with pytest.raises(sqlite3.IntegrityError), live.transaction():
            live.connection.executemany("INSERT INTO farm_barn (id) VALUES (?)", [("b2",), ("b1",)])

    replica = fleet.synced(on_after=on_after)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    assert set(server.fields("farm.barn")) == {"b1"}


def test_callbacks_that_returned_are_not_called_again_after_a_restart(
    server: SimulatedServer, fleet: Fleet
) -> None:
    app = App()
    replica = fleet.synced(**app.options)
    work_offline(replica)
    server.polls = 10
    server.force_reset(replica.client_id)

    fleet.sync(replica, patience=0.0)
    replica = fleet.open(**app.options)
    server.polls = 0
    fleet.sync(replica)
    fleet.sync(fleet.open(**app.options))

    assert app.calls == [BEFORE, AFTER]


def test_killed_at_any_moment_callbacks_are_called_until_they_returned_once(
    server: SimulatedServer, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaper = Reaper(monkeypatch, commits=False)
    pristine = server.dump()
    due, killed = 0, True
    while killed:
        due += 1
        server.restore(pristine)
        name, app = f"life-{due}", App()
        replica = fleet.synced(name, **app.options)
        work_offline(replica)
        server.force_reset(replica.client_id)
        reaper.arm(due)
        try:
            sync(replica, reaper.answering(server.answer))
            killed = False
        except Killed:
            reaper.arm(None)
            fleet.sync(fleet.open(name, **app.options))
        reaper.arm(None)
        fleet.sync(fleet.open(name, **app.options))

        assert app.calls in ([BEFORE, AFTER], [BEFORE, BEFORE, AFTER], [BEFORE, AFTER, AFTER]), due
        fleet.shut(name)
    assert due > 50


def test_after_is_called_once_the_network_is_back(server: SimulatedServer, fleet: Fleet) -> None:
    app = App()
    replica = fleet.synced(**app.options)
    work_offline(replica)
    server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        recovered = any(recovery.state == "done" for recovery in server.state.recoveries.values())
        if request.path == "pull" and recovered:
            raise ServerUnavailable("no network")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(replica, answer)
    assert app.calls == [BEFORE]
    fleet.sync(replica)

    assert app.calls == [BEFORE, AFTER]


def test_after_is_called_with_every_backup_that_the_reset_took_over(
    server: SimulatedServer, fleet: Fleet
) -> None:
    seen: list[str] = []
    replica = fleet.synced(on_after=lambda before, live: seen.append(before.path.name))
    work_offline(replica)
    server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        if request.path.startswith("recoveries/") and len(replica.backups()) == 1:
            server.force_reset(replica.client_id, "checkpoint_expired")
        return server.answer(request)

    server.polls = 10
    sync(replica, answer, patience=0.0)
    server.polls = 0
    fleet.sync(replica)

    assert seen == [backup.path.name for backup in replica.backups()]
    assert len(seen) == 2


def test_fallback_is_told_why_recovering_was_given_up(server: SimulatedServer, fleet: Fleet) -> None:
    server.fail_recoveries = True
    app = App()
    replica = fleet.synced(mode="recover_or_discard", **app.options)
    work_offline(replica)
    server.force_reset(replica.client_id)

    fleet.sync(replica)
    fleet.sync(replica)

    assert app.calls == [BEFORE, ("fallback", "discarded", "worker_lost"), ("after", 4, None)]


def test_fallback_is_told_that_the_server_does_not_allow_to_recover(
    server: SimulatedServer, fleet: Fleet
) -> None:
    server.modes = ["discard"]
    app = App()
    replica = fleet.synced(mode="recover_or_discard", **app.options)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    assert ("fallback", "discarded", "mode_not_allowed") in app.calls


def test_a_fallback_that_raises_is_called_again(server: SimulatedServer, fleet: Fleet) -> None:
    server.fail_recoveries = True
    app = App(fallback=1)
    replica = fleet.synced(mode="recover_or_discard", **app.options)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed, match="on_fallback"):
        fleet.sync(replica)
    fleet.sync(replica)

    assert [call[0] for call in app.calls] == ["before", "fallback", "fallback", "after"]


@pytest.mark.parametrize("mode", ["recover", "discard"])
def test_only_a_discard_that_was_not_the_first_choice_is_a_fallback(
    server: SimulatedServer, fleet: Fleet, mode: Mode
) -> None:
    app = App()
    replica = fleet.synced(mode=mode, **app.options)
    server.force_reset(replica.client_id)

    fleet.sync(replica)

    assert [call[0] for call in app.calls] == ["before", "after"]


def test_a_callback_cannot_sync(server: SimulatedServer, fleet: Fleet) -> None:
    def on_before(before: BackupView) -> None:
        fleet.sync(replica)

    replica = fleet.synced(on_before=on_before)
    server.force_reset(replica.client_id)

    with pytest.raises(CallbackFailed) as failed:
        fleet.sync(replica)

    assert isinstance(failed.value.__cause__, ReplicaBusy)
    assert "a callback cannot sync" in str(failed.value.__cause__)


def test_after_may_delete_the_backup_it_has_seen(server: SimulatedServer, fleet: Fleet) -> None:
    def on_after(before: BackupView, live: Replica) -> None:
        (backup,) = live.backups()
        live.delete_backup(backup)

    replica = fleet.synced(on_after=on_after)
    server.force_reset(replica.client_id)

    fleet.sync(replica)
    fleet.sync(replica)

    assert replica.backups() == []
