"""Rows and changes as Hypothesis makes them: few names and few times, so that they meet."""

from hypothesis import strategies as st

from syncreset.protocol.changes import Row, Tombstone
from syncreset.rules.instruction import Instruction

NAMES = ("age", "name", "notes")

times = st.integers(0, 6)
values = st.sampled_from([None, True, False, 0, 1, 1.0, 2, "", "a", "b", [], [1], {}, {"a": 1}])
texts = st.text(st.characters(), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A row with all fields, whose last update is that of its newest field, or later."""
    created = draw(times)
    own = draw(st.dictionaries(st.sampled_from(NAMES), st.integers(created, 6)))
    clocks = {"*": created, **own}
    fields = {name: draw(values) for name in NAMES}
    return Row(fields=fields, updated=max(clocks.values()) + draw(st.integers(0, 1)), clocks=clocks)


@st.composite
def puts(draw: st.DrawFn, names: tuple[str, ...] = NAMES) -> Instruction:
    """A put of some fields of a row that the client knows, with bases right, wrong and unknown."""
    fields = draw(st.dictionaries(st.sampled_from(names), values))
    return Instruction(
        model="shelters.dog",
        pk="1",
        op="put",
        fields=fields,
        clocks={name: draw(times) for name in fields},
        base={name: draw(times) for name in fields if draw(st.booleans())},
    )


@st.composite
def creates(draw: st.DrawFn) -> Instruction:
    return Instruction(
        model="shelters.dog",
        pk="1",
        op="put",
        fields={name: draw(values) for name in NAMES},
        clocks={"*": draw(times), **draw(st.dictionaries(st.sampled_from(NAMES), times))},
        base=None,
    )


deletes = st.builds(
    lambda at, base: Instruction(model="shelters.dog", pk="1", op="delete", clocks={"*": at}, base=base),
    times,
    st.none() | st.just({}) | times.map(lambda base: {"*": base}),
)
changes: st.SearchStrategy[Instruction] = puts() | creates() | deletes
tombstones: st.SearchStrategy[Tombstone] = st.builds(
    lambda row, later: Tombstone(deleted=(0 if row is None else row.updated) + later, row=row),
    st.none() | rows(),
    st.integers(0, 3),
)
