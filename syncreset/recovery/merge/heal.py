"""What heals a restored server."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from ... import conf
from ...apply.context import Context
from ...apply.counted import histories
from ...feed.checkpoints import kept_since
from ...feed.entries import Tombstoned, bury, tombstones
from ...protocol.changes import Row, RowKey, Tombstone, same
from ...protocol.clock import now
from ...protocol.errors import Problem
from ...protocol.snapshot.lines import ChangeLine, RowLine, TombstoneLine
from ...rules.instruction import Instruction
from ...rules.merge import Decision, Outcome
from ...rules.strategies import FieldHistory, canonical, without_steps
from ...tracking.registry import EVERYONE
from ...wire.model import WireModel, wire_models
from ...wire.rows import lock_instances, stored_rows, tombstone_of
from .lines import Numbered
from .rules import Met, Rules
from .server_fields import file_fields, without_server_fields
from .steps import SortedSteps, with_steps
from .unexplained import UNEXPLAINED, asked_of


def losers(
    item: Numbered, left: SortedSteps, rules: Rules, met: Met
) -> Iterator[tuple[Instruction, Outcome]]:
    """What was acknowledged, a restored server may never have had, and loses against what it was given since.

    Only what the server itself remembers of this client's syncs proves that a value was in its history, where whoever
    wrote the later one could see it. The other values are kept in the ledger. Where a counter or a set holds something
    that no step accounts for, a person is asked, until the steps come.
    """
    line = item.line
    if not rules.healing or item.repeats or not isinstance(line, RowLine) or line.base is None:
        return
    row, model = met.rows.get((line.model, line.pk)), item.model
    if row is None or model is None:
        return
    acknowledged = without_steps(line)
    lost = []
    for name, value in acknowledged.row.fields.items():
        at, known = acknowledged.row.clock(name), row.clock(name)
        if name in (acknowledged.base or {}) or at <= rules.remembered:
            continue
        if name not in row.fields or name in model.server_computed:
            continue
        history = met.histories.get((line.model, line.pk), {}).get(name)
        if history is not None:
            asked = (line.model, line.pk, name, at) in met.asked
            history, current = with_steps(history, row.fields[name], left.counted[name])
            if not asked and not history.explains(value, at, current, pulled=rules.pulled):
                yield _lost(acknowledged, row, [name], unclear=True)
        elif same(value, row.fields[name]):
            continue
        elif at < known or (at == known and canonical(value) < canonical(row.fields[name])):
            lost.append(name)
    if lost:
        yield _lost(acknowledged, row, lost, unclear=False)


def _lost(line: RowLine, row: Row, names: list[str], *, unclear: bool) -> tuple[Instruction, Outcome]:
    change = Instruction(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={name: line.row.fields[name] for name in names},
        clocks={name: line.row.clock(name) for name in names},
        base={},
        healing=unclear,
    )
    decisions = {
        name: Decision(
            client=line.row.fields[name],
            server=row.fields[name],
            base_clock=None,
            kept="review" if unclear else "server",
            server_clock=row.clock(name),
        )
        for name in names
    }
    if not unclear:
        return change, Outcome(state="superseded", decisions=decisions)
    detail = "the restored server lacks steps that led to this value, and no device has brought them yet"
    problem = Problem(code=UNEXPLAINED, detail=detail, field=names[0])
    return change, Outcome(state="parked", problem=problem, decisions=decisions)


def by_authority(change: Instruction, model: WireModel | None) -> Iterable[Instruction]:
    """A healing change, apart from the fields that only an operator may set, unless the row is missing as a whole.

    Files never come by themselves, for a snapshot could name any: they wait for the operator.
    """
    if model is None:
        yield change
        return
    files = file_fields(model, change.fields)
    if files:
        yield replace(change, fields=files, whole=None)
    change = without_server_fields(change, model)
    read_only = model.read_only
    restricted = {name: value for name, value in change.fields.items() if name in read_only}
    free = {name: value for name, value in change.fields.items() if name not in restricted}
    if change.makes_row or not restricted or not free:
        if change.fields:
            yield change
        return
    yield replace(change, fields=free)
    yield replace(change, fields=restricted)


def server_side(batch: list[Numbered], scopes: Collection[str]) -> Met:
    """What the server has of the keys in the batch, as far as the client may see it, locked where locks exist."""
    keys: dict[WireModel, set[str]] = {}
    for item in batch:
        if item.model is not None and isinstance(item.line, RowLine | TombstoneLine | ChangeLine):
            keys.setdefault(item.model, set()).add(item.line.pk)
    rows: dict[RowKey, Row] = {}
    deleted: dict[RowKey, Tombstone] = {}
    made_of: dict[RowKey, dict[str, FieldHistory]] = {}
    for model in sorted(keys, key=wire_models().index):
        typed = model.canonical_keys(keys[model])
        lock_instances(model, typed)
        found = {pk: stored.row for pk, stored in stored_rows(model, scopes, typed).items()}
        rows |= {(model.label, pk): row for pk, row in found.items()}
        made_of |= histories(model, found)
        for pk, entry in tombstones(model.label, typed - found.keys(), scopes).items():
            deleted[model.label, pk] = tombstone_of(model, entry)
    return Met(
        rows=rows, tombstones=deleted, histories=made_of, forgotten=kept_since(), asked=asked_of(made_of)
    )


def leave_tombstones(batch: list[Numbered], met: Met, context: Context) -> Met:
    """Leave tombstones of rows that a device knows as deleted, and of which a restored server knows nothing.

    So a device that comes later with the row does not bring it back, no more than if it had come first: unless the
    deletion was pending, and has not seen what that device knows. Only of rows that its user could have deleted, as far
    as that can be told without the row.
    """
    oldest = now() - int(conf.get("RETENTION") * 1_000_000)
    buried: set[RowKey] = set()
    for item in batch:
        line, model = item.line, item.model
        if model is None or not isinstance(line, TombstoneLine) or item.repeats or line.at < oldest:
            continue
        if not model.canonical_keys([line.pk]) or not _may_delete(model, context):
            continue
        key, scope = (line.model, line.pk), _scope(model, line)
        if key in met.rows or key in met.tombstones or scope not in context.scopes or model.find(line.pk):
            continue
        seen = None if line.pulled or line.base is None else min(max(line.base, 0), now())
        if bury(Tombstoned(model=line.model, pk=line.pk, scope=scope, at=min(line.at, now()), seen=seen)):
            buried.add(key)
    return replace(met, buried=buried)


def _may_delete(model: WireModel, context: Context) -> bool:
    permitted = not conf.get("MODEL_PERMISSIONS") or context.user.has_perm(model.permission("delete"))
    return permitted and model.options.can_write is None


def _scope(model: WireModel, line: TombstoneLine) -> str:
    """The scope that a deleted row was in, "" where that is not known."""
    if model.owner is None:
        return EVERYONE
    keys = model.owner.canonical_keys([line.scope])
    return model.owner.scope_of(model.owner.key_value(keys.pop())) if keys else ""
