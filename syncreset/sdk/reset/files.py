"""The few file operations of a reset, each atomic, so that a kill falls before or after it and never within."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def move(source: Path, target: Path) -> None:
    """Rename a file that is complete, so that the target is there whole or not at all."""
    with source.open("rb+") as content:
        os.fsync(content.fileno())
    source.replace(target)
    _sync_directory(target.parent)


def move_away(source: Path, target: Path) -> None:
    """Rename where there is something to rename; never over an existing file."""
    if source.exists() and not target.exists():
        source.rename(target)
        _sync_directory(target.parent)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None where there is no file."""
    try:
        content = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    value: dict[str, Any] = json.loads(content)
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file's content by an object, atomically and durably."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(value, indent=1), "utf-8")
    move(draft, path)


def _sync_directory(directory: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
