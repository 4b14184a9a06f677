"""The lines of a snapshot with their places, in terms of the current schema."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...protocol.snapshot.lines import ChangeLine, Line, MalformedLine, UpdateLine
from ...protocol.snapshot.read import SnapshotReader
from ...wire.fields.base import ValueFault
from ...wire.model import WireModel, model_labelled
from ..job import Recovery
from ..upcast.carry import Left, Upcast, Upcaster
from ..uploads import open_snapshot, snapshot_limits
from .keys import SnapshotKeys


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A line of a snapshot with its place (the first one after the header is 1). ``repeats``: its key came before.

    The line is in terms of the current schema, and of a row of ``model``, unless that is not tracked; ``left`` is what
    of it could not be carried over to it, which may be all (``line`` None).
    """

    number: int
    line: Line | None
    model: WireModel | None
    repeats: bool
    left: tuple[Left, ...] = ()


@dataclass(kw_only=True)
class Passed:
    """What has been read of a snapshot: the keys of its rows and tombstones, and whether a line could not be read."""

    keys: SnapshotKeys
    unread: bool = False


def numbered_lines(reader: SnapshotReader, passed: Passed, upcaster: Upcaster) -> Iterator[Numbered]:
    """The lines with their places, in terms of the current schema. ``passed`` takes what they tell."""
    for number, line in enumerate(reader, start=1):
        upcast, model = _under_its_key(upcaster.upcast(line))
        repeats = False
        if upcast.key is not None and not isinstance(line, UpdateLine):
            repeats = not isinstance(line, ChangeLine) and not passed.keys.is_new(
                type(line).__name__, upcast.key
            )
            passed.keys.add(upcast.key)
        passed.unread = passed.unread or isinstance(line, MalformedLine)
        yield Numbered(number=number, line=upcast.line, model=model, repeats=repeats, left=upcast.left)


def _under_its_key(upcast: Upcast) -> tuple[Upcast, WireModel | None]:
    """The line under its key as the server writes it: a UUID may come in capitals, and is the same row's. Its model."""
    line = upcast.line
    if line is None or isinstance(line, MalformedLine):
        return upcast, None
    model = model_labelled(line.model)
    if model is None:
        return upcast, None
    try:
        pk = model.canonical(line.pk)
    except ValueFault:
        return upcast, model
    if pk == line.pk:
        return upcast, model
    if isinstance(line, ChangeLine):
        return replace(upcast, line=replace(line, change=replace(line.change, pk=pk))), model
    return replace(upcast, line=replace(line, pk=pk)), model


def read_update_log(recovery: Recovery, upcaster: Upcaster, keys: SnapshotKeys) -> None:
    """Gather the update lines by row, for they stand behind the rows that they are about."""
    with open_snapshot(recovery.upload) as stream:
        for upcast in map(upcaster.upcast, SnapshotReader(stream, snapshot_limits())):
            upcast, _ = _under_its_key(upcast)
            line = upcast.line
            if isinstance(line, UpdateLine):
                keys.log((line.model, line.pk), line.field, line.at)
            elif upcast.key is not None:
                keys.hold(upcast.key)
