"""Reads the documentation's Markdown: fenced blocks, headings, and the code spans in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. ``path`` is what a first line such as ``# dogs/models.py`` names, without that line."""

    language: str
    text: str
    path: str | None


def page(name: str) -> str:
    """The text of a page, by its path from the project's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def pages() -> list[Path]:
    """All pages of the documentation."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def section(text: str, heading: str) -> str:
    """The part of a page below a heading, up to the next one of its level or a higher one."""
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    level = heading.index(" ")
    # Comments in blocks are no headings.
    masked = _FENCE.sub(lambda fence: " " * len(fence[0]), text)
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(masked, start)
    return text[start : end.start() if end else len(text)]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks in order."""
    for language, body in _FENCE.findall(text):
        first, _, rest = body.partition("\n")
        named = re.fullmatch(r"# ([\w./]+\.py)", first)
        yield Block(language=language, text=rest if named else body, path=named[1] if named else None)


def headings(text: str) -> list[str]:
    """The headings, without those marks of comments that stand in fenced blocks."""
    return [title for _, title in _HEADING.findall(_FENCE.sub("", text))]


def code_spans(text: str) -> set[str]:
    """What stands between single backticks outside of fenced blocks."""
    return set(re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)))


def table(text: str) -> list[list[str]]:
    """The cells of the table in a part of a page, its head first and without backticks."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("`", "") for cell in line.split("|")] for line in lines]
    return [row for row in rows if not row[0].startswith("---")]
