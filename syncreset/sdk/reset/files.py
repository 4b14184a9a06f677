"""The few file operations of a reset, each atomic, so that a kill falls before or after it and never within."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def read(path: Path) -> bytes | None:
    """The content of a file, or None where there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write(path: Path, content: bytes) -> None:
    """Replace a file's content, atomically and durably. What does not fit on the disk leaves nothing behind."""
    with draft_of(path) as draft:
        draft.write_bytes(content)
        move(draft, path)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A path beside another one, to be moved there once it is complete; removed where that fails."""
    draft = path.with_name(path.name + ".new")
    try:
        yield draft
    except OSError:
        remove(draft)
        raise


def _sync_directory(directory: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
