"""The rows of a batch while changes are merged into them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from ..feed.entries import EntryKind, Knowledge, known_at, tombstones
from ..protocol.changes import Row, RowKey, Tombstone
from ..protocol.errors import Problem
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..wire.clocks import clocks_in_entries
from ..wire.model import WireModel, wire_models
from ..wire.rows import lock_instances, row_of, tombstone_of
from ..wire.sets import elements_of, living
from .cascades import Cascaded
from .context import Context
from .prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A change and what became of it: the row before it, and the server's row after it where the client may see it.

    ``cascaded`` are the rows that a delete changed beside its own.
    """

    change: Instruction
    outcome: Outcome
    before: Row | None = None
    after: Row | None = None
    cascaded: tuple[Cascaded, ...] = ()
    notes: tuple[Problem, ...] = ()


@dataclass(kw_only=True)
class Slot:
    """One row while a batch is merged into it.

    ``stored`` is the row as the database has it and ``row`` what it has become, both None where there is none, or none
    that the user may see (``hidden``). ``touched`` are the fields that differ. ``known`` says that the client of the
    changes knows the row as it is stored, or that it is not there: nobody else has touched it since its checkpoint.
    """

    model: WireModel
    instance: Any = None
    stored: Row | None = None
    row: Row | None = None
    tombstone: Tombstone | None = None
    hidden: bool = False
    known: bool = False
    touched: set[str] = field(default_factory=set)

    @property
    def held(self) -> Row | None:
        """The row as the database has it, or as its tombstone keeps it."""
        return self.stored or (None if self.tombstone is None else self.tombstone.row)

    def take(self, outcome: Outcome) -> None:
        """Let the row become what a change makes of it."""
        if outcome.deletes:
            self.row = None
            self.tombstone = None
        elif outcome.row is not None:
            if self.row is not None:
                known = self.row
                self.touched |= {
                    name for name in outcome.row.fields if outcome.row.clock(name) != known.clock(name)
                }
            self.row = outcome.row


def load_slots(batch: list[Prepared], context: Context) -> dict[RowKey, Slot]:
    """The rows of a batch, locked where locks exist, parents first."""
    slots: dict[RowKey, Slot] = {}
    by_model: dict[WireModel, set[str]] = {}
    for prepared in batch:
        by_model.setdefault(prepared.model, set()).add(prepared.change.pk)
    for model in sorted(by_model, key=wire_models().index):
        pks = by_model[model]
        instances = lock_instances(model, pks)
        clocks = clocks_in_entries(model, instances.keys())
        elements = elements_of(model, [instance.pk for instance in instances.values()])
        found = tombstones(model.label, pks - instances.keys(), context.scopes)
        known = _known(model, pks, instances.keys(), context)
        for pk in pks:
            slot = Slot(model=model, instance=instances.get(pk), known=pk in known)
            if slot.instance is not None:
                stored = row_of(slot.instance, clocks.get(pk), elements.get(pk, {}))
                slot.hidden = not context.operator and stored.scope not in context.scopes
                slot.stored = slot.row = None if slot.hidden else stored.row
            elif pk in found:
                slot.tombstone = _with_living_sets(model, tombstone_of(model, found[pk]))
            slots[model.label, pk] = slot
    return slots


def _known(model: WireModel, pks: Collection[str], present: Collection[str], context: Context) -> set[str]:
    """The keys of the locked rows that the client knows as they are, or knows to be absent."""
    seen = context.seen
    if seen is None or not context.of_client:
        return set()
    absent = set(pks).difference(present)
    rows = known_at(seen, context.signer, model.label, present, context.scopes, EntryKind.ROW)
    gone = known_at(seen, context.signer, model.label, absent, context.scopes, EntryKind.DELETED)
    known = dict.fromkeys(absent, Knowledge.SEEN) | rows | gone
    return {pk for pk, knowledge in known.items() if knowledge}


def _with_living_sets(model: WireModel, tombstone: Tombstone) -> Tombstone:
    """The tombstone less the elements deleted since: they must not keep the row itself from coming back."""
    if tombstone.row is None:
        return tombstone
    held = tombstone.row.fields
    sets = {name: living(many, held[name]) for name, many in model.sets.items() if held[name]}
    return replace(tombstone, row=replace(tombstone.row, fields={**held, **sets}))
