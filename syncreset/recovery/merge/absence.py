"""Deletions that a full snapshot tells by absence."""

from collections.abc import Collection, Container, Iterator, Mapping

from ...feed.entries import unseen
from ...protocol.changes import ROW_CLOCK, Row, RowKey
from ...protocol.errors import Problem
from ...rules.instruction import Instruction
from ...rules.merge import Decision, Outcome
from ...rules.strategies import deletes_by_absence
from ...wire.model import WireModel, wire_models
from ...wire.rows import pages_of_rows
from .rules import Rules


def absent_rows(
    rules: Rules, scopes: Collection[str], present: Container[RowKey], checkpoint: int, at: int
) -> Iterator[tuple[Instruction, Outcome | None]]:
    """The deletions that a full snapshot without tombstones tells by absence, children first.

    ``checkpoint`` is the number of the client's, ``at`` its time (µs). What has not been touched since, the client
    held as it is. A row that was touched since, and may have been held before, is never deleted by mere absence: that
    is decided here. Clocks alone do not say what was held, for a device may push late what it did early.
    """
    for model in reversed(wire_models()):
        label = model.label
        if not deletes_by_absence(rules.strategy_of(model)):
            continue
        for page in pages_of_rows(model, scopes):
            absent = {stored.pk: stored.row for stored in page if (label, stored.pk) not in present}
            touched = set(unseen(label, absent.keys(), checkpoint))
            for pk, row in absent.items():
                base = {ROW_CLOCK: min(at, row.updated) if pk in touched else row.updated}
                change = Instruction(model=label, pk=pk, op="delete", clocks={ROW_CLOCK: at}, base=base)
                if pk not in touched:
                    yield change, None
                elif row.clocks.get(ROW_CLOCK, 0) <= at:
                    yield change, _touched_since(model, row, base)


def _touched_since(model: WireModel, row: Row, base: Mapping[str, int]) -> Outcome:
    asks = model.options.on_delete == "review"
    decision = Decision(
        client=None,
        server=row.updated,
        base_clock=base[ROW_CLOCK],
        kept="review" if asks else "server",
        server_clock=row.updated,
    )
    problem = Problem(
        code="changed_since", detail="the row was written after this client last pulled, so it is kept"
    )
    return Outcome(state="parked" if asks else "superseded", problem=problem, decisions={ROW_CLOCK: decision})
