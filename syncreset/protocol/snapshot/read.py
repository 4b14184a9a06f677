"""The snapshot format ``syncreset-snapshot/1``: gzip of NDJSON, written by devices and read as a stream.

Header, lines and end are those of the protocol page, section "Snapshot format".
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

from ..changes import Clocks, Row, Value, parse_change, parse_clocks
from ..errors import InvalidSnapshot, Malformed, TooLarge
from ..steps import fits, parse_steps
from ..strict_json import loads
from .lines import (
    FORMAT,
    GZIP_WINDOW,
    ChangeLine,
    Counts,
    FieldSteps,
    Header,
    Limits,
    Line,
    MalformedLine,
    RowLine,
    TombstoneLine,
    UpdateLine,
)

_GZIP_MAGIC = b"\x1f\x8b"
_READ_SIZE = 64 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class SnapshotReader:
    """Reads a snapshot from a stream of bytes, once, holding one line at a time.

    ``header`` is there from the start. Iterating yields the lines between header and end, ``size`` is how many bytes
    they have so far; after the last one ``counts`` has been compared with the end line. Raises InvalidSnapshot where
    the snapshot is broken as a whole, TooLarge where it exceeds the limits; nothing beyond the limits is ever
    decompressed.
    """

    def __init__(self, stream: BinaryIO | Readable, limits: Limits | None = None) -> None:
        self.counts = Counts()
        self.size = 0
        self._limits = limits or Limits()
        self._texts = _texts(stream, self._limits)
        first = next(self._texts, None)
        if first is None:
            raise InvalidSnapshot("the snapshot is empty")
        self.header = _header(_parse(first, 1))

    def __iter__(self) -> Iterator[Line]:
        ended = False
        for number, text in enumerate(self._texts, start=2):
            self.size += len(text)
            value = _parse(text, number)
            if ended:
                raise InvalidSnapshot(f"line {number} stands after the end line")
            if "end" in value:
                self._compare(value["end"])
                ended = True
            elif self.counts.total >= self._limits.lines:
                raise TooLarge(f"the snapshot has more than {self._limits.lines} lines")
            else:
                yield self._line(value, text, number)
        if not ended:
            raise InvalidSnapshot("the snapshot is cut off: it has no end line")

    def skim(self, *, lines: int, size: int) -> None:
        """Measure so many lines, or bytes, of what is left, without reading them. Raises TooLarge, and InvalidSnapshot.

        Nothing can be iterated any more then.
        """
        reached = self.size + size
        for number, text in enumerate(self._texts, start=self.counts.total + 1):
            self.size += len(text)
            if number > self._limits.lines + 1:
                raise TooLarge(f"the snapshot has more than {self._limits.lines} lines")
            if number >= lines or self.size >= reached:
                return

    def _line(self, value: dict[str, Any], text: bytes, number: int) -> Line:
        kinds = value.keys() & {"row", "tombstone", "update", "change"}
        if len(kinds) != 1:
            raise InvalidSnapshot(
                f"line {number} is neither a row, a tombstone, an update, a change nor the end"
            )
        try:
            if "row" in kinds:
                self.counts.rows += 1
                return _row(value["row"])
            if "tombstone" in kinds:
                self.counts.tombstones += 1
                return _tombstone(value)
            if "change" in kinds:
                self.counts.pushed += 1
                return _change(value["change"], value.get("replaced", False))
            self.counts.updates += 1
            return _update(value["update"])
        except Malformed as error:
            return MalformedLine(text=text.decode("utf-8"), reason=error.detail)

    def _compare(self, end: object) -> None:
        if not isinstance(end, dict):
            raise InvalidSnapshot("the end line is not an object")
        for kind, counted in self.counts.as_wire().items():
            if end.get(kind, 0) != counted or isinstance(end.get(kind), bool):
                raise InvalidSnapshot(
                    f"the end line announces {ascii(end.get(kind, 0))[:40]} {kind}, the snapshot has {counted}"
                )


def _texts(stream: BinaryIO | Readable, limits: Limits) -> Iterator[bytes]:
    buffer = bytearray()
    for piece in _decompressed(stream, limits.decompressed):
        start = 0
        while (newline := piece.find(b"\n", start)) >= 0:
            buffer += piece[start:newline]
            _check_line(buffer, limits.line)
            if not buffer.strip():
                # Were they skipped, gigabytes of them would cost a sender a few kilobytes, and us minutes.
                raise InvalidSnapshot("the snapshot has an empty line")
            yield bytes(buffer)
            buffer.clear()
            start = newline + 1
        buffer += piece[start:]
        _check_line(buffer, limits.line)
    if buffer.strip():
        yield bytes(buffer)


def _check_line(buffer: bytearray, limit: int) -> None:
    if len(buffer) > limit:
        raise TooLarge(f"a line of the snapshot is longer than {limit} bytes")


def _decompressed(stream: BinaryIO | Readable, limit: int) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(GZIP_WINDOW)
    total = 0
    pending = stream.read(_READ_SIZE)
    if not pending:
        raise InvalidSnapshot("the snapshot is empty")
    while pending:
        try:
            piece = decompressor.decompress(pending, _READ_SIZE)
        except zlib.error as error:
            raise InvalidSnapshot("the snapshot is not gzip, or its compressed data is damaged") from error
        if total == 0 and piece.startswith(_GZIP_MAGIC):
            raise TooLarge("the snapshot is compressed twice; what it would grow to is not tried out")
        total += len(piece)
        if total > limit:
            raise TooLarge(f"the snapshot is larger than {limit} bytes when decompressed")
        if piece:
            yield piece
        if decompressor.eof:
            pending = decompressor.unused_data or stream.read(_READ_SIZE)
            if pending:
                decompressor = zlib.decompressobj(GZIP_WINDOW)
        else:
            pending = decompressor.unconsumed_tail or stream.read(_READ_SIZE)
    if not decompressor.eof:
        raise InvalidSnapshot("the snapshot is cut off: its gzip stream has no end")


def _parse(text: bytes, number: int) -> dict[str, Any]:
    try:
        value = loads(text)
    except Malformed as error:
        raise InvalidSnapshot(f"line {number}: {error.detail}") from error
    if not isinstance(value, dict):
        raise InvalidSnapshot(f"line {number} is not an object")
    return value


def _header(value: dict[str, Any]) -> Header:
    if value.get("format") != FORMAT:
        raise InvalidSnapshot(f"the first line does not say format {FORMAT}")
    for name in ("client", "reset", "schema", "strategy"):
        if not _is_word(value.get(name)):
            raise InvalidSnapshot(f"the header's {name} is not a printable string")
    if value.get("checkpoint") is not None and not _is_word(value["checkpoint"]):
        raise InvalidSnapshot("the header's checkpoint is neither a printable string nor null")
    try:
        last_synced = parse_clocks(value.get("last_synced", {}), "last_synced")
        created, client_time = (
            _device_time(value.get("created", 0)),
            _device_time(value.get("client_time", 0)),
        )
    except Malformed as error:
        raise InvalidSnapshot(f"the header: {error.detail}") from error
    if not all(_is_word(model) and abs(at) < 2**63 for model, at in last_synced.items()):
        raise InvalidSnapshot("the header's last_synced is not of model names and times of 64 bits")
    for name, default in (("full", True), ("damaged", False)):
        if not isinstance(value.get(name, default), bool):
            raise InvalidSnapshot(f"the header's {name} is neither true nor false")
    return Header(
        client=value["client"],
        reset=value["reset"],
        schema=value["schema"],
        checkpoint=value.get("checkpoint"),
        strategy=value["strategy"],
        last_synced=last_synced,
        full=value.get("full", True),
        damaged=value.get("damaged", False),
        created=created,
        client_time=client_time,
    )


def _change(raw: object, replaced: object) -> ChangeLine:
    if not isinstance(replaced, bool):
        raise Malformed("replaced is neither true nor false")
    return ChangeLine(change=parse_change(raw, "change"), replaced=replaced)


def _row(raw: object) -> RowLine:
    if isinstance(raw, list) and len(raw) == 6:
        raw = [*raw, {}]
    model, pk, fields, updated, clocks, base, steps = _parts(raw, 7, "row")
    if not isinstance(fields, dict):
        raise Malformed("the row's fields are not an object")
    row = Row(fields=fields, updated=_time(updated), clocks=parse_clocks(clocks, "the row's clocks"))
    known = None if base is None else parse_clocks(base, "the row's base")
    return RowLine(model=_text(model), pk=_text(pk), row=row, base=known, steps=_steps(steps, fields, known))


def _steps(raw: object, fields: Mapping[str, Value], base: Clocks | None) -> dict[str, FieldSteps]:
    if not isinstance(raw, dict):
        raise Malformed("the row's steps are not an object")
    made = {name: _field_steps(each) for name, each in raw.items()}
    for name, of_field in made.items():
        if name not in fields or (of_field.steps and base is not None and name not in base):
            raise Malformed(f"there is a step of {name[:100]!a}, which has no value or no base")
        if not all(fits(step.amount, fields[name]) for step in of_field.steps):
            raise Malformed(f"a step of {name[:100]!a} is not of the form of its value")
    return made


def _field_steps(raw: object) -> FieldSteps:
    if not isinstance(raw, dict):
        raise Malformed("the steps of a field are not an object")
    counted = parse_steps({"steps": raw.get("counted", [])}, most=None)
    if any(step.at is None for step in counted):
        raise Malformed("a step that was counted lacks the clock of its answer")
    return FieldSteps(steps=parse_steps({"steps": raw.get("steps", [])}), counted=counted)


def _tombstone(line: Mapping[str, object]) -> TombstoneLine:
    raw, pulled = line["tombstone"], line.get("pulled", False)
    scope, checkpoint = line.get("scope"), line.get("checkpoint")
    if isinstance(raw, list) and len(raw) == 3:
        raw = [*raw, None]
    model, pk, at, base = _parts(raw, 4, "tombstone")
    if not isinstance(pulled, bool):
        raise Malformed("the tombstone's pulled is neither true nor false")
    return TombstoneLine(
        model=_text(model),
        pk=_text(pk),
        at=_time(at),
        base=None if base is None else _time(base),
        pulled=pulled,
        scope=None if scope is None else _text(scope),
        checkpoint=None if checkpoint is None else _text(checkpoint),
    )


def _update(raw: object) -> UpdateLine:
    model, pk, name, at = _parts(raw, 4, "update")
    return UpdateLine(model=_text(model), pk=_text(pk), field=_text(name), at=_time(at))


def _parts(raw: object, count: int, kind: str) -> list[Value]:
    if not isinstance(raw, list) or len(raw) != count:
        raise Malformed(f"the {kind} is not an array of {count}")
    return raw


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{json.dumps(value)[:100]} is not a string")
    return value


def _is_word(value: object) -> bool:
    """Whether any database can hold it: neither NUL nor half a surrogate pair."""
    return isinstance(value, str) and value.isprintable()


def _device_time(value: object) -> int:
    """A time by the device's clock, however wrong that is, as long as a difference to it fits 64 bits."""
    at = _time(value)
    if abs(at) >= 2**62:
        raise Malformed("a time is beyond 64 bits")
    return at


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed("a time is not an integer of microseconds")
    return value
