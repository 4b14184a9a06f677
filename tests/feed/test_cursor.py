"""Checkpoints as clients carry them: given out, they come back; bent, they are refused or no longer trusted."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from syncreset.feed.cursor import WHOLE, Cursor, decode_cursor, encode_cursor
from syncreset.protocol.errors import Malformed
from syncreset.protocol.strict_json import dumps
from tests.support.protocol_values import json_values

words = st.text(st.characters(categories=["L", "N", "P"], include_characters=" "), max_size=12)
numbers = st.integers(0, WHOLE)
scopes = st.lists(words, max_size=3).map(tuple)
cursors = st.builds(
    Cursor,
    client=words,
    epoch=words,
    number=numbers,
    proof=numbers,
    salt=words,
    entry=numbers,
    scopes=scopes,
    phase=st.sampled_from(["feed", "drop", "load"]),
    lost=scopes,
    gained=scopes,
    model=words,
    pk=words,
    reset=st.none() | words,
)


def meant(cursor: Cursor) -> tuple[Any, ...]:
    """What a cursor says; while it merely follows the feed nothing is being lost or gained."""
    place = (cursor.epoch, cursor.number, cursor.entry, cursor.scopes, cursor.phase, cursor.reset)
    head = (cursor.client, *place, cursor.proof, cursor.salt)
    if cursor.phase == "feed" and cursor.reset is None:
        return head
    return (*head, cursor.lost, cursor.gained, cursor.model, cursor.pk)


@given(cursor=cursors)
def test_a_cursor_comes_back_as_it_was_given(cursor: Cursor) -> None:
    text = encode_cursor(cursor)
    back = decode_cursor(text)

    assert text.isascii()
    assert text.isprintable()
    assert meant(back) == meant(cursor)
    assert back.genuine
    assert encode_cursor(back) == text


@given(cursor=cursors, place=st.integers(0), letter=st.sampled_from("ABab01-_.= \x00\u00e9\ud800"))
def test_a_cursor_with_a_letter_changed_is_refused_or_not_genuine(
    cursor: Cursor, place: int, letter: str
) -> None:
    text = encode_cursor(cursor)
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        return

    try:
        back = decode_cursor(changed)
    except Malformed:
        return
    assert not back.genuine


@given(cursor=cursors, length=st.integers(0))
def test_a_cursor_cut_off_is_malformed(cursor: Cursor, length: int) -> None:
    text = encode_cursor(cursor)

    with pytest.raises(Malformed) as caught:
        decode_cursor(text[: length % len(text)])
    assert (caught.value.status, caught.value.code) == (400, "invalid_checkpoint")


@given(cursor=cursors, other=cursors)
def test_a_signature_is_of_one_cursor_alone(cursor: Cursor, other: Cursor) -> None:
    text, signature = encode_cursor(cursor).split(".")
    swapped = decode_cursor(f"{text}.{encode_cursor(other).split('.')[1]}")

    assert swapped.genuine == (encode_cursor(cursor) == encode_cursor(other))
    assert len(signature) == 22


@given(value=json_values)
def test_any_json_in_its_place_is_malformed(value: Any) -> None:
    encoded = base64.urlsafe_b64encode(dumps(value).encode()).decode().rstrip("=")

    for text in (value, encoded, f"{encoded}.{'A' * 22}"):
        with pytest.raises(Malformed):
            decode_cursor(text)


@given(
    parts=st.tuples(
        st.sampled_from([3, 3, 3, 0, 2, True, "3"]),
        words | json_values,
        words | json_values,
        st.integers() | json_values,
        st.integers() | json_values,
        words | json_values,
        st.integers() | json_values,
        st.lists(words | json_values, max_size=3) | json_values,
    )
)
def test_what_looks_like_a_cursor_is_typed_or_malformed(parts: tuple[Any, ...]) -> None:
    encoded = base64.urlsafe_b64encode(dumps(list(parts)).encode()).decode().rstrip("=")

    try:
        cursor = decode_cursor(f"{encoded}.{'A' * 22}")
    except Malformed:
        return
    assert not cursor.genuine
    assert 0 <= cursor.number <= WHOLE
    assert 0 <= cursor.proof <= WHOLE
    assert 0 <= cursor.entry <= WHOLE
    for text in (cursor.epoch, cursor.salt, *cursor.scopes):
        assert text.isprintable()


def test_a_key_that_was_replaced_is_honoured_while_it_is_a_fallback(settings: Settings) -> None:
    text = encode_cursor(Cursor(client="c", epoch="e", number=1, proof=1, salt="s"))

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert decode_cursor(text).genuine
    settings.SECRET_KEY_FALLBACKS = []
    assert not decode_cursor(text).genuine
