"""Random work on several replicas, killed at random, ends with everybody agreeing and nothing lost."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncreset.sdk import RecoveryFailed, Replica, Request, Response
from tests.support.fleet import Fleet, Killed, same_as_server, sync
from tests.support.properties import examples
from tests.support.simulated_server import SimulatedServer

REPLICAS = ("ada", "ben", "cleo")
ANIMAL = "farm.animal"

who = st.sampled_from(REPLICAS)
which = st.integers(0, 5)
write = st.one_of(
    st.tuples(st.just("create"), who, st.none()),
    st.tuples(st.just("name"), who, which),
    st.tuples(st.just("age"), who, which),
    st.tuples(st.just("delete"), who, which),
)
death = st.none() | st.tuples(st.booleans(), st.integers(0, 12))
contact = st.tuples(st.just("sync"), who, death)
order = st.tuples(st.just("reset"), who, st.booleans())


@dataclass
class World:
    """The server, its replicas, and what was written where."""

    fleet: Fleet
    server: SimulatedServer
    replicas: dict[str, Replica] = field(default_factory=dict)
    written: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def act(self, action: tuple[str, str, Any]) -> None:
        kind, name, detail = action
        replica = self.replicas[name]
        if kind == "sync":
            self.sync(name, detail)
        elif kind == "reset":
            self.server.force_reset(replica.client_id, f"forced {next(self.numbers)}", full=detail)
        elif kind == "create":
            pk = f"{next(self.numbers):04}"
            value = f"made {pk}"
            replica.create(ANIMAL, pk=pk, name=value)
            self.written[name, pk, "name"] = value
        else:
            self._change(kind, name, replica, detail)

    def _change(self, kind: str, name: str, replica: Replica, place: int) -> None:
        rows = replica.all(ANIMAL)
        if not rows:
            return
        pk = rows[place % len(rows)]["id"]
        if kind == "delete":
            replica.delete(ANIMAL, pk)
            for column in ("name", "age"):
                self.written.pop((name, pk, column), None)
            self.written[name, pk, "*"] = "deleted"
        else:
            number = next(self.numbers)
            value = 1000 + number if kind == "age" else f"named {number}"
            replica.update(ANIMAL, pk, {kind: value})
            self.written[name, pk, kind] = value

    def sync(self, name: str, death: tuple[bool, int] | None = None) -> None:
        try:
            sync(self.replicas[name], dying(self.server, death), patience=0.0)
        except Killed:
            self.replicas[name] = self.fleet.open(name)
        except RecoveryFailed:
            return

    def settle(self) -> None:
        """Sync everybody until nothing moves any more."""
        for _ in range(4):
            for name in REPLICAS:
                self.sync(name)

    def sent(self, pk: str, column: str, value: Any) -> bool:
        """Whether a write reached the server, whatever became of it there, or there was nothing left to send."""
        if column == "*" and (ANIMAL, pk) not in self.server.state.rows:
            return True
        for item in self.server.state.ledger:
            change = item.change
            if change.pk == pk and (
                change.op == "delete" if column == "*" else change.fields.get(column) == value
            ):
                return True
        return any(
            item.pk == pk and (item.op == "delete" if column == "*" else item.fields.get(column) == value)
            for replica in self.replicas.values()
            for item in replica.unresolved()
        )


def dying(server: SimulatedServer, death: tuple[bool, int] | None) -> Any:
    """Answer until the process dies, at a request of this number, before or after the server saw it."""
    numbers = iter(range(10_000))

    def answer(request: Request) -> Response:
        number = next(numbers)
        if death == (False, number):
            raise Killed
        response = server.answer(request)
        if death == (True, number):
            raise Killed
        return response

    return answer


@contextmanager
def world() -> Iterator[World]:
    server = SimulatedServer(page=3, changes=4)
    with tempfile.TemporaryDirectory() as directory:
        fleet = Fleet(server, Path(directory))
        made = World(fleet, server)
        for number in range(3):
            server.put(ANIMAL, f"first-{number}", name=f"Dog {number}", age=number)
        try:
            for name in REPLICAS:
                made.replicas[name] = fleet.synced(name)
            yield made
        finally:
            fleet.close()


stories = examples(40)


@stories
@given(st.lists(write | contact | order, max_size=40))
def test_replicas_converge_and_no_write_is_lost(actions: list[tuple[str, str, Any]]) -> None:
    with world() as made:
        for action in actions:
            made.act(action)
        made.settle()

        for replica in made.replicas.values():
            assert same_as_server(replica, made.server)
            assert {backup.state for backup in replica.backups()} <= {"receipted"}
        for (_, pk, column), value in made.written.items():
            assert made.sent(pk, column, value), (pk, column, value)


@stories
@given(
    st.lists(write | contact, max_size=12),
    st.lists(write | contact, max_size=12),
    st.lists(write, max_size=8),
    st.lists(write | contact | order, max_size=12),
)
def test_a_restored_server_is_healed_of_all_that_was_acknowledged(
    first: list[Any], second: list[Any], offline: list[Any], after: list[Any]
) -> None:
    with world() as made:
        for action in first:
            made.act(action)
        backup = made.server.dump()
        for action in second:
            made.act(action)
        made.settle()
        acknowledged = made.server.fields(ANIMAL)
        deleted_before = {pk for _, pk in made.server.state.tombstones}
        made.written.clear()
        for action in offline:
            made.act(action)
        made.server.restore(backup)
        for action in after:
            made.act(action)
        made.settle()

        final = made.server.fields(ANIMAL)
        for replica in made.replicas.values():
            assert same_as_server(replica, made.server)
        touched = {(pk, column) for _, pk, column in made.written}
        for pk, fields in acknowledged.items():
            if (pk, "*") in touched:
                continue
            assert pk in final
            for column, value in fields.items():
                assert final[pk][column] == value or (pk, column) in touched
        for pk in deleted_before:
            assert pk not in final or any(touch[0] == pk for touch in touched)
