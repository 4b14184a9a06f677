"""The rules of Realm's client reset, and the bugs that its users reported, each under its name.

Most run against the simulated server; where the rule is the server's as much as the device's, against the real one.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.sdk import BackupView, Mode, RecoveryFailed, Replica, Request, ResetLoop, Response, WrongUser
from syncreset.sdk.reset import backup
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import URL, Fleet, sync
from tests.support.real_server import RealServer
from tests.support.simulated_server import SimulatedServer, refusal

MODES: tuple[Mode, ...] = ("recover", "recover_or_discard", "discard", "manual")

real = pytest.mark.django_db(transaction=True)


def ignore(before: BackupView, live: Replica) -> None:
    """What an app does that takes nothing over."""


def bodies(requests: list[Request]) -> list[dict[str, Any]]:
    """The JSON of requests that have some."""
    return [json.loads(request.body) for request in requests if request.body.startswith(b"{")]


class Devices:
    """Replicas of one user of the real server."""

    def __init__(self, server: RealServer, directory: Path, stack: ExitStack) -> None:
        self.server, self.directory, self._stack = server, directory, stack

    def synced(self, name: str = "field", **options: Any) -> Replica:
        replica = self._stack.enter_context(Replica(self.directory / f"{name}.db", URL, "token", **options))
        self.server.sync(replica)
        return replica


@pytest.fixture
def devices(user_factory: UserFactory, shelter: Shelter, tmp_path: Path) -> Iterator[Devices]:
    with ExitStack() as stack:
        yield Devices(RealServer(user_factory(shelter)), tmp_path, stack)


# -- retry cycles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_retry_cycles_the_same_reset_failing_twice_stops_with_everything_kept(
    server: SimulatedServer, fleet: Fleet, animals: None, mode: Mode
) -> None:
    """Realm: a client reset that fails must not be tried for ever; a second failure of the same one is reported."""
    replica = fleet.synced(mode=mode, on_manual=ignore)
    work_offline(replica)
    reset = server.force_reset(replica.client_id)

    def never_takes_the_bootstrap(request: Request) -> Response:
        response = server.answer(request)
        server.state.clients[replica.client_id].reset = reset
        server.state.resets[reset].bootstrapped = False
        server.state.resets[reset].recovery = None
        return response

    with pytest.raises(ResetLoop) as raised:
        sync(replica, never_takes_the_bootstrap)
    backups = replica.backups()
    for _ in range(3):
        sync(replica, never_takes_the_bootstrap)

    assert (raised.value.outcome.reset, raised.value.outcome.state) == (reset, "looping")
    assert replica.backups() == backups
    assert all(backup.path.exists() for backup in backups)
    with replica.open_backup(backups[0]) as before:
        assert before.pending() == 4


def test_retry_cycles_a_crash_is_tried_again_until_it_gets_through(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    """Realm: only failures count as attempts; a process that died in the middle is no failure of the reset."""
    work_offline(replica)
    server.force_reset(replica.client_id)

    class Crash(BaseException):
        pass

    def crashing(request: Request) -> Response:
        if request.method == "PATCH":
            raise Crash
        return server.answer(request)

    for _ in range(5):
        with pytest.raises(Crash):
            sync(fleet.open(), crashing)
    fleet.sync(fleet.open())

    assert_the_work_arrived(server)


# -- a recovery that changes nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_recovery_that_changes_nothing_still_clears_the_reset(
    server: SimulatedServer, fleet: Fleet, animals: None, mode: Mode
) -> None:
    """Realm (core): a reset without local changes recovered nothing, was not marked as done, and came for ever."""
    replica = fleet.synced(mode=mode, on_manual=ignore)
    server.force_reset(replica.client_id)

    report = fleet.sync(replica)
    again = fleet.sync(fleet.open(mode=mode, on_manual=ignore))

    assert report.reset is not None
    assert sum(report.reset.totals.values()) == 0
    assert again.reset is None
    assert replica.reset_state() is None
    assert [backup.state for backup in replica.backups()] != ["kept"]


@real
def test_a_recovery_that_changes_nothing_still_clears_the_reset_on_the_real_server(
    devices: Devices, shelter: Shelter
) -> None:
    Dog.objects.create(shelter=shelter, name="Rex")
    phone = devices.synced()
    Reset.objects.force(Client.objects.all(), full=True)

    report = devices.server.sync(phone)
    again = devices.server.sync(phone)

    assert report.reset is not None
    assert (report.reset.state, sum(report.reset.totals.values())) == ("recovered", 0)
    assert again.reset is None
    assert Reset.objects.get().bootstrapped is not None
    assert [backup.state for backup in phone.backups()] == ["receipted"]


# -- a second reset during the first ----------------------------------------------------------------------------------


@real
def test_a_second_reset_during_the_first_loses_nothing_of_either_backup(
    devices: Devices, shelter: Shelter
) -> None:
    """Realm: the second reset's backup took the place of the first one's, and its recovery lost the first's changes."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = devices.synced()
    phone.update("shelters.dog", dog.pk, age=9)
    Reset.objects.force(Client.objects.all())
    once = iter([True])

    def answer(request: Request) -> Response:
        if "uploads/" in request.path and next(once, False):
            phone.create("shelters.dog", shelter=shelter.pk, name="Made between")
            Reset.objects.force(Client.objects.all(), detail="again")
        return devices.server.answer(request)

    sync(phone, answer)

    assert dict(Dog.objects.values_list("name", "age")) == {"Rex": 9, "Made between": None}
    assert {backup.state for backup in phone.backups()} == {"receipted"}
    assert phone.pending() == 0


def test_a_second_reset_during_the_first_goes_on_in_the_mode_of_the_first(
    server: SimulatedServer, fleet: Fleet, replica: Replica
) -> None:
    """What was begun with the promise to recover is not discarded because the app was restarted in between."""
    work_offline(replica)
    server.force_reset(replica.client_id)
    server.polls = 10
    fleet.sync(replica, patience=0.0)
    server.force_reset(replica.client_id, "checkpoint_expired")
    replica = fleet.open(mode="discard")

    fleet.sync(replica, patience=0.0)
    server.polls = 0
    fleet.sync(replica)

    assert len(replica.backups()) == 2
    assert_the_work_arrived(server)
    assert {backup.state for backup in replica.backups()} == {"receipted"}


# -- recover never discards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["refused", "failed", "receipt"])
def test_recover_never_turns_into_a_discard_by_itself(
    server: SimulatedServer, fleet: Fleet, replica: Replica, failure: str
) -> None:
    """Realm: recovery fell back to discarding local changes in old SDKs, and nobody had asked for it."""
    work_offline(replica)
    server.force_reset(replica.client_id)
    server.fail_recoveries = failure == "failed"

    def answer(request: Request) -> Response:
        if failure == "refused" and request.method == "PATCH":
            return refusal(422, "invalid_snapshot")
        response = server.answer(request)
        if failure == "receipt" and request.path.startswith("recoveries/"):
            wire = response.json() | {"receipt": {}}
            return Response(status=200, body=json.dumps(wire).encode())
        return response

    with pytest.raises(RecoveryFailed):
        sync(replica, answer)
    for _ in range(4):
        replica = fleet.open()
        sync(replica, answer)

    (kept,) = replica.backups()
    assert kept.state == "kept"
    with replica.open_backup(kept) as before:
        assert before.pending() == 4


# -- links ------------------------------------------------------------------------------------------------------------


@real
def test_links_do_not_resurrect(devices: Devices, shelter: Shelter) -> None:
    """Realm: recovering a link to an object that the server had deleted made the object again, empty."""
    mother = Dog.objects.create(shelter=shelter, name="Mother")
    puppy = Dog.objects.create(shelter=shelter, name="Puppy")
    phone = devices.synced()
    phone.update("shelters.dog", puppy.pk, mother=mother.pk, age=1)
    phone.create("shelters.dog", shelter=shelter.pk, name="Second", mother=mother.pk)
    Dog.objects.filter(pk=mother.pk).delete()
    Reset.objects.force(Client.objects.all())

    devices.server.sync(phone)

    assert dict(Dog.objects.values_list("name", "mother")) == {"Puppy": None, "Second": None}
    assert Dog.objects.get(pk=puppy.pk).age == 1
    assert {row["mother"] for row in phone.all("shelters.dog")} == {None}


# -- sets and counters ------------------------------------------------------------------------------------------------


@real
def test_counters_add_up_through_a_reset(devices: Devices) -> None:
    """Realm: a counter's increments made offline are added, not written over those of others."""
    apples = Product.objects.create(name="Apples", stock=10)
    phone = devices.synced()
    phone.update("market.product", apples.pk, stock=13)
    Product.objects.filter(pk=apples.pk).update(stock=8)
    Reset.objects.force(Client.objects.all())

    devices.server.sync(phone)

    apples.refresh_from_db()
    assert apples.stock == 11
    row = phone.get("market.product", apples.pk)
    assert row is not None
    assert row["stock"] == 11


@real
def test_sets_keep_what_each_side_added_and_lose_what_each_side_removed_through_a_reset(
    devices: Devices,
) -> None:
    """Realm: a set is merged element by element; the last writer does not take the others' elements away."""
    for name in ("red", "ripe", "cheap", "fresh"):
        Tag.objects.create(name=name)
    apples = Product.objects.create(name="Apples")
    apples.tags.set(Tag.objects.filter(name__in=["red", "ripe"]))
    phone = devices.synced()
    phone.update("market.product", apples.pk, tags=["red", "cheap"])
    apples.tags.add(Tag.objects.get(name="fresh"))
    Reset.objects.force(Client.objects.all())

    devices.server.sync(phone)

    assert set(apples.tags.values_list("pk", flat=True)) == {"red", "cheap", "fresh"}


# -- a stale identity -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_stale_identity_checkpoints_of_before_the_reset_are_never_sent_again(
    server: SimulatedServer, fleet: Fleet, animals: None, mode: Mode
) -> None:
    """Realm: after a reset the client went on with the old file's identifier, and the server reset it again."""
    server.page = 1
    replica = fleet.synced(mode=mode, on_manual=ignore)
    client = replica.client_id
    old = {page["checkpoint"] for page in bodies(server.requests) if page.get("checkpoint")}
    old.add(replica._device.store.get("checkpoint"))
    replica.update("farm.animal", "a1", age=4)
    server.put("farm.animal", "a2", age=6)
    server.force_reset(client)

    fleet.sync(replica)
    begun = next(number for number, request in enumerate(server.requests) if b'"reset":"' in request.body)
    replica = fleet.open(mode=mode, on_manual=ignore)
    replica.update("farm.animal", "a3", age=5)
    fleet.sync(replica)

    after = bodies(server.requests[begun:])
    assert not old & {body.get("checkpoint") for body in after}
    assert {body["client"] for body in after} == {client}
    seqs = [change["seq"] for body in bodies(server.requests) for change in body.get("changes", ())]
    assert len(seqs) == len(set(seqs))


@real
def test_a_stale_identity_the_token_of_the_new_login_is_the_one_that_counts(
    devices: Devices, shelter: Shelter, user_factory: UserFactory
) -> None:
    """Realm: a reset begun under one login was finished with the access token of the old one."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = devices.synced()
    phone.update("shelters.dog", dog.pk, age=9)
    Reset.objects.force(Client.objects.all())
    ada, devices.server.user = devices.server.user, user_factory(shelter)

    with pytest.raises(WrongUser, match="another user"):
        devices.server.sync(phone)
    assert phone.backups() == []
    assert phone.pending() == 1
    devices.server.user = ada
    devices.server.sync(phone)

    dog.refresh_from_db()
    assert dog.age == 9


@real
def test_a_stale_identity_another_users_token_in_the_middle_of_a_reset_is_refused_and_harmless(
    devices: Devices, shelter: Shelter, user_factory: UserFactory
) -> None:
    """What another user must not see is answered as if it were not there: the device must not take that for a loss."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = devices.synced()
    phone.update("shelters.dog", dog.pk, age=9)
    Reset.objects.force(Client.objects.all())
    ada, other = devices.server.user, user_factory(shelter)

    def answer(request: Request) -> Response:
        if "recoveries/" in request.path:
            devices.server.user = other
        return devices.server.answer(request)

    with pytest.raises(WrongUser):
        sync(phone, answer)
    devices.server.user = ada
    devices.server.sync(phone)

    dog.refresh_from_db()
    assert dog.age == 9
    assert {backup.state for backup in phone.backups()} == {"receipted"}


# -- the mode ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun_with", MODES)
@pytest.mark.parametrize("restarted_with", MODES)
def test_the_mode_is_remembered_over_a_restart(
    server: SimulatedServer, fleet: Fleet, animals: None, begun_with: Mode, restarted_with: Mode
) -> None:
    """Realm: an app that crashed in a reset and came back with another mode finished it in the new one."""
    replica = fleet.synced(mode=begun_with, on_manual=ignore)
    work_offline(replica)
    server.force_reset(replica.client_id)

    class Crash(BaseException):
        pass

    def crashing(request: Request) -> Response:
        if b'"reset":"' in request.body:
            raise Crash
        return server.answer(request)

    with pytest.raises(Crash):
        sync(replica, crashing)
    report = fleet.sync(fleet.open(mode=restarted_with, on_manual=ignore))

    ends = {"manual": "handed_over", "discard": "discarded"}
    assert report.reset is not None
    assert (report.reset.mode, report.reset.state) == (begun_with, ends.get(begun_with, "recovered"))


# -- names of backups -------------------------------------------------------------------------------------------------


HOSTILE = ["r1", "", "../../etc/passwd", "a/b\\c:d", "\x00\n", "é" * 300, "r" * 5000, ".", "CON", "-rf"]


@pytest.mark.parametrize("reset", HOSTILE, ids=[f"name-{number}" for number in range(len(HOSTILE))])
def test_backup_names_never_collide(tmp_path: Path, reset: str) -> None:
    """Realm: two resets within one second gave their backups one name, and the second one took the first's place."""
    store = tmp_path / "field.db"
    names = []
    for _ in range(5):
        names.append(backup.name_backup(store, reset, noted=1795380687345000))
        (tmp_path / names[-1]).write_text("a backup")

    assert len(set(names)) == 5
    assert all((tmp_path / name).parent.resolve() == tmp_path for name in names)
    assert all(len(name.encode()) < 200 for name in names)


def test_backup_names_never_collide_where_one_reset_is_gone_through_twice_in_one_microsecond(
    server: SimulatedServer, fleet: Fleet, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.procedure.now", lambda: 1795380687345000)
    server.force_reset(replica.client_id, "history_diverged", full=True)
    dump = server.dump()
    for number in range(3):
        replica.update("farm.animal", "a1", age=40 + number)
        fleet.sync(replica)
        server.restore(dump)

    backups = replica.backups()
    assert len({backup.reset for backup in backups}) == 1
    assert len({backup.path for backup in backups}) == 3
    ages = []
    for each in backups:
        with replica.open_backup(each) as before:
            ages.append((before.get("farm.animal", "a1") or {})["age"])
    assert ages == [40, 41, 42]
