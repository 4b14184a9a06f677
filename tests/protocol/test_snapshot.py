"""Snapshots that are written are read again; those that are damaged are invalid, wherever the damage is."""

import gzip
import io
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncreset.protocol import (
    Header,
    InvalidSnapshot,
    Limits,
    Line,
    MalformedLine,
    Row,
    RowLine,
    SnapshotReader,
    TombstoneLine,
    TooLarge,
    UpdateLine,
    dumps,
    write_snapshot,
)
from tests.protocol.strategies import json_values, texts

times = st.integers(-(2**60), 2**60)
clocks = st.dictionaries(texts, times, max_size=3)
fields = st.dictionaries(texts, json_values, max_size=3)
lines: st.SearchStrategy[Line] = st.one_of(
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


@settings(max_examples=300)
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


@settings(max_examples=300)
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


@given(kind=st.sampled_from(["row", "tombstone", "update"]), content=json_values, pulled=json_values)
def test_a_line_of_any_shape_is_a_line_or_a_malformed_one(kind: str, content: Any, pulled: Any) -> None:
    header = gzip.decompress(sample()).split(b"\n")[0]
    line = dumps({kind: content, "pulled": pulled}).encode()
    end = dumps({"end": {f"{kind}s": 1}}).encode()

    (found,) = read(gzip.compress(b"\n".join([header, line, end]), 1))

    if isinstance(found, MalformedLine):
        assert found.text == line.decode()
        assert found.reason


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
