"""What the backups hold, written as one snapshot."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from pathlib import Path
from typing import BinaryIO

from ...protocol.changes import ROW_CLOCK, Change, Row
from ...protocol.clock import now
from ...protocol.snapshot.lines import (
    DEFAULT_STRATEGY,
    ChangeLine,
    Counts,
    FieldSteps,
    Header,
    Line,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from ...protocol.snapshot.write import write_snapshot
from ..store.faults import loaded
from ..store.marks import UNKNOWN, Marks
from ..store.schema import ModelSchema
from ..store.steps import open_step, steps_of
from ..store.store import Store
from ..store.values import step_between
from ..sync.outbox import PROVEN, may_be_null, refused_changes
from . import files
from .entries import Record, ResetPlan, SnapshotFile
from .journal import Journal
from .overlay import lost_beneath, overlay, replaced_by


@dataclass
class _Digesting:
    target: BinaryIO
    size: int = 0

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        self.target.write(data)


def write_snapshot_file(
    journal: Journal,
    plan: ResetPlan,
    sources: Sequence[tuple[Record, Path]],
    strategy: str | None,
    device_time: int,
) -> SnapshotFile:
    """Write what all unrecovered backups hold into one file beside the newest of them.

    ``sources`` are the backups, the oldest first, with the files to read them from. ``device_time`` (µs) is on the
    clock that the stores' times are on.
    """
    held = [record for record, _ in sources]
    names = tuple(record.name for record in held)
    target = journal.path(plan.backup + ".snapshot")
    with ExitStack() as opened:
        stores = [opened.enter_context(closing(Store(path, read_only=True))) for _, path in sources]
        full = plan.full or any(record.full for record in held) or strategy in ("by_object", "overwrite")
        header = header_of(
            stores,
            reset=plan.reset,
            strategy=strategy,
            full=full,
            damaged=any(record.damaged is not None for record in held),
            created=plan.noted,
            client_time=device_time,
        )
        draft = opened.enter_context(files.draft_of(target))
        with draft.open("wb") as content:
            digesting = _Digesting(content)
            left_out = LeftOut()
            diverged = {store for store, record in zip(stores, held, strict=True) if record.full}
            counts: Counts = write_snapshot(
                digesting, header, lines_of_stores(stores, left_out, full=full, diverged=diverged)
            )
        files.move(draft, target)
    return SnapshotFile(
        name=target.name,
        sha256=digesting.digest.hexdigest(),
        size=digesting.size,
        rows=counts.rows,
        tombstones=counts.tombstones,
        covers=names,
        written=now(),
        outlived=tuple(left_out.outlived),
    )


def header_of(
    stores: list[Store],
    *,
    reset: str,
    strategy: str | None,
    full: bool,
    created: int,
    client_time: int,
    damaged: bool = False,
) -> Header:
    """The first line of a snapshot of several stores of one replica, the newest last. Times in µs.

    One of ``damaged`` stores is not full: what is missing because it cannot be read was not deleted.
    """
    newest = stores[-1]
    synced = [store.get("synced_at") for store in stores if store.get("synced_at") is not None]
    return Header(
        client=str(newest.get("client")),
        reset=reset,
        schema=newest.schema.hash,
        checkpoint=_checkpoint(stores),
        strategy=strategy or DEFAULT_STRATEGY,
        last_synced=dict.fromkeys(newest.schema.models, min(synced, default=0)),
        full=full and not damaged,
        damaged=damaged,
        created=created,
        client_time=client_time,
    )


def _checkpoint(stores: Iterable[Store]) -> str | None:
    """The newest checkpoint that one of the stores completed."""
    found: str | None = None
    for store in stores:
        found = store.get("checkpoint") or found
    return found


@dataclass(kw_only=True)
class LeftOut:
    """What the rows of several stores laid over one another do not say.

    ``outlived`` are deletions in a store after one with unsynced edits of the row; ``replaced`` are unsynced values
    that a newer store has written over, and values of a lost history that unsynced ones go before.
    """

    outlived: list[tuple[str, str]] = attribute(default_factory=list)
    replaced: list[Change] = attribute(default_factory=list)


def lines_of_stores(
    stores: list[Store],
    left_out: LeftOut,
    *,
    full: bool,
    diverged: Collection[Store] = (),
) -> Iterator[Line]:
    """The lines of a snapshot of several stores of one replica; without ``full``, of what is unsynced alone.

    ``diverged`` are the stores of histories that the server has lost. Rows parents first, then the log of
    their unsynced fields, then deletions children first.
    """
    models: dict[str, ModelSchema] = {}
    for store in reversed(stores):
        models |= {name: model for name, model in store.schema.models.items() if name not in models}
    tombstones: list[TombstoneLine] = []
    updates: list[UpdateLine] = []
    for name in models:
        lines = merged(stores, name, left_out, diverged)
        for pk in sorted(lines):
            line = lines[pk]
            if isinstance(line, TombstoneLine):
                if full or not line.pulled:
                    tombstones.append(line)
            elif full or line.base is None or line.base:
                yield line
                updates += [
                    UpdateLine(model=name, pk=pk, field=changed, at=line.row.clock(changed))
                    for changed in line.base or {}
                ]
    yield from updates
    refused = {change.seq: change for store in stores for change in refused_changes(store)}
    yield from (ChangeLine(change=change) for change in refused.values())
    for number, change in enumerate(left_out.replaced, start=1):
        yield ChangeLine(change=replace(change, seq=number), replaced=True)
    order = {name: place for place, name in enumerate(models)}
    tombstones.sort(key=lambda line: (-order[line.model], line.pk))
    yield from tombstones


def merged(
    stores: list[Store],
    model: str,
    left_out: LeftOut,
    diverged: Collection[Store] = (),
) -> dict[str, RowLine | TombstoneLine]:
    """What the backups together say of a model's rows, by primary key; the oldest store first.

    What they leave out is added to ``left_out``.
    """
    result: dict[str, RowLine | TombstoneLine] = {}
    for place, store in enumerate(stores):
        restored = store not in diverged and any(older in diverged for older in stores[:place])
        for line in lines_of(store, model):
            before = result.get(line.pk)
            result[line.pk] = line if before is None else overlay(before, line, restored=restored)
            if isinstance(line, TombstoneLine) and not line.pulled and result[line.pk] is not line:
                left_out.outlived.append((model, line.pk))
            if isinstance(line, RowLine) and before is not None:
                kept = store not in diverged or result[line.pk] is line
                lost = None if kept else lost_beneath(before, line)
                over = replaced_by(before, line) if isinstance(before, RowLine) else None
                left_out.replaced += [told for told in (over, lost) if told is not None]
    return result


def lines_of(store: Store, name: str) -> Iterator[RowLine | TombstoneLine]:
    """The rows and deletions of one model in one store, as lines of a snapshot."""
    model = store.schema.models.get(name)
    if model is None:
        return
    for pk, fields in store.rows(model):
        marks = store.marks(name, pk) or Marks(base=None)
        held = {
            field: value
            for field, value in fields.items()
            if value is not None or _says_something(model, field, marks)
        }
        yield _row_line(store, model, pk, held, marks)
    for pulled in (True, False):
        for label, pk, deletion in store.deletions(pulled=pulled):
            if label == name:
                base = (
                    deletion.base if pulled or deletion.base is not None else _base_in_flight(store, name, pk)
                )
                yield TombstoneLine(
                    model=name,
                    pk=pk,
                    at=deletion.at,
                    base=base,
                    pulled=pulled,
                    scope=deletion.scope,
                    checkpoint=deletion.checkpoint,
                )


def _says_something(model: ModelSchema, field: str, marks: Marks) -> bool:
    """Whether a null is a value. Not where the field has none yet: it came with a schema since the row was pulled.

    A document may be JSON's null in a field that may not be SQL's, and what a server computes may be null anyway.
    """
    if marks.base is None:
        return may_be_null(model, field)
    kind = model.fields[field]
    return kind.null or kind.read_only or kind.type == "JSON" or field in marks.base


def _base_in_flight(store: Store, model: str, pk: str) -> int | None:
    """For a row that was deleted before its creation was answered: the time it was sent with."""
    found = store.connection.execute(
        "SELECT body FROM _syncreset_outbox WHERE model = ? AND pk = ? AND acked <> ? ORDER BY seq DESC",
        (model, pk, PROVEN),
    ).fetchone()
    return None if found is None else max(loaded(found[0])["clocks"].values())


def _row_line(
    store: Store, model: ModelSchema, pk: str, fields: Mapping[str, object], marks: Marks
) -> RowLine:
    if marks.base is None:
        clocks = dict(marks.local) or {ROW_CLOCK: marks.updated}
        row = Row(fields=dict(fields), updated=max([marks.updated, *clocks.values()]), clocks=clocks)
        steps = _steps(store, model, pk, fields, marks, {}) if model.stepped else {}
        return RowLine(model=model.name, pk=pk, row=row, base=None, steps=steps)
    base = {name: known for name, known in marks.base.items() if name in fields}
    clocks = marks.clocks | {name: marks.written(name) for name in base}
    steps = _steps(store, model, pk, fields, marks, base) if model.stepped else {}
    updated = max([marks.updated, *(clocks[name] for name in base if name in clocks)])
    row = Row(fields=dict(fields), updated=updated, clocks=clocks)
    return RowLine(model=model.name, pk=pk, row=row, base=base, steps=steps)


def _steps(
    store: Store,
    model: ModelSchema,
    pk: str,
    fields: Mapping[str, object],
    marks: Marks,
    base: dict[str, int],
) -> dict[str, FieldSteps]:
    """The steps of counters and sets: those that no pulled value holds, and those that one does.

    What was answered and not pulled is unsynced still, on the base that it had: a server restored since knows nothing
    of it.
    """
    sealed = steps_of(store, model.name, pk)
    found: dict[str, FieldSteps] = {}
    for field in model.stepped:
        name = field.name
        own = [each for each in sealed if each.field == name]
        made = [each.step for each in own if not each.pulled]
        begun = open_step(field, marks, fields.get(name))
        counted = tuple(each.step for each in own if each.pulled and each.step.at is not None)
        made += [] if begun is None else [begun]
        if made and step_between(field.stepping, None, fields.get(name)) is None:
            made = []
        if marks.base is not None and made:
            sent = [each.base for each in own if not each.pulled and each.seq is not None]
            base[name] = (UNKNOWN if sent[0] is None else sent[0]) if sent else base.get(name, UNKNOWN)
        if name in fields and (made or counted):
            found[name] = FieldSteps(steps=tuple(made), counted=counted)
    return found
