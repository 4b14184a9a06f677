"""What the strategies take from a line of a snapshot, and what heals a restored server."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import Row, Tombstone, same
from syncreset.protocol.snapshot.lines import RowLine, TombstoneLine
from syncreset.rules.instruction import Instruction
from syncreset.rules.merge import Policy, merge
from syncreset.rules.strategies import (
    STRATEGIES,
    Synced,
    by_base,
    by_field,
    canonical,
    heal,
    tombstone_change,
)
from tests.support.protocol_values import NAMES, rows, times, tombstones

bases = st.dictionaries(st.sampled_from(NAMES), times)


def lines_with(base: st.SearchStrategy[Any]) -> st.SearchStrategy[RowLine]:
    return st.builds(RowLine, model=st.just("m"), pk=st.just("1"), row=rows(), base=base)


lines = lines_with(st.none() | bases)
synced = st.builds(Synced, last_synced=times, updates=st.dictionaries(st.sampled_from([*NAMES, "x"]), times))


@pytest.mark.parametrize("name", STRATEGIES)
@given(line=lines, known=synced)
def test_a_strategy_takes_values_from_the_line_and_from_nowhere_else(
    name: str, line: RowLine, known: Synced
) -> None:
    change = STRATEGIES[name](line, known)

    if line.base is None:
        assert change is not None
        assert change.base is None
        assert change.fields == line.row.fields
    elif change is not None:
        assert change.fields
        assert all(value is line.row.fields[field] for field, value in change.fields.items())
        assert all(line.base[field] == base for field, base in (change.base or {}).items())
        assert change.clocks.keys() == change.fields.keys()
        assert not Instruction.of(change).healing


@given(line=lines_with(bases), known=synced)
def test_by_base_takes_what_has_a_base(line: RowLine, known: Synced) -> None:
    change = by_base(line, known)

    assert (set() if change is None else change.fields.keys()) == (line.base or {}).keys()


@given(line=lines_with(bases), known=synced)
def test_by_field_takes_what_is_later_than_last_synced_or_has_a_base(line: RowLine, known: Synced) -> None:
    change = by_field(line, known)

    later = {name for name in NAMES if line.row.clock(name) > known.last_synced}
    assert (set() if change is None else change.fields.keys()) == later | (line.base or {}).keys()


@pytest.mark.parametrize("name", STRATEGIES)
@given(line=lines, known=synced)
def test_no_strategy_leaves_out_an_unsynced_field(name: str, line: RowLine, known: Synced) -> None:
    """Also where the device's clock is so slow that the edit seems older than the last sync."""
    change = STRATEGIES[name](line, known)

    assert (line.base or {}).keys() <= (set() if change is None else change.fields.keys())


@given(row=rows(), names=st.sets(st.sampled_from(NAMES)), value=st.integers())
def test_local_edits_come_back_from_a_snapshot_whatever_the_clocks(
    row: Row, names: set[str], value: int
) -> None:
    """The edits of a device whose clock stands still, merged into the row as the device knew it."""
    line = RowLine(
        model="m",
        pk="1",
        row=Row(
            fields={**row.fields, **dict.fromkeys(names, value)},
            updated=0,
            clocks=dict.fromkeys(["*", *NAMES], 0),
        ),
        base={name: row.clock(name) for name in names},
    )
    change = by_base(line, Synced())

    after = row if change is None else merge(row, None, change, Policy()).row or row
    for name in NAMES:
        assert same(after.fields[name], value if name in names else row.fields[name])


@given(old=rows(), new=rows(), base=st.dictionaries(st.sampled_from(NAMES), times))
def test_healing_brings_a_restored_row_to_what_was_acknowledged(
    old: Row, new: Row, base: dict[str, int]
) -> None:
    """Of what the client did not change itself, the later of the two versions of each field stands.

    Of two of one time it is the greater value, so that it is no matter which device comes first.
    """
    line = RowLine(model="m", pk="1", row=new, base=base)
    change = heal(line, old, None, {})
    after = old if change is None else merge(old, None, change, Policy()).row or old

    for name in NAMES:
        later = new.clock(name) > old.clock(name) or (
            new.clock(name) == old.clock(name) and canonical(new.fields[name]) > canonical(old.fields[name])
        )
        healed = name not in base and later
        assert same(after.fields[name], new.fields[name] if healed else old.fields[name])
    if change is not None:
        assert change.healing
        assert heal(line, after, None, {}) is None


@given(line=lines)
def test_a_row_that_the_server_lacks_is_healed_whole(line: RowLine) -> None:
    change = heal(line, None, None, {})

    assert (change is None) == (line.base is None)
    if change is not None:
        outcome = merge(None, None, change, Policy())
        assert outcome.state == "applied"
        assert outcome.row is not None
        assert outcome.row.fields == line.row.fields


@given(line=lines, tombstone=tombstones, older=st.fixed_dictionaries(dict.fromkeys(NAMES, times)))
def test_a_row_that_is_merely_old_resurrects_nothing(
    line: RowLine, tombstone: Tombstone, older: dict[str, int]
) -> None:
    deleted_row = tombstone.row
    clocks = {
        name: older[name] if deleted_row is None else min(older[name], deleted_row.clock(name))
        for name in NAMES
    }
    old = replace(
        line, row=replace(line.row, clocks=clocks, updated=min(line.row.updated, tombstone.deleted))
    )

    assert heal(old, None, tombstone, {}) is None


@given(at=times, base=st.none() | times, pulled=st.booleans(), healing=st.booleans(), row=rows())
def test_a_pulled_deletion_counts_only_when_healing(
    at: int, base: int | None, pulled: bool, healing: bool, row: Row
) -> None:
    line = TombstoneLine(model="m", pk="1", at=at, base=base, pulled=pulled)
    change: Instruction | None = tombstone_change(line, healing=healing)

    assert (change is None) == (pulled and not healing)
    if change is not None:
        assert (change.op, change.healing) == ("delete", pulled)
        known: Any = at if pulled else base
        outcome = merge(row, None, change, Policy())
        assert outcome.deletes == (known is not None and row.updated <= known)
