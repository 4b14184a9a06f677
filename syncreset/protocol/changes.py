"""The words of the protocol as data: rows, tombstones and changes, in wire values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import Malformed

Value = Any
Clocks = Mapping[str, int]
#: A row: the name of its model and its key, as the wire has them.
RowKey = tuple[str, str]

#: The key under which a row's clocks keep the time of its creation, which is that of every field without its own.
ROW_CLOCK = "*"

#: The base of a change that says: as I had the row at the checkpoint that I show with this push.
FROM_CHECKPOINT = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: every field but the primary key in wire values, its last update and the clocks of its fields (µs)."""

    fields: Mapping[str, Value]
    updated: int
    clocks: Clocks

    def clock(self, name: str) -> int:
        """The timestamp of a field: its own, else that of the row's creation."""
        return self.clocks.get(name, self.clocks.get(ROW_CLOCK, 0))


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """A deletion: its time (µs) and the row as it was, unless that has been purged.

    ``seen`` is the row's last update (µs) that the deleter knew of, where the server never had the row itself.
    """

    deleted: int
    row: Row | None
    seen: int | None = None

    @property
    def knew_until(self) -> int:
        """What was written of the row up to then (µs), the deletion knew."""
        return self.deleted if self.seen is None else self.seen


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row put or deleted, as a client wants it.

    ``base`` maps each changed field to the server's clock of it as the client knew it (for a delete: ``"*"`` to the
    row's ``updated``); None says "I made this row". A field without a base has an unknown one and counts as a
    conflict unless the values agree. A change that is ``from_checkpoint`` names no clocks in its base, and need not say
    when it was made: it is based on the row as the client had it at the checkpoint that it shows with its push.
    ``checkpoint`` is the one that the client held when it deleted the row, None where that is the push's.
    ``seq`` numbers a client's changes; those of one ``group`` are applied together or not at all.
    """

    model: str
    pk: str
    op: Literal["put", "delete"]
    fields: Mapping[str, Value] = field(default_factory=dict)
    clocks: Clocks = field(default_factory=dict)
    base: Clocks | None = None
    seq: int | None = None
    group: str | None = None
    from_checkpoint: bool = False
    checkpoint: str | None = None

    @property
    def row_key(self) -> RowKey:
        """The row that it is about."""
        return self.model, self.pk

    def as_wire(self) -> dict[str, Any]:
        """The change as an object of the protocol ("POST /push")."""
        wire: dict[str, Any] = {"seq": self.seq, "model": self.model, "pk": self.pk, "op": self.op}
        if self.op == "put":
            wire["fields"] = dict(self.fields)
        base = None if self.base is None else dict(self.base)
        wire |= {"clocks": dict(self.clocks), "base": FROM_CHECKPOINT if self.from_checkpoint else base}
        wire |= {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return wire if self.group is None else {**wire, "group": self.group}

    def clock(self, name: str) -> int:
        """When the client wrote a field (µs)."""
        return self.clocks.get(name, self.clocks.get(ROW_CLOCK, 0))


def same(a: Value, b: Value) -> bool:
    """Whether two wire values are equal as JSON: true is not 1, but 1 is 1.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def parse_change(raw: object, where: str) -> Change:
    """A change from its wire object (protocol, "POST /push"). Raises Malformed, naming ``where`` it stood.

    Only the shape is looked at. Whether model, key and values make sense is a matter of the row.
    """
    if not isinstance(raw, dict):
        raise Malformed(f"{where} is not an object")
    seq = raw.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 < seq < 2**63:
        raise Malformed(f"{where}.seq is not a positive integer")
    op = raw.get("op")
    if op not in ("put", "delete"):
        raise Malformed(f'{where}.op is neither "put" nor "delete"')
    model, pk = raw.get("model"), raw.get("pk")
    if not isinstance(model, str):
        raise Malformed(f"{where}.model is not a string")
    fields = raw.get("fields", {})
    if not isinstance(fields, dict):
        raise Malformed(f"{where}.fields is not an object")
    group = raw.get("group")
    if group is not None and not isinstance(group, str):
        raise Malformed(f"{where}.group is not a string")
    checkpoint = raw.get("checkpoint") if op == "delete" else None
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise Malformed(f"{where}.checkpoint is neither a string nor null")
    from_checkpoint, base = _parse_base(raw.get("base"), f"{where}.base")
    clocks = parse_clocks(raw.get("clocks", {} if from_checkpoint else None), f"{where}.clocks")
    if ROW_CLOCK not in clocks and not from_checkpoint:
        missing = sorted(set(fields) - set(clocks)) if op == "put" else [ROW_CLOCK]
        if missing:
            raise Malformed(f"{where}.clocks has no clock for {missing[0][:100]!a}")
    return Change(
        model=model,
        pk=pk if isinstance(pk, str) else "",
        op=op,
        fields=fields,
        clocks=clocks,
        base=base,
        seq=seq,
        group=group,
        from_checkpoint=from_checkpoint,
        checkpoint=checkpoint,
    )


def _parse_base(raw: object, where: str) -> tuple[bool, dict[str, int] | None]:
    """Whether a change's base is the checkpoint, and the clocks that it names, none where it is. Raises Malformed."""
    if raw == FROM_CHECKPOINT:
        return True, {}
    if raw is not None and not isinstance(raw, dict):
        raise Malformed(f'{where} is neither an object of clocks, "{FROM_CHECKPOINT}" nor null')
    return False, None if raw is None else parse_clocks(raw, where)


def parse_clocks(raw: object, where: str) -> dict[str, int]:
    """A mapping of field names to timestamps. Raises Malformed."""
    if not isinstance(raw, dict):
        raise Malformed(f"{where} is not an object")
    for name, timestamp in raw.items():
        if not isinstance(timestamp, int) or isinstance(timestamp, bool):
            raise Malformed(f"{where} holds something else than integers, at {name[:100]!a}")
    return raw
