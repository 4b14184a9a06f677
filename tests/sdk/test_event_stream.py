"""The parser of server-sent events: as the standard has them, whatever pieces they arrive in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncreset.sdk import ProtocolViolation
from syncreset.sdk.transport.event_stream import LONGEST_LINE, EventParser

TOLD = (
    b"\xef\xbb\xbfretry: 2500\n\n: still here\n\nevent: poke\ndata: {}\n\n"
    b"event:poke\r\ndata\r\n\r\nevent: empty\n\ndata: 1\rdata: 2\r\revent: poke\ndata: {}\n\nevent: poke\ndata: cut"
)
NAMES = ["poke", "poke", "message", "poke"]


@given(st.lists(st.integers(0, len(TOLD)), max_size=30))
def test_the_pieces_do_not_matter(cuts: list[int]) -> None:
    parser = EventParser()
    places = [0, *sorted(cuts), len(TOLD)]

    names = [name for start, end in pairwise(places) for name in parser.feed(TOLD[start:end])]

    assert names == NAMES
    assert parser.retry == 2.5


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_anything_can_be_read(chunks: list[bytes]) -> None:
    parser = EventParser()

    for chunk in chunks:
        assert all(isinstance(name, str) for name in parser.feed(chunk))


@pytest.mark.parametrize("value", [b"soon", b"-1", b"1.5", b""])
def test_a_retry_that_is_no_number_is_ignored(value: bytes) -> None:
    parser = EventParser()

    parser.feed(b"retry: " + value + b"\n\n")

    assert parser.retry is None


def test_a_retry_is_bounded() -> None:
    parser = EventParser()

    parser.feed(b"retry: " + b"9" * 40 + b"\n")

    assert parser.retry == 600.0


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_without_an_end_is_not_kept(end: bytes) -> None:
    parser = EventParser()
    parser.feed(b"x" * LONGEST_LINE)

    with pytest.raises(ProtocolViolation):
        parser.feed(b"x" + end)
