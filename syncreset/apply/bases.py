"""What a change is based on that names no clocks: the row as its client had it at the checkpoint that it shows."""

from dataclasses import replace

from ..protocol.changes import ROW_CLOCK
from ..rules.instruction import Instruction
from ..wire.model import WireModel
from .context import Context
from .prepare import Prepared
from .slots import Slot, load_slots


def with_base(prepared: Prepared, slot: Slot, context: Context) -> Prepared:
    """A change from a checkpoint, with the server's clocks as its base where its client knows the row as it is.

    To be asked under the lock of the row. A put of all fields that a client can set makes a row that is not there.
    Where somebody has deleted it without the client's knowledge it is an edit of the deleted row, like any other.
    """
    change = prepared.change
    if not change.from_checkpoint:
        return prepared
    tombstone = slot.tombstone
    known = slot.known and context.shown is not None
    may_make = slot.row is None and (known or tombstone is None or tombstone.row is None)
    if may_make and change.op == "put" and _is_whole(change, prepared.model):
        anew = known and tombstone is not None
        return replace(prepared, change=replace(change, base=None, restores=anew, from_checkpoint=False))
    row = slot.row or (None if tombstone is None else tombstone.row)
    base: dict[str, int] = {}
    if row is not None and known:
        base = {name: row.clock(name) for name in change.fields if name in row.fields}
        base = {ROW_CLOCK: row.updated} if change.op == "delete" else base
    return replace(prepared, change=replace(change, base=base, from_checkpoint=False))


def with_base_now(prepared: Prepared, context: Context) -> Prepared:
    """The same for a change that is not merged: what the ledger keeps of it names clocks."""
    if not prepared.change.from_checkpoint:
        return prepared
    (slot,) = load_slots([prepared], context).values()
    return with_base(prepared, slot, context)


def _is_whole(change: Instruction, model: WireModel) -> bool:
    """Whether a put has a value for every field that a client can set."""
    return change.fields.keys() >= model.fields.keys() - model.server_computed - model.read_only
