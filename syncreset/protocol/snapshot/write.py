"""Writing a snapshot."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Protocol

from ..strict_json import dumps
from .lines import (
    FORMAT,
    GZIP_WINDOW,
    ChangeLine,
    Counts,
    FieldSteps,
    Header,
    Line,
    RowLine,
    TombstoneLine,
    UpdateLine,
)


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


def write_snapshot(target: BinaryIO | Writable, header: Header, lines: Iterable[Line]) -> Counts:
    """Write a whole snapshot. Rows of one model stand together, parents first; tombstones follow, children first.

    Returns what the end line says. The bytes depend on the arguments alone, so a repeated write has the same sha256.
    """
    compressor = zlib.compressobj(6, zlib.DEFLATED, GZIP_WINDOW)
    counts = Counts()

    def emit(value: Mapping[str, Any]) -> None:
        target.write(compressor.compress(dumps(value).encode("ascii") + b"\n"))

    emit(
        {
            "format": FORMAT,
            "client": header.client,
            "reset": header.reset,
            "schema": header.schema,
            "checkpoint": header.checkpoint,
            "strategy": header.strategy,
            "last_synced": dict(header.last_synced),
            "full": header.full,
            "damaged": header.damaged,
            "created": header.created,
            "client_time": header.client_time,
        }
    )
    for line in lines:
        emit(_line_as_wire(line, counts))
    emit({"end": counts.as_wire()})
    target.write(compressor.flush())
    return counts


def _line_as_wire(line: Line, counts: Counts) -> dict[str, Any]:
    if isinstance(line, RowLine):
        counts.rows += 1
        base = None if line.base is None else dict(line.base)
        row = line.row
        wire_row = [line.model, line.pk, dict(row.fields), row.updated, dict(row.clocks), base]
        steps = [{name: _steps_as_wire(made) for name, made in line.steps.items()}] if line.steps else []
        return {"row": wire_row + steps}
    if isinstance(line, TombstoneLine):
        counts.tombstones += 1
        wire: dict[str, Any] = {"tombstone": [line.model, line.pk, line.at, line.base]}
        wire |= {"pulled": True} if line.pulled else {}
        wire |= {} if line.checkpoint is None else {"checkpoint": line.checkpoint}
        return wire if line.scope is None else wire | {"scope": line.scope}
    if isinstance(line, ChangeLine):
        counts.pushed += 1
        return {"change": line.change.as_wire()} | ({"replaced": True} if line.replaced else {})
    if isinstance(line, UpdateLine):
        counts.updates += 1
        return {"update": [line.model, line.pk, line.field, line.at]}
    raise TypeError("a malformed line cannot be written")


def _steps_as_wire(made: FieldSteps) -> dict[str, Any]:
    wire: dict[str, Any] = {"steps": [step.as_wire() for step in made.steps]}
    return wire | ({"counted": [step.as_wire() for step in made.counted]} if made.counted else {})
