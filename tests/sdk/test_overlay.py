"""Two backups' lines of one row become one that loses nothing of either."""

from syncreset.protocol.changes import Row
from syncreset.protocol.snapshot.lines import RowLine, TombstoneLine
from syncreset.sdk.reset.overlay import lost_beneath, overlay


def row(
    fields: dict[str, object], clocks: dict[str, int], base: dict[str, int] | None, updated: int = 0
) -> RowLine:
    held = Row(fields=fields, updated=updated or max(clocks.values()), clocks=clocks)
    return RowLine(model="farm.animal", pk="a1", row=held, base=base)


def tombstone(at: int, *, pulled: bool) -> TombstoneLine:
    return TombstoneLine(model="farm.animal", pk="a1", at=at, base=None if pulled else 10, pulled=pulled)


def test_edits_of_both_stores_stay_and_the_later_store_wins_a_field() -> None:
    older = row({"a": "old", "b": "old", "c": "s"}, {"*": 10, "a": 20, "b": 21}, {"a": 10, "b": 10})
    newer = row({"a": "new", "b": "s2", "c": "new"}, {"*": 10, "a": 40, "b": 35, "c": 41}, {"a": 15, "c": 10})

    merged = overlay(older, newer)

    assert isinstance(merged, RowLine)
    assert merged.row.fields == {"a": "new", "b": "old", "c": "new"}
    assert merged.base == {"a": 10, "b": 10, "c": 10}
    assert [merged.row.clock(name) for name in "abc"] == [40, 21, 41]


def test_of_acknowledged_data_the_newest_clock_wins() -> None:
    older = row({"a": "healed", "b": "x"}, {"*": 10, "a": 90}, {})
    newer = row({"a": "restored", "b": "y"}, {"*": 10, "b": 50}, {})

    merged = overlay(older, newer)

    assert isinstance(merged, RowLine)
    assert (merged.row.fields, merged.base) == ({"a": "healed", "b": "y"}, {})


def test_of_a_row_made_in_the_older_store_and_one_of_its_key_from_the_server_nothing_is_left_out() -> None:
    older = row({"a": "mine", "b": "mine", "c": "both"}, {"*": 20, "b": 60}, None)
    newer = row({"a": "theirs", "b": "mine before", "c": "both"}, {"*": 20, "a": 40}, {})

    merged = overlay(older, newer)

    assert isinstance(merged, RowLine)
    assert merged.row.fields == {"a": "mine", "b": "mine", "c": "both"}
    assert merged.base == {"a": -1, "b": -1}
    assert merged.row.clock("a") == 20


def test_an_unsynced_edit_outlives_a_deletion() -> None:
    edited = row({"a": "edited"}, {"*": 10, "a": 20}, {"a": 10})

    assert overlay(edited, tombstone(30, pulled=False)) == edited
    assert overlay(tombstone(30, pulled=True), edited) == edited


def test_a_deletion_outlives_acknowledged_data_unless_that_is_newer() -> None:
    held = row({"a": "x"}, {"*": 10}, {})
    newer = row({"a": "y"}, {"*": 10, "a": 50}, {})

    assert overlay(held, tombstone(30, pulled=False)) == tombstone(30, pulled=False)
    assert overlay(tombstone(30, pulled=False), held) == tombstone(30, pulled=False)
    assert overlay(held, tombstone(30, pulled=True)) == tombstone(30, pulled=True)
    assert overlay(tombstone(30, pulled=True), newer) == newer


def test_what_a_restored_server_has_hides_nothing_of_the_history_that_was_lost() -> None:
    lost = row({"a": "lost", "b": "lost"}, {"*": 10, "a": 20, "b": 21}, {})
    filled = row({"a": "since", "b": "mine"}, {"*": 10, "a": 90, "b": 95}, {"b": 80})

    merged = overlay(lost, filled, restored=True)

    assert isinstance(merged, RowLine)
    assert (merged.row.fields, merged.base) == ({"a": "lost", "b": "mine"}, {"b": 80})
    assert merged.row.clock("a") == 20
    assert overlay(lost, tombstone(95, pulled=True), restored=True) == lost
    assert overlay(lost, tombstone(95, pulled=False), restored=True) == tombstone(95, pulled=False)


def test_what_a_lost_history_had_above_an_edits_base_is_told() -> None:
    edited = row(
        {"a": "mine", "b": "same", "c": "mine"},
        {"*": 10, "a": 20, "b": 20, "c": 20},
        {"a": 10, "b": 10, "c": 10},
    )
    pulled = row({"a": "theirs", "b": "same", "c": "as before"}, {"*": 10, "a": 30, "b": 30}, {})

    told = lost_beneath(edited, pulled)

    assert told is not None
    assert (told.fields, told.clocks) == ({"a": "theirs"}, {"a": 30})
    assert lost_beneath(row({"a": "x"}, {"*": 10}, {}), pulled) is None
    assert lost_beneath(row({"a": "made"}, {"*": 10}, None), pulled) is None
    assert lost_beneath(edited, row({"a": "mine too"}, {"*": 10, "a": 40}, {"a": 30})) is None


def test_what_a_lost_history_had_above_a_pending_deletions_base_is_told() -> None:
    pulled = row({"a": "theirs", "b": "as before"}, {"*": 10, "a": 30}, {})

    told = lost_beneath(tombstone(40, pulled=False), pulled)

    assert told is not None
    assert (told.fields, told.base) == ({"a": "theirs"}, {"a": 30})
    assert lost_beneath(tombstone(40, pulled=True), pulled) is None
