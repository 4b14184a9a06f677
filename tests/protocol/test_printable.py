"""What does not print, or meddles with the text around it, becomes its escape; what people write stays."""

import json

import pytest

from syncreset.protocol.printable import cut, printable


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "Zoë 犬 😀",
        "e\u0301a\u0308\u0301",
        "\u05d0\u05d1",
        "\u0e19\u0e49\u0e33",
        "❤\ufe0f",
        "1\ufe0f\u20e3",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *map(chr, range(32)),
        *"\x7f\x80\x85\x9b\xa0\xad\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff",
        *"\u115f\u3164\u2800\U000e0041\ud800",
    ],
)
def test_what_does_not_print_becomes_its_escape(text: str) -> None:
    shown = printable(f"a{text}b")

    assert shown.isascii()
    assert shown == f"a{json.dumps(text)[1:-1]}b"


def test_marks_have_a_letter_of_their_own_text() -> None:
    assert printable("\u0301a") == "\\u0301a"
    assert printable("a \u0301") == "a \\u0301"
    assert printable('"\u0301"') == '"\\u0301"'
    assert printable("\x00\u0301") == "\\u0000\\u0301"


def test_marks_are_not_heaped_on_a_letter() -> None:
    assert printable("z" + "\u0336" * 9 + "z") == "z" + "\u0336" * 8 + "\\u0336z"


def test_line_ends_stay_where_lines_are_shown() -> None:
    assert printable("a\nb\r\n", lines=True) == "a\nb\\r\n"
    assert printable("a\nb") == "a\\nb"


def test_what_is_shown_can_be_shown_again() -> None:
    once = printable("\u0301a\x1b\u202e" + "\u0336" * 20)

    assert printable(once) == once


def test_long_text_is_cut_with_a_word_on_its_length() -> None:
    assert cut("x" * 10, 10) == "x" * 10
    assert cut("\x1b" * 2000, 3) == "\\u001b\\u001b\\u001b … (2,000 characters in all)"
