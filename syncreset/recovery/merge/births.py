"""Numbers that a restored server gave once more: the row of such a number is not the one that a device knows by it.

A row of a key that the database gives is known by its birth as well: the clock of its creation, which never changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from django.db.models import ForeignKey, ManyToManyField

from ...ledger.item import Item
from ...protocol.changes import ROW_CLOCK, Row, RowKey
from ...protocol.errors import Malformed, Problem
from ...protocol.snapshot.lines import ChangeLine, RowLine, TombstoneLine
from ...protocol.steps import is_steps, parse_steps
from ...rules.instruction import Instruction
from ...rules.merge import Outcome
from ...rules.strategies import tombstone_change
from ...wire.model import model_labelled, wire_model
from ..job import Recovery
from .keys import SnapshotKeys
from .lines import Numbered
from .rules import Met

ANOTHER_ROW = "another_row"


def recall_strangers(recovery: Recovery, keys: SnapshotKeys) -> None:
    """Know again what a worker before found out of the lines that are merged already."""
    for item in Item.objects.filter(recovery=recovery, code=ANOTHER_ROW).iterator():
        if "field" not in item.problem:
            keys.estrange((item.change["model"], item.change["pk"]))


def with_strangers(batch: Sequence[Numbered], met: Met, keys: SnapshotKeys) -> Met:
    """Find the lines of a batch that mean another row than the server has, and note their keys."""
    strange = set()
    for item in batch:
        if item.model is None or not item.model.server_numbered:
            continue
        key = _key_of(item)
        row = None if key is None else met.rows.get(key)
        if key is not None and row is not None and _is_another(item, row):
            strange.add(item.number)
            keys.estrange(key)
    return replace(met, strange=strange)


def _key_of(item: Numbered) -> RowKey | None:
    line = item.line
    return (line.model, line.pk) if isinstance(line, RowLine | TombstoneLine | ChangeLine) else None


def _is_another(item: Numbered, row: Row) -> bool:
    """Whether the server's row was born after what the client knew of its own, or is of another birth."""
    line, birth = item.line, row.clock(ROW_CLOCK)
    if isinstance(line, RowLine):
        return line.base is not None and line.row.clocks.get(ROW_CLOCK, birth) != birth
    if isinstance(line, TombstoneLine):
        return birth > (line.at if line.base is None else line.base)
    known = line.change.base if isinstance(line, ChangeLine) else None
    return bool(known) and birth > max((known or {}).values())


def of_another_row(item: Numbered) -> tuple[Instruction, Outcome] | None:
    """What becomes of a line that means another row: its values wait for a person, its deletion has nothing to do."""
    line = item.line
    change = None
    if isinstance(line, RowLine):
        change = Instruction(
            model=line.model, pk=line.pk, op="put", fields=line.row.fields, clocks=line.row.clocks, base={}
        )
    elif isinstance(line, ChangeLine):
        change = Instruction.of(replace(line.change, group=None))
    elif isinstance(line, TombstoneLine) and not line.pulled:
        change = tombstone_change(line, healing=False)
    if change is None:
        return None
    detail = "the server was restored, and has given this number to another row since"
    made = Outcome.superseded if change.op == "delete" else Outcome.parked
    return change, made(change, Problem(code=ANOTHER_ROW, detail=detail))


def refers_to_another(change: Instruction, keys: SnapshotKeys) -> Outcome | None:
    """Parked, where a change refers to a row that is not the one which its client means by the number."""
    field = _strange_reference(change, keys)
    if field is None:
        return None
    detail = "the row that this field refers to is gone: the restored server has given its number to another"
    return Outcome.parked(change, Problem(code=ANOTHER_ROW, detail=detail, field=field))


def _strange_reference(change: Instruction, keys: SnapshotKeys) -> str | None:
    model = model_labelled(change.model)
    if model is None or change.op != "put":
        return None
    for name, value in change.fields.items():
        field = model.fields.get(name)
        if not isinstance(field, ForeignKey | ManyToManyField):
            continue
        target = wire_model(field.related_model)
        by_key = isinstance(field, ManyToManyField) or field.target_field.primary_key
        if not target.server_numbered or not by_key:
            continue
        if any(keys.is_strange((target.label, pk)) for pk in _pointed_at(value)):
            return name
    return None


def _pointed_at(value: Any) -> Iterator[str]:
    """The keys that a value of a reference or a set names, or that its steps add."""
    named = value if isinstance(value, list) else [value]
    if is_steps(value):
        try:
            named = [key for step in parse_steps(value) for key in step.amount.get("add", ())]
        except Malformed:
            # Where it is merged it is refused, and says so.
            return
    yield from (key for key in named if isinstance(key, str))
