"""What holds of every merge."""

from dataclasses import replace
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import Row, Tombstone, same
from syncreset.rules.instruction import Instruction
from syncreset.rules.merge import Conflict, Outcome, Policy, State, merge
from tests.support.properties import examples
from tests.support.protocol_values import (
    NAMES,
    changes,
    creates,
    deletes,
    json_values,
    puts,
    rows,
    times,
    tombstones,
    values,
)


def longer(conflict: Conflict) -> Any:
    """A resolver that takes neither side for granted."""
    return max(repr(conflict.client), repr(conflict.server), key=len)


named_rules = st.sampled_from(["newest", "client", "server", "review"])


def policies_of(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Policy]:
    return st.builds(
        Policy,
        conflicts=st.dictionaries(st.sampled_from([*NAMES, "*"]), rules),
        on_delete=st.sampled_from(["keep", "delete", "review"]),
    )


policies = policies_of(named_rules | st.just(longer))
servers = st.tuples(rows(), st.none()) | st.tuples(st.none(), tombstones) | st.tuples(st.none(), st.none())
Server = tuple[Row | None, Tombstone | None]


@given(value=json_values)
def test_same_is_reflexive_and_knows_json(value: Any) -> None:
    assert same(value, value)
    assert not same(value, [value])
    assert not same(True, 1)
    assert not same(False, 0)
    assert not same([True], [1])
    assert same(1, 1.0)
    assert same({"a": [1]}, {"a": [1.0]})


@given(one=values, other=values)
def test_same_is_symmetric(one: Any, other: Any) -> None:
    assert same(one, other) == same(other, one)


@given(row=rows(), change=puts(), policy=policies)
def test_equal_values_are_identical_and_nothing_is_written(
    row: Row, change: Instruction, policy: Policy
) -> None:
    change = replace(change, fields={name: row.fields[name] for name in change.fields})

    outcome = merge(row, None, change, policy)

    assert (outcome.state, outcome.row, outcome.deletes) == ("identical", None, False)


@given(row=rows(), change=puts(), policy=policies)
def test_what_nobody_else_touched_applies_whatever_the_clocks_say(
    row: Row, change: Instruction, policy: Policy
) -> None:
    change = replace(change, base={name: row.clock(name) for name in change.fields})

    outcome = merge(row, None, change, policy)

    assert outcome.state in ("applied", "identical")
    after = row if outcome.row is None else outcome.row
    for name, value in change.fields.items():
        assert same(after.fields[name], value)
        if not same(row.fields[name], value):
            assert after.clock(name) == max(change.clock(name), row.clock(name) + 1)


@given(row=rows(), change=puts())
def test_of_two_writes_of_one_field_the_later_wins_and_a_tie_is_the_servers(
    row: Row, change: Instruction
) -> None:
    change = replace(change, base={})

    outcome = merge(row, None, change, Policy())

    after = row if outcome.row is None else outcome.row
    for name, value in change.fields.items():
        wins = change.clock(name) > row.clock(name)
        assert same(after.fields[name], value if wins else row.fields[name])


@given(row=rows(), one=puts(), other=puts(), policy=policies)
def test_changes_of_different_fields_give_the_same_row_in_either_order(
    row: Row, one: Instruction, other: Instruction, policy: Policy
) -> None:
    names = other.fields.keys() - one.fields.keys()
    other = replace(other, fields={name: other.fields[name] for name in names})

    def after(*ordered: Instruction) -> tuple[dict[str, Any], dict[str, int], list[str]]:
        state, told = row, []
        for change in ordered:
            outcome = merge(state, None, change, policy)
            state = outcome.row or state
            told.append(f"{sorted(change.fields)}: {outcome.state}")
        return dict(state.fields), dict(state.clocks), sorted(told)

    assert after(one, other) == after(other, one)


@given(row=rows(), change=puts(), policy=policies_of(named_rules))
def test_a_change_merged_again_changes_nothing_more(row: Row, change: Instruction, policy: Policy) -> None:
    first = merge(row, None, change, policy)
    after = first.row or row

    again = merge(after, None, change, policy)

    assert again.row is None
    assert again.state != "applied"


@examples(500)
@given(server=servers, change=changes, policy=policies)
def test_clocks_never_run_backwards(server: Server, change: Instruction, policy: Policy) -> None:
    row, tombstone = server
    outcome = merge(row, tombstone, change, policy)
    if outcome.row is None or outcome.row is row:
        return

    before = row if row is not None else tombstone.row if tombstone is not None else None
    if row is not None:
        assert outcome.row.updated > row.updated
    if tombstone is not None:
        assert outcome.row.updated > tombstone.deleted
    if before is not None and change.base is not None:
        for name in NAMES:
            assert outcome.row.clock(name) >= before.clock(name)
            if not same(outcome.row.fields[name], before.fields[name]):
                assert outcome.row.clock(name) > before.clock(name)
    assert outcome.row.updated >= max(outcome.row.clocks.values())


@given(server=servers, change=changes, policy=policies)
def test_every_outcome_is_in_one_state_that_says_what_was_written(
    server: Server, change: Instruction, policy: Policy
) -> None:
    row, tombstone = server
    outcome = merge(row, tombstone, change, policy)

    assert outcome.state in get_args(State)
    assert not (outcome.deletes and outcome.row is not None)
    if outcome.state in ("identical", "superseded", "rejected"):
        assert not outcome.writes
    if outcome.state in ("applied", "merged"):
        assert outcome.writes
    if outcome.state == "rejected":
        assert outcome.problem is not None
    if outcome.deletes:
        assert change.op == "delete"
        assert row is not None


def stands(outcome: Outcome, before: Row | None, name: str) -> Any:
    after = outcome.row or before
    return None if after is None else after.fields.get(name)


@examples(500)
@given(server=servers, change=puts() | creates(), policy=policies)
def test_no_value_is_lost_without_a_decision_that_names_it(
    server: Server, change: Instruction, policy: Policy
) -> None:
    """A client's value that does not stand, and a server's that no longer does, are both in the ledger."""
    row, tombstone = server
    outcome = merge(row, tombstone, change, policy)
    if outcome.state == "rejected":
        return
    before = row if row is not None else tombstone.row if tombstone is not None else None

    for name, value in change.fields.items():
        decision = outcome.decisions[name]
        assert same(decision.client, value)
        if row is None and outcome.row is None:
            assert decision.kept in ("server", "review")
        elif before is not None and change.base is not None:
            assert same(decision.server, before.fields[name])
            kept = {"client": value, "server": before.fields[name], "review": before.fields[name]}
            if decision.kept in kept:
                assert same(stands(outcome, before, name), kept[decision.kept])
    if row is not None and outcome.row is not None:
        for name in NAMES:
            if not same(outcome.row.fields[name], row.fields[name]):
                assert same(outcome.decisions[name].server, row.fields[name])


@given(row=rows(), change=puts(), policy=policies)
def test_fields_that_a_change_does_not_name_stay_as_they_are(
    row: Row, change: Instruction, policy: Policy
) -> None:
    outcome = merge(row, None, change, policy)

    for name in set(NAMES) - change.fields.keys():
        assert stands(outcome, row, name) is row.fields[name]
        assert (outcome.row or row).clock(name) == row.clock(name)


@given(row=rows(), change=puts(), field=st.sampled_from(NAMES))
def test_a_field_to_be_reviewed_is_parked_and_the_others_are_merged(
    row: Row, change: Instruction, field: str
) -> None:
    outcome = merge(row, None, change, Policy(conflicts={field: "review"}))
    conflict = (
        field in change.fields
        and not same(change.fields[field], row.fields[field])
        and (change.base or {}).get(field) != row.clock(field)
    )

    assert (outcome.state == "parked") == conflict
    if conflict:
        assert same(stands(outcome, row, field), row.fields[field])
        rest = replace(change, fields={name: value for name, value in change.fields.items() if name != field})
        alone = merge(row, None, rest, Policy())
        assert (None if alone.row is None else alone.row.fields) == (
            None if outcome.row is None else outcome.row.fields
        )


@given(row=rows(), change=deletes)
def test_an_edit_beats_a_delete_unless_the_client_saw_it(row: Row, change: Instruction) -> None:
    outcome = merge(row, None, change, Policy())

    seen = change.base is not None and change.base.get("*", -1) >= row.updated
    assert outcome.deletes == seen
    assert outcome.state == ("applied" if seen else "superseded")
    assert merge(row, None, change, Policy(on_delete="delete")).deletes
    assert merge(row, None, change, Policy(on_delete="review")).state == ("applied" if seen else "parked")


@given(tombstone=st.none() | tombstones, change=deletes, policy=policies)
def test_deleting_what_is_gone_does_nothing(
    tombstone: Tombstone | None, change: Instruction, policy: Policy
) -> None:
    assert merge(None, tombstone, change, policy) == Outcome(state="identical")


@given(row=rows(), later=st.integers(0, 3), change=puts())
def test_an_edit_restores_a_deleted_row_whole(row: Row, later: int, change: Instruction) -> None:
    tombstone = Tombstone(deleted=row.updated + later, row=row)
    change = replace(change, base={name: row.clock(name) for name in change.fields})
    there = merge(row, None, change, Policy())

    outcome = merge(None, tombstone, change, Policy())

    if there.row is None:
        assert (outcome.state, outcome.row) == ("superseded", None)
    else:
        assert outcome.row is not None
        assert outcome.row.fields == there.row.fields
    assert merge(None, tombstone, change, Policy(on_delete="delete")).row is None
    assert merge(None, tombstone, change, Policy(on_delete="review")).row is None


@given(row=rows(), later=st.integers(1, 1000), change=puts(), policy=policies)
def test_a_change_that_restores_brings_the_row_back_even_if_it_changes_nothing(
    row: Row, later: int, change: Instruction, policy: Policy
) -> None:
    tombstone = Tombstone(deleted=row.updated + later, row=row)
    change = replace(
        change, fields={name: row.fields[name] for name in change.fields}, base={}, restores=True
    )

    outcome = merge(None, tombstone, change, policy)

    assert outcome.state == "applied"
    assert outcome.row is not None
    assert outcome.row.fields == row.fields
    assert outcome.row.updated > tombstone.deleted
    assert merge(None, tombstone, replace(change, restores=False), Policy()).row is None


@given(change=puts())
def test_a_part_of_a_row_that_is_not_there_is_rejected(change: Instruction) -> None:
    outcome = merge(None, None, change, Policy())

    assert outcome.state == "rejected"
    assert outcome.problem is not None
    assert outcome.problem.code == "row_missing"


@given(change=creates(), policy=policies)
def test_a_new_row_is_what_the_client_made(change: Instruction, policy: Policy) -> None:
    outcome = merge(None, None, change, policy)

    assert outcome.state == "applied"
    assert outcome.row is not None
    assert outcome.row.fields == change.fields
    for name in NAMES:
        assert outcome.row.clock(name) == change.clock(name)


@given(row=rows(), change=puts() | creates(), policy=policies)
def test_a_change_that_overrides_wins_and_what_it_overwrites_is_kept(
    row: Row, change: Instruction, policy: Policy
) -> None:
    outcome = merge(row, None, replace(change, overrides=True), policy)

    for name, value in change.fields.items():
        assert same(stands(outcome, row, name), value)
        assert same(outcome.decisions[name].server, row.fields[name])


@given(count=st.integers(), one=st.integers(), other=st.integers(), clock=times)
def test_deltas_add_up_in_any_order_and_never_conflict(count: int, one: int, other: int, clock: int) -> None:
    def after(*steps: int) -> Any:
        row = Row(fields={"stock": count}, updated=9, clocks={"*": 9})
        for step in steps:
            change = Instruction(
                model="m",
                pk="1",
                op="put",
                fields={"stock": {"delta": step}},
                clocks={"stock": clock},
                base={},
            )
            outcome = merge(row, None, change, Policy(counters=["stock"], conflicts={"*": "review"}))
            assert outcome.state == ("applied" if step else "identical")
            row = outcome.row or row
        return row.fields["stock"]

    assert after(one, other) == after(other, one) == count + one + other
