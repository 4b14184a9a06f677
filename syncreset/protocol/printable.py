"""Text that others wrote, as it can be shown without harm: in a page, on a terminal, in a log."""

import json
import unicodedata

#: Characters that count as letters or symbols and show nothing.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
#: What a mark would be laid upon instead of a letter, were it shown behind it.
_NO_LETTER = frozenset(' "\n')
#: So many marks one letter may bear: more than any script lays upon one, and too few to cover the lines above.
_MARKS = 8


def printable(text: str, *, lines: bool = False) -> str:
    """The text with the JSON escape of every character that does not print or meddles with the text around it.

    These are control characters, those that turn the direction of writing, those that show nothing, and marks without
    a letter or beyond eight on one. ``lines``: line ends stay.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    bears, marks = False, 0
    for char in text:
        if unicodedata.category(char).startswith("M"):
            marks += 1
            shown.append(char if bears and marks <= _MARKS else _escaped(char))
            continue
        harmless = (char.isprintable() and char not in _BLANK) or (lines and char == "\n")
        shown.append(char if harmless else _escaped(char))
        bears, marks = harmless and char not in _NO_LETTER, 0
    return "".join(shown)


def cut(text: str, limit: int) -> str:
    """The printable text, or its beginning with a word on how long it is."""
    if len(text) <= limit:
        return printable(text, lines=True)
    return f"{printable(text[:limit], lines=True)} … ({len(text):,} characters in all)"


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
