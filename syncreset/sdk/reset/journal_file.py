"""The journal's file: one line for each entry, with a checksum, so that damage to some leaves the others readable."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import files

_FORMAT, _END = "syncreset-resets/1", "end"

#: The name of an entry, and what it says.
Entry = tuple[str, Any]


def read_entries(path: Path) -> tuple[list[Entry], bytes, bool]:
    """The entries of a journal that can be read, its whole content, and whether nothing of that is damaged."""
    content = files.read(path)
    if content is None:
        return [], b"", True
    lines = content.splitlines()
    entries = [entry for line in lines if (entry := _entry(line)) is not None]
    whole = len(entries) == len(lines) >= 2 and entries[-1] == (_END, len(lines) - 2)
    whole = whole and entries[0] == ("format", _FORMAT)
    return [entry for entry in entries if entry[0] not in ("format", _END)], content, whole


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Replace a journal, atomically and durably."""
    listed = list(entries)
    lines = [_line(entry) for entry in [("format", _FORMAT), *listed, (_END, len(listed))]]
    files.write(path, b"".join(lines))


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> Entry | None:
    digits, _, text = line.partition(b" ")
    if digits != b"%08x" % zlib.crc32(text):
        return None
    try:
        name, value = json.loads(text)
    except (TypeError, ValueError):
        return None
    return (name, value) if isinstance(name, str) else None
