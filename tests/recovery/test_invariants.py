"""What holds of any recovery, whatever the server went through and whatever a device did, for every strategy."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row, same
from syncreset.protocol.snapshot.lines import RowLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.merge import snapshot as merging
from syncreset.recovery.orders import preview, recover_again, undo
from syncreset.wire.rows import row_of
from tests.market.models import Tag
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.histories import (
    HIDDEN_CHIP,
    MODELS,
    TAGS,
    Act,
    Plan,
    World,
    entries,
    ledger,
    plans,
    rules_of,
    since,
    tables,
    values,
)
from tests.support.properties import examples

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

stories = examples(15, shrink=False)

Stage = Callable[[Plan], Any]


@pytest.fixture
def stage(device: DeviceFactory, shelter: Shelter, other_shelter: Shelter) -> Stage:
    """Carries out plans, each on a server of its own that is forgotten afterwards."""
    phone: Device = device(shelter)
    Dog.objects.create(shelter=other_shelter, name="Hidden", chip=HIDDEN_CHIP)
    Tag.objects.bulk_create(Tag(name=name) for name in TAGS)

    @contextmanager
    def carried_out(plan: Plan) -> Iterator[World]:
        with transaction.atomic(), rules_of(plan):
            yield World(plan, phone, shelter)
            connection.check_constraints()
            transaction.set_rollback(True)

    return carried_out


@stories
@given(plan=plans)
def test_the_ledger_has_each_change_of_the_snapshot_once_and_its_sums_are_right(
    stage: Stage, plan: Plan
) -> None:
    with stage(plan) as world:
        recovery = world.run()

        items = list(Item.objects.filter(recovery=recovery).order_by("line", "part"))
        parts = Counter(item.line or 0 for item in items)
        lines = world.raw_lines()
        assert recovery.state == ("review" if recovery.totals["parked"] else "done"), recovery.problem
        assert recovery.problem is None
        assert recovery.total == len(lines)
        assert recovery.position == recovery.total + recovery.absent
        assert len(items) == recovery.changes == sum(recovery.totals.values())
        assert Counter(item.state for item in items) == +Counter(recovery.totals)
        assert [item.part for item in items] == [
            part for line in sorted(parts) for part in range(parts[line])
        ]
        assert len(parts) + recovery.unchanged == recovery.total + recovery.absent
        assert {number for number, line in enumerate(lines, 1) if _is_unsynced(line)} <= parts.keys()


def _is_unsynced(line: Mapping[str, Any]) -> bool:
    """Whether a line holds what no server has acknowledged, or is no line at all."""
    if "row" in line:
        return len(line["row"]) < 6 or not isinstance(line["row"][0], str) or line["row"][5] != {}
    if "tombstone" in line:
        return not line.get("pulled", False)
    return not isinstance(line["update"][2], str)


@stories
@given(plan=plans)
def test_nothing_of_a_snapshot_is_lost_silently(stage: Stage, plan: Plan) -> None:
    """Each field that is unsynced on the device stands in the row afterwards, or is kept by an item."""
    with stage(plan) as world:
        before = wire_rows()
        recovery = world.run()

        rows = wire_rows()
        items: dict[tuple[str, str], list[Item]] = {}
        for item in Item.objects.filter(recovery=recovery):
            items.setdefault((item.change["model"], item.change["pk"]), []).append(item)
        for line in world.lines:
            if isinstance(line, RowLine):
                key = (line.model, line.pk)
                for name in line.row.fields if line.base is None else line.base:
                    value = line.row.fields[name]
                    stands = key in rows and same(rows[key].fields.get(name), value)
                    kept = (item.change["fields"] for item in items.get(key, ()))
                    assert stands or any(name in fields and same(fields[name], value) for fields in kept)
        if not any(item.op == "delete" and item.wrote for own in items.values() for item in own):
            # A deletion takes along what hangs on its row, which has no item of its own.
            for key, own in items.items():
                if len(own) == 1:
                    _assert_told(own[0], before.get(key), rows.get(key))


def _assert_told(item: Item, before: Row | None, row: Row | None) -> None:
    """The only item of a row says what was written, whose values stand, and how the row was and is."""
    assert item.wrote == (row != before)
    if item.wrote and row is not None:
        assert item.after["fields"].items() <= row.fields.items()
        assert (item.before is None) == (before is None)
    for name, decision in item.fields.items():
        if row is None or name == "*" or decision["server_clock"] is None:
            continue  # There was no other side to decide between.
        if decision["kept"] == "client":
            assert same(row.fields[name], decision["client"])
        elif decision["kept"] in ("server", "review"):
            assert same(row.fields[name], decision["server"])


def wire_rows() -> dict[tuple[str, str], Row]:
    return {
        (label, stored.pk): stored.row
        for label, model in MODELS.items()
        for stored in map(row_of, model._base_manager.all())
    }


@stories
@given(plan=plans)
def test_a_preview_has_the_ledger_of_the_real_run_and_writes_nothing(stage: Stage, plan: Plan) -> None:
    with stage(plan) as world:
        before = tables(), entries()

        rehearsal = world.run(preview(world.recovery))
        assert (tables(), entries()) == before
        recovery = world.run()

        assert ledger(rehearsal) == ledger(recovery)
        assert rehearsal.totals == recovery.totals
        assert (rehearsal.changes, rehearsal.unchanged, rehearsal.absent) == (
            recovery.changes,
            recovery.unchanged,
            recovery.absent,
        )


@stories
@given(plan=plans)
def test_undo_gives_back_the_rows_as_they_were(stage: Stage, plan: Plan) -> None:
    with stage(plan) as world:
        before = values(tables())
        recovery = world.run()

        undoing = world.run(undo(recovery))

        undone = values(tables())
        for key in before.keys() | undone.keys():
            assert undone.get(key) == before.get(key)
        assert undoing.state == "done", ledger(undoing)
        recovery.refresh_from_db()
        assert recovery.state == "undone"


@stories
@given(plan=plans, acts=since)
def test_undo_overwrites_nothing_that_was_written_since(
    stage: Stage, plan: Plan, acts: tuple[Act, ...]
) -> None:
    with stage(plan) as world:
        before = values(tables())
        recovery = world.run()
        recovered = values(tables())
        world.others(acts)
        written = values(tables())

        undoing = world.run(undo(recovery))

        undone = values(tables())
        for key in recovered.keys() | written.keys():
            if key not in written:
                assert key not in undone, "a row that was deleted since came back"
                continue
            for name, value in written[key].items():
                if key not in recovered or recovered[key][name] != value:
                    assert undone[key][name] == value, (key, name)
        lost = {key for key in before if key not in undone and key in written}
        assert not lost
        assert sum(undoing.totals.values()) == undoing.changes


@stories
@given(plan=plans)
def test_a_recovery_that_is_run_again_leaves_the_rows_as_they_are(stage: Stage, plan: Plan) -> None:
    with stage(plan) as world:
        recovery = world.run()
        recovered = values(tables())

        again = world.run(recover_again(recovery))

        assert again.problem is None
        assert values(tables()) == recovered


class Killed(BaseException):
    """The worker's process is gone: nothing of it can react."""


class Crashed(Exception):
    """Something the worker can react to."""


@stories
@given(
    plan=plans,
    place=st.sampled_from(["before", "within", "after"]),
    number=st.integers(1, 6),
    error=st.sampled_from([Killed, Crashed]),
)
def test_a_recovery_that_is_killed_and_run_again_ends_as_one_that_is_not(
    stage: Stage, plan: Plan, place: str, number: int, error: type[BaseException]
) -> None:
    with stage(plan) as world:
        with transaction.atomic():
            undisturbed = world.run()
            expected = values(tables()), ledger(undisturbed), undisturbed.totals, undisturbed.state
            transaction.set_rollback(True)
        world.recovery.refresh_from_db()

        _run_until_killed(world, place, number, error)
        Recovery.objects.update(lease_until=0)
        recovery = world.run()

        assert (values(tables()), ledger(recovery), recovery.totals, recovery.state) == expected


def _run_until_killed(world: World, place: str, number: int, error: type[BaseException]) -> None:
    """Run the recovery until its chunk of that number, and let it die before, within or after the transaction.

    A recovery of fewer chunks runs to its end.
    """
    calls = Counter[str]()
    merge_chunk, record = merging._merge_chunk, merging._record

    def counted_chunk(*arguments: Any, **more: Any) -> None:
        calls["chunk"] += 1
        if place == "before" and calls["chunk"] == number:
            raise error
        merge_chunk(*arguments, **more)
        if place == "after" and calls["chunk"] == number:
            raise error

    def counted_record(*arguments: Any, **more: Any) -> None:
        record(*arguments, **more)
        calls["record"] += 1
        if place == "within" and calls["record"] == number:
            raise error

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merging, "_merge_chunk", counted_chunk)
        patched.setattr(merging, "_record", counted_record)
        with suppress(error):
            world.run()
