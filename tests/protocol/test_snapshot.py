"""Snapshots that are written are read again; those that are damaged are invalid, wherever the damage is."""

import gzip
import io
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.protocol.changes import Change, Row
from syncreset.protocol.errors import InvalidSnapshot, TooLarge
from syncreset.protocol.snapshot.lines import (
    ChangeLine,
    FieldSteps,
    Header,
    Limits,
    Line,
    MalformedLine,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.protocol.snapshot.write import write_snapshot
from syncreset.protocol.steps import Step
from syncreset.protocol.strict_json import dumps
from tests.support.properties import examples
from tests.support.protocol_values import json_values, texts

times = st.integers(-(2**60), 2**60)
clocks = st.dictionaries(texts, times, max_size=3)
fields = st.dictionaries(texts, json_values, max_size=3)
elements = st.lists(texts, max_size=4, unique=True).map(sorted)
set_changes = st.tuples(elements, elements).map(
    lambda pair: {"add": pair[0], "remove": [each for each in pair[1] if each not in pair[0]]}
)
deltas = st.integers().map(lambda number: {"delta": number})
text_deltas = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
    lambda number: {"delta": format(number, "f")}
)


ids = st.text("abcdef0123456789", min_size=1, max_size=64)


def stepped(values: st.SearchStrategy[Any], amounts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A field's value, the steps that led to it, and older ones."""

    def several(at: st.SearchStrategy[int | None], least: int) -> st.SearchStrategy[tuple[Step, ...]]:
        step = st.builds(Step, id=ids, amount=amounts, sent=st.booleans(), at=at)
        return st.lists(step, min_size=least, max_size=3, unique_by=lambda step: step.id).map(tuple)

    made = st.builds(FieldSteps, steps=several(st.none() | times, 1), counted=several(times, 0))
    return st.tuples(values, made)


steps = st.dictionaries(
    texts,
    stepped(st.integers(), deltas)
    | stepped(text_deltas.map(lambda step: step["delta"]), text_deltas)
    | stepped(elements, set_changes),
    max_size=2,
)


def stepped_line(row: Row, base: dict[str, int], chosen: dict[str, tuple[Any, FieldSteps]]) -> RowLine:
    values = {name: value for name, (value, _) in chosen.items()}
    return RowLine(
        model="m",
        pk="1",
        row=Row(fields={**row.fields, **values}, updated=row.updated, clocks=row.clocks),
        base={**base, **dict.fromkeys(chosen, 7)},
        steps={name: step for name, (_, step) in chosen.items()},
    )


lines: st.SearchStrategy[Line] = st.one_of(
    st.builds(stepped_line, st.builds(Row, fields=fields, updated=times, clocks=clocks), clocks, steps),
    st.builds(
        RowLine,
        model=texts,
        pk=texts,
        row=st.builds(Row, fields=fields, updated=times, clocks=clocks),
        base=st.none() | clocks,
    ),
    st.builds(TombstoneLine, model=texts, pk=texts, at=times, base=st.none() | times, pulled=st.booleans()),
    st.builds(UpdateLine, model=texts, pk=texts, field=texts, at=times),
)
words = st.text(st.characters(categories=["L", "N"]), max_size=10)
headers = st.builds(
    Header,
    client=words,
    reset=words,
    schema=words,
    checkpoint=st.none() | words,
    strategy=words,
    last_synced=st.dictionaries(words, times, max_size=3),
    full=st.booleans(),
    created=times,
    client_time=times,
)
HEADER = Header(client="c", reset="r", schema="s", checkpoint=None, strategy="by_base")


def written(header: Header, content: list[Line]) -> bytes:
    target = io.BytesIO()
    write_snapshot(target, header, content)
    return target.getvalue()


class Trickle:
    """A stream that gives a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, self._size))


@given(header=headers, content=st.lists(lines, max_size=6), size=st.integers(1, 50))
def test_what_is_written_is_read(header: Header, content: list[Line], size: int) -> None:
    reader = SnapshotReader(Trickle(written(header, content), size))

    assert reader.header == header
    assert repr(list(reader)) == repr(content)
    assert reader.counts.total == len(content)


@given(header=headers, content=st.lists(lines, max_size=4))
def test_the_same_content_has_the_same_bytes(header: Header, content: list[Line]) -> None:
    assert written(header, content) == written(header, content)


def sample() -> bytes:
    row = Row(fields={"name": "Rex", "age": 3}, updated=7, clocks={"*": 7})
    return written(
        HEADER,
        [
            RowLine(model="m", pk="1", row=row, base=None),
            TombstoneLine(model="m", pk="2", at=3, base=1, pulled=False),
            UpdateLine(model="m", pk="1", field="age", at=3),
        ],
    )


def read(data: bytes, limits: Limits | None = None) -> list[Line]:
    return list(SnapshotReader(io.BytesIO(data), limits))


@pytest.mark.parametrize("length", range(len(sample())))
def test_a_snapshot_cut_off_after_any_byte_is_invalid(length: int) -> None:
    with pytest.raises(InvalidSnapshot):
        read(sample()[:length])


def test_a_snapshot_whose_text_is_cut_off_after_any_byte_is_invalid() -> None:
    text = gzip.decompress(sample())

    for length in range(len(text) - 1):
        with pytest.raises(InvalidSnapshot):
            read(gzip.compress(text[:length], 1))
    assert len(read(gzip.compress(text[:-1]))) == 3


@examples(300)
@given(place=st.integers(0, len(sample()) - 1), byte=st.integers(0, 255))
def test_a_snapshot_with_a_byte_changed_is_read_alike_or_invalid(place: int, byte: int) -> None:
    """gzip's checksum sees to it; only a few bytes of its header mean nothing."""
    data = bytearray(sample())
    data[place] = byte

    try:
        found = read(bytes(data))
    except (InvalidSnapshot, TooLarge):
        return
    assert found == read(sample())


@examples(300)
@given(
    texts=st.lists(st.binary(max_size=30) | json_values.map(lambda value: dumps(value).encode()), max_size=5)
)
def test_any_lines_at_all_are_read_or_invalid(texts: list[bytes]) -> None:
    for start in (b"", gzip.decompress(sample()).split(b"\n")[0] + b"\n"):
        found: list[Line] | InvalidSnapshot | TooLarge
        try:
            found = read(gzip.compress(start + b"\n".join(texts), 1))
        except (InvalidSnapshot, TooLarge) as fault:
            found = fault
        assert isinstance(found, list) or found.detail.isprintable()


@given(
    kind=st.sampled_from(["row", "tombstone", "update", "change"]), content=json_values, pulled=json_values
)
def test_a_line_of_any_shape_is_a_line_or_a_malformed_one(kind: str, content: Any, pulled: Any) -> None:
    header = gzip.decompress(sample()).split(b"\n")[0]
    line = dumps({kind: content, "pulled": pulled}).encode()
    end = dumps({"end": {"pushed" if kind == "change" else f"{kind}s": 1}}).encode()

    (found,) = read(gzip.compress(b"\n".join([header, line, end]), 1))

    if isinstance(found, MalformedLine):
        assert found.text == line.decode()
        assert found.reason


FIELDS = {"stock": 7, "weight": "1.50", "tags": ["a"], "name": "x"}
BASE = {"stock": 1, "weight": 1, "tags": 1, "name": 1}


def line_with(steps: Any, base: Any = BASE) -> Line:
    header = gzip.decompress(sample()).split(b"\n")[0]
    line = dumps({"row": ["m", "1", FIELDS, 7, {"*": 1}, base, steps]}).encode()
    (found,) = read(gzip.compress(b"\n".join([header, line, b'{"end": {"rows": 1}}']), 1))
    return found


def test_the_steps_of_a_row_are_read_with_what_was_counted() -> None:
    line = line_with(
        {
            "stock": {"steps": [{"id": "a", "delta": 3, "sent": True, "at": 9}, {"id": "b", "delta": -1}]},
            "weight": {
                "steps": [{"id": "c", "delta": "-0.50", "sent": True}],
                "counted": [{"id": "d", "delta": "1.00", "at": 8}],
            },
            "tags": {"steps": [{"id": "e", "add": ["b", "a", "a"]}]},
            "name": {"counted": [{"id": "f", "delta": 2, "at": 7}]},
        }
    )

    assert isinstance(line, RowLine)
    assert line.steps == {
        "stock": FieldSteps(
            steps=(
                Step(id="a", amount={"delta": 3}, sent=True, at=9),
                Step(id="b", amount={"delta": -1}),
            )
        ),
        "weight": FieldSteps(
            steps=(Step(id="c", amount={"delta": "-0.50"}, sent=True),),
            counted=(Step(id="d", amount={"delta": "1.00"}, at=8),),
        ),
        "tags": FieldSteps(steps=(Step(id="e", amount={"add": ["a", "b"], "remove": []}),)),
        "name": FieldSteps(counted=(Step(id="f", amount={"delta": 2}, at=7),)),
    }
    assert line.steps["stock"].total == {"delta": 2}


def one(field: str, **amount: Any) -> dict[str, Any]:
    return {field: {"steps": [{"id": "a", **amount}]}}


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        {"stock": None},
        {"stock": 3},
        {"stock": {"delta": 3}, "steps": 1},
        {"stock": {"steps": {}}},
        {"stock": {"steps": [3]}},
        {"stock": {"steps": [{"delta": 3}]}},
        {"stock": {"steps": [{"id": 1, "delta": 3}]}},
        {"stock": {"steps": [{"id": "", "delta": 3}]}},
        {"stock": {"steps": [{"id": "a" * 65, "delta": 3}]}},
        {"stock": {"steps": [{"id": "a\u0000", "delta": 3}]}},
        {"stock": {"steps": [{"id": "a", "delta": 3}, {"id": "a", "delta": 3}]}},
        {"stock": {"steps": [{"id": "a"}]}},
        {"stock": {"counted": ["a"]}},
        {"stock": {"counted": {"a": 1}}},
        {"stock": {"counted": [{"id": "a", "delta": 1}]}},
        {"stock": {"counted": [{"id": "a", "delta": 1, "at": "1"}]}},
        {"stock": {"counted": [{"id": "a" * 65, "delta": 1, "at": 1}]}},
        {"stock": {"counted": [{"id": "", "delta": 1, "at": 1}]}},
        {"stock": {"counted": [{"id": "a\u0000", "delta": 1, "at": 1}]}},
        {"stock": {"counted": [{"id": "a", "delta": 1, "at": 2**63}]}},
        {"stock": {"counted": [{"id": "a", "delta": 1, "at": 1}] * 2}},
        one("stock", delta=True),
        one("stock", delta=1.0),
        one("stock", delta=None),
        one("stock", delta="3"),
        one("stock", delta=3, add=[]),
        one("stock", delta=3, sent=1),
        one("stock", delta=3, at="9"),
        one("stock", delta=3, at=True),
        one("stock", delta=3, at=2**63),
        one("stock", add=["b"]),
        one("weight", delta=1),
        one("weight", delta="1e3"),
        one("weight", delta="\u0661"),
        one("weight", delta="NaN"),
        one("weight", delta=""),
        one("weight", delta="1" * 1001),
        one("tags", delta="1"),
        one("tags", add="b"),
        one("tags", add=[1]),
        one("tags", add=["b"], remove=["b"]),
        one("name", delta="1"),
        one("name", add=["b"]),
        one("other", delta=1),
    ],
)
def test_steps_of_any_other_shape_make_the_line_malformed(steps: Any) -> None:
    assert isinstance(line_with(steps), MalformedLine)


@pytest.mark.parametrize("base", [{}, {"name": 1}])
def test_a_step_without_a_base_makes_the_line_malformed(base: Any) -> None:
    assert isinstance(line_with(one("stock", delta=3), base), MalformedLine)
    assert isinstance(line_with({"stock": {"counted": [{"id": "a", "delta": 1, "at": 1}]}}, base), RowLine)


def test_a_row_made_by_the_client_may_have_steps_from_nothing() -> None:
    line = line_with(one("stock", delta=7), None)

    assert isinstance(line, RowLine)
    made = FieldSteps(steps=(Step(id="a", amount={"delta": 7}),))
    assert (line.base, line.steps) == (None, {"stock": made})


@pytest.mark.parametrize("replaced", [False, True])
def test_a_change_that_was_pushed_or_replaced_is_a_line(replaced: bool) -> None:
    change = Change(
        model="m", pk="1", op="put", fields={"name": "x"}, clocks={"name": 5}, base={"name": 4}, seq=7
    )
    header = Header(client="c", reset="r", schema="s", checkpoint=None, strategy="by_base")
    target = io.BytesIO()

    counts = write_snapshot(target, header, [ChangeLine(change=change, replaced=replaced)])

    assert read(target.getvalue()) == [ChangeLine(change=change, replaced=replaced)]
    assert counts.as_wire() == {"rows": 0, "tombstones": 0, "updates": 0, "pushed": 1}


@given(limit=st.integers(1, 400))
def test_nothing_beyond_the_limits_is_read(limit: int) -> None:
    data = sample()
    text = gzip.decompress(data)
    longest = max(map(len, text.split(b"\n")))

    for limits, fits in (
        (Limits(decompressed=limit), limit >= len(text)),
        (Limits(line=limit), limit >= longest),
    ):
        if fits:
            assert len(read(data, limits)) == 3
        else:
            with pytest.raises(TooLarge):
                read(data, limits)


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_snapshot_of_several_gzip_members_is_one_snapshot(pieces: int) -> None:
    text = gzip.decompress(sample())
    size = -(-len(text) // pieces)

    members = [gzip.compress(text[start : start + size]) for start in range(0, len(text), size)]

    assert read(b"".join(members)) == read(sample())


def test_what_inflates_without_end_is_never_held() -> None:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    data = b"".join(compressor.compress(bytes(2**20)) for _ in range(32)) + compressor.flush()

    for bomb in (data, gzip.compress(data)):
        with pytest.raises(TooLarge):
            read(bomb)


def test_a_malformed_line_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        written(HEADER, [MalformedLine(text="x", reason="y")])
