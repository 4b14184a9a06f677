"""Resets that go round in circles, refusals, and servers that put a reset off: bounded, visible, and left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from syncreset.protocol.clock import now
from syncreset.sdk import RecoveryFailed, Replica, Request, ResetLoop, ResetModeNotAllowed, Response
from syncreset.sdk.reset import orders as orders_module
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import Fleet, same_as_server, sync
from tests.support.simulated_server import SimulatedServer, refusal

Answer = Callable[[Request], Response]


def state_of(replica: Replica) -> str | None:
    outcome = replica.reset_state()
    return None if outcome is None else outcome.state


def order_again(server: SimulatedServer, replica: Replica, *, forgotten: bool) -> str:
    """Let the server order the reset that it ordered last, with or without knowing that it was done."""
    reset = list(server.state.resets)[-1]
    server.state.clients[replica.client_id].reset = reset
    if forgotten:
        server.state.resets[reset].bootstrapped = False
    return reset


def refusing(
    server: SimulatedServer, method: str, status: int = 422, code: str = "invalid_snapshot"
) -> Answer:
    """Answers as the server does, but refuses every request of a method that belongs to an upload."""

    def answer(request: Request) -> Response:
        if request.method == method and ("uploads/" in request.path or "/snapshot" in request.path):
            server.requests.append(request)
            return refusal(status, code, detail="not like this")
        return server.answer(request)

    return answer


def uploads(server: SimulatedServer) -> int:
    return sum(request.method in ("POST", "PATCH") and "s/" in request.path for request in server.requests)


# -- the same reset again ---------------------------------------------------------------------------------------------


def test_a_loop_is_raised_once_and_shown_from_then_on(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    reset = order_again(server, replica, forgotten=False)

    with pytest.raises(ResetLoop, match="Tell the operator") as raised:
        fleet.sync(replica)
    reports = [fleet.sync(replica) for _ in range(3)]

    assert (raised.value.outcome.reset, raised.value.outcome.state) == (reset, "looping")
    assert [report.reset and report.reset.state for report in reports] == ["looping"] * 3
    assert state_of(fleet.open()) == "looping"


def test_a_loop_makes_no_further_backups_and_work_goes_on_offline(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    order_again(server, replica, forgotten=False)
    with pytest.raises(ResetLoop):
        fleet.sync(replica)
    work_offline(replica)

    fleet.sync(replica)

    assert len(replica.backups()) == 1
    assert replica.pending() == 4


def test_another_reset_ends_a_loop(server: SimulatedServer, fleet: Fleet, replica: Replica) -> None:
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    order_again(server, replica, forgotten=False)
    with pytest.raises(ResetLoop):
        fleet.sync(replica)
    work_offline(replica)

    server.force_reset(replica.client_id, "checkpoint_expired")
    fleet.sync(replica)

    assert state_of(replica) is None
    assert_the_work_arrived(server)


def test_a_loop_ends_where_the_server_orders_nothing_any_more(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    order_again(server, replica, forgotten=False)
    with pytest.raises(ResetLoop):
        fleet.sync(replica)

    server.state.clients[replica.client_id].reset = None
    fleet.sync(replica)

    assert state_of(replica) is None


def test_retrying_goes_through_the_same_reset_once_more_and_loses_nothing(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    order_again(server, replica, forgotten=False)
    with pytest.raises(ResetLoop):
        fleet.sync(replica)
    work_offline(replica)

    replica.retry_reset()
    # The server has the first round's recovery of this reset and makes no other.
    with pytest.raises(RecoveryFailed, match="the receipt says"):
        fleet.sync(replica)
    assert [backup.state for backup in replica.backups()] == ["receipted", "kept"]
    server.force_reset(replica.client_id, "checkpoint_expired")
    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}


def test_a_server_restored_to_before_the_completion_may_order_the_same_reset_ever_again(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.force_reset(replica.client_id, "history_diverged", full=True)
    dump = server.dump()
    for number in range(4):
        replica.update("farm.animal", "a1", age=40 + number)
        fleet.sync(replica)
        assert server.fields("farm.animal")["a1"]["age"] == 40 + number
        server.restore(dump)

    assert len({backup.reset for backup in replica.backups()}) == 1
    assert len(replica.backups()) == 4
    assert state_of(replica) is None


def test_a_server_restored_within_the_bootstrap_orders_the_same_reset_and_it_starts_over(
    animals: None, fleet: Fleet, server: SimulatedServer
) -> None:
    server.page = 1
    replica = fleet.synced()
    work_offline(replica)
    server.force_reset(replica.client_id, "history_diverged", full=True)
    dump = server.dump()
    restores = iter([True])

    def answer(request: Request) -> Response:
        resumes = (
            request.path == "pull"
            and b'"reset":"' in request.body
            and b'"checkpoint":null' not in request.body
        )
        if resumes and next(restores, False):
            server.restore(dump)
            server.state.salts = [f"another {salt}" for salt in server.state.salts]
        return server.answer(request)

    sync(replica, answer)

    assert_the_work_arrived(server)
    assert len(replica.backups()) == 1
    assert same_as_server(replica, server)


def test_a_server_that_never_keeps_a_completion_is_a_loop_after_two_rounds(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    reset = server.force_reset(replica.client_id)

    def forgetful(request: Request) -> Response:
        response = server.answer(request)
        server.state.clients[replica.client_id].reset = reset
        server.state.resets[reset].bootstrapped = False
        server.state.resets[reset].recovery = None
        return response

    with pytest.raises(ResetLoop, match="never keeps"):
        sync(replica, forgetful)

    assert len(replica.backups()) == 2


def test_ever_new_resets_pause_before_the_next_is_begun(
    server: SimulatedServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(100))

    def answer(request: Request) -> Response:
        if request.path == "pull":
            server.state.clients[replica.client_id].reset = None
            server.force_reset(replica.client_id, f"reason {next(numbers)}")
        return server.answer(request)

    with pytest.raises(ResetLoop, match="one reset after the other"):
        sync(replica, answer)
    backups = len(replica.backups())
    report = sync(replica, answer)

    assert report.reset is not None
    assert (report.reset.state, len(replica.backups())) == ("looping", backups)
    monkeypatch.setattr(orders_module, "now", lambda: now() + orders_module.LOOP_PAUSE * 1_000_000)
    with pytest.raises(ResetLoop):
        sync(replica, answer)
    assert len(replica.backups()) > backups


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_refused_snapshot_is_not_sent_again_by_itself(
    server: SimulatedServer, fleet: Fleet, replica: Replica, method: str
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    answer = refusing(server, method)

    with pytest.raises(RecoveryFailed, match="not like this") as raised:
        sync(replica, answer)
    sent = uploads(server)
    reports = [sync(replica, answer) for _ in range(3)]

    assert raised.value.problem["code"] == "invalid_snapshot"
    assert uploads(server) == sent
    assert [report.reset and report.reset.state for report in reports] == ["refused"] * 3
    assert state_of(fleet.open()) == "refused"
    assert [backup.state for backup in replica.backups()] == ["kept"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_retrying_sends_a_refused_snapshot_again(
    server: SimulatedServer, fleet: Fleet, replica: Replica, method: str
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, refusing(server, method))

    replica.retry_reset()
    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert state_of(replica) is None
    assert [backup.state for backup in replica.backups()] == ["receipted"]


def test_a_refusal_after_a_retry_is_raised_again(server: SimulatedServer, replica: Replica) -> None:
    server.force_reset(replica.client_id)
    for _ in range(2):
        with pytest.raises(RecoveryFailed):
            sync(replica, refusing(server, "PATCH"))
        replica.retry_reset()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_the_server_never_had_whole_is_offered_again_after_an_hour(
    server: SimulatedServer, fleet: Fleet, replica: Replica, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, refusing(server, method, 413, "too_large"))
    fleet.sync(replica)
    assert state_of(replica) == "refused"

    monkeypatch.setattr("syncreset.sdk.reset.procedure.now", lambda: now() + 3_600_000_000)
    fleet.sync(replica)

    assert_the_work_arrived(server)


def test_an_upload_that_the_operator_recovers_after_all_is_noticed(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    reset = server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.method == "PATCH":
            server.state.resets[reset].recovery = None
            return refusal(422, "unsupported_schema", detail="not published")
        return response

    with pytest.raises(RecoveryFailed):
        sync(replica, answer)
    (recovery,) = server.state.recoveries
    server.state.resets[reset].recovery = recovery
    sent = uploads(server)
    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert uploads(server) == sent
    assert [backup.state for backup in replica.backups()] == ["receipted"]


def test_a_recovery_that_failed_and_was_run_anew_by_the_operator_is_noticed(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.fail_recoveries = True
    work_offline(replica)
    reset = server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        fleet.sync(replica)
    assert fleet.sync(replica).reset is not None
    server.fail_recoveries = False
    first = server.state.recoveries[str(server.state.resets[reset].recovery)]
    server.state.recoveries["again"] = type(first)(
        id="again", reset=reset, upload=first.upload, receipt=first.receipt
    )
    server.state.resets[reset].recovery = "again"

    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert [backup.recovery for backup in replica.backups()] == ["again"]


def test_retrying_in_another_mode_gets_out_of_a_refusal(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, refusing(server, "PATCH"))

    replica.retry_reset(mode="discard")
    report = fleet.sync(replica)

    assert report.reset is not None
    assert (report.reset.state, report.reset.mode) == ("discarded", "discard")
    assert set(server.fields("farm.animal")) == {"a1", "a2", "a3"}


def test_retrying_in_a_mode_that_the_server_does_not_allow_is_refused(
    server: SimulatedServer, replica: Replica
) -> None:
    server.modes = ["recover"]
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, refusing(server, "PATCH"))

    with pytest.raises(ResetModeNotAllowed):
        replica.retry_reset(mode="discard")

    assert state_of(replica) == "refused"


def test_a_mode_to_retry_in_needs_a_reset_under_way(replica: Replica) -> None:
    replica.retry_reset()

    with pytest.raises(ValueError, match="no reset is under way"):
        replica.retry_reset(mode="discard")
    bad: Any = "merge"
    with pytest.raises(ValueError, match="mode is one of"):
        replica.retry_reset(mode=bad)


def test_an_expired_token_within_the_upload_is_no_refusal(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(Exception, match="401"):
        sync(replica, refusing(server, "PATCH", 401, "not_authenticated"))

    fleet.sync(replica)

    assert_the_work_arrived(server)


# -- a server that forgot ---------------------------------------------------------------------------------------------


def forget_the_reset(server: SimulatedServer) -> None:
    """As a restore to just before the order does, where nothing was stamped in between."""
    server.state.resets.clear()
    server.state.uploads.clear()
    server.state.recoveries.clear()


@pytest.mark.parametrize("moment", ["/snapshot", "uploads/", "recoveries/"])
def test_a_reset_that_the_server_forgot_without_diverging_is_ordered_anew_and_the_backup_arrives(
    server: SimulatedServer, fleet: Fleet, replica: Replica, moment: str
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    once = iter([True])

    def answer(request: Request) -> Response:
        if moment in request.path and next(once, False):
            forget_the_reset(server)
        return server.answer(request)

    sync(replica, answer)

    assert_the_work_arrived(server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}
    assert same_as_server(replica, server)


def test_a_refused_reset_that_the_server_forgot_is_ordered_anew(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    work_offline(replica)
    server.force_reset(replica.client_id)
    with pytest.raises(RecoveryFailed):
        sync(replica, refusing(server, "PATCH"))
    forget_the_reset(server)

    fleet.sync(replica)

    assert_the_work_arrived(server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}


def test_a_server_that_takes_the_bootstrap_of_a_reset_it_does_not_know_refuses_the_backup(
    server: SimulatedServer, replica: Replica
) -> None:
    reset = server.force_reset(replica.client_id)

    def answer(request: Request) -> Response:
        if request.path.startswith((f"resets/{reset}", f"/sync/v1/resets/{reset}")):
            return refusal(404, "not_found")
        return server.answer(request)

    report = sync(replica, answer)
    with pytest.raises(RecoveryFailed, match="does not know the reset") as raised:
        sync(replica, answer)

    assert report.reset is not None
    assert report.reset.state == "unfinished"
    assert raised.value.problem["code"] == "reset_unknown"
    assert [backup.state for backup in replica.backups()] == ["kept"]


def test_a_recovery_that_is_gone_is_made_anew_from_the_backup(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.polls = 10
    work_offline(replica)
    reset = server.force_reset(replica.client_id)
    fleet.sync(replica, patience=0.0)
    server.state.recoveries.clear()
    server.state.resets[reset].recovery = None
    server.polls = 0

    reports = [fleet.sync(replica) for _ in range(2)]

    assert [report.reset and report.reset.state for report in reports] == ["unfinished", "recovered"]
    assert_the_work_arrived(server)


# -- a server that puts the reset off ---------------------------------------------------------------------------------


def test_a_reset_that_is_put_off_waits_without_asking_and_work_goes_on(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.retry_after = 300
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)
    asked = len(server.requests)
    work_offline(replica)
    again = fleet.sync(fleet.open())

    assert report.reset is not None
    assert (report.reset.state, report.reset.backup) == ("postponed", None)
    assert report.reset.until is not None
    assert 290_000_000 < report.reset.until - now() <= 300_000_000
    assert again.reset == report.reset
    assert len(server.requests) == asked
    assert state_of(fleet.open()) == "postponed"


def test_the_reset_begins_at_its_time_and_is_not_put_off_again(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.retry_after = 300
    server.force_reset(replica.client_id)
    fleet.sync(replica)
    work_offline(replica)

    monkeypatch.setattr(orders_module, "now", lambda: now() + 301_000_000)
    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.state == "recovered"
    assert_the_work_arrived(server)


def test_a_short_time_is_waited_for_within_the_sync(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.retry_after = 3
    work_offline(replica)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica, patience=5.0)

    assert report.reset is not None
    assert report.reset.state == "recovered"
    (waited,) = [request.after for request in server.requests if request.path == "" and request.after]
    assert 2.5 < waited <= 3.0


def test_a_retry_begins_at_once_what_was_put_off(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.retry_after = 300
    work_offline(replica)
    server.force_reset(replica.client_id)
    fleet.sync(replica)

    replica.retry_reset()
    server.retry_after = None
    fleet.sync(replica)

    assert_the_work_arrived(server)


def test_a_clock_that_was_set_back_does_not_put_a_reset_off_for_ever(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.retry_after = 300
    server.force_reset(replica.client_id)
    fleet.sync(replica)

    monkeypatch.setattr(orders_module, "now", lambda: now() - 365 * 86_400_000_000)
    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.state == "recovered"


def test_no_server_can_put_a_reset_off_for_longer_than_a_day(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    server.retry_after = 10**9
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)

    assert report.reset is not None
    assert report.reset.until is not None
    assert report.reset.until - now() <= 86_400_000_000
