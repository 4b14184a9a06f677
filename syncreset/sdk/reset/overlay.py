"""What several backups of one replica hold of the same row, laid over one another so that nothing of any is lost."""

from dataclasses import replace

from ...protocol.changes import ROW_CLOCK, Change, Row, Value, same
from ...protocol.snapshot.lines import FieldSteps, RowLine, TombstoneLine
from ...protocol.steps import add_step, steps_value, take_steps_back
from ..store.marks import UNKNOWN


def overlay(
    older: RowLine | TombstoneLine, newer: RowLine | TombstoneLine, *, restored: bool = False
) -> RowLine | TombstoneLine:
    """One line that loses nothing of two that backups of one replica hold of the same row.

    Fields changed in the newer store win over those changed in the older; both over acknowledged data, of which the
    newest clock wins. A field's base is the oldest known. Steps of counters and sets add up, on top of the newest
    acknowledged value. An unsynced edit outlives a deletion, and a deletion outlives acknowledged data that is not
    newer than it.

    ``restored``: the older store is of a history that was lost, and the newer one was filled by the restored server.
    What that has it has already, whatever the clocks say: what the older one acknowledged is all that there is to tell.
    """
    if isinstance(older, RowLine) and isinstance(newer, RowLine):
        return _overlay_rows(older, newer, restored=restored)
    if isinstance(older, TombstoneLine) and isinstance(newer, TombstoneLine):
        return older if newer.pulled and not older.pulled else newer
    row, tombstone = (older, newer) if isinstance(older, RowLine) else (newer, older)
    if not isinstance(row, RowLine) or not isinstance(tombstone, TombstoneLine):
        raise TypeError("a line is a row or a tombstone")
    if row.base is None or row.base or (restored and row is older and tombstone.pulled):
        return row
    if tombstone.pulled:
        return row if row.row.updated > tombstone.at else tombstone
    return tombstone


def replaced_by(older: RowLine, newer: RowLine) -> Change | None:
    """What is unsynced in the older store and written over in the newer one, by whoever may not have known it.

    It is to be told, not to be written. Steps are left out where both have some, for they add up.
    """
    fields: dict[str, Value] = {}
    for name, value in older.row.fields.items():
        lost = _base_of(older, name) is not None and _base_of(newer, name) is not None
        if not lost or same(value, newer.row.fields[name]):
            continue
        made = older.steps.get(name)
        if made is None or not made.steps:
            fields[name] = value
        elif older.base is not None and newer.base is None:
            fields[name] = steps_value(made.steps)
    if not fields:
        return None
    return Change(
        model=older.model,
        pk=older.pk,
        op="put",
        fields=fields,
        clocks={name: older.row.clock(name) for name in fields},
        base=None
        if older.base is None
        else {name: older.base[name] for name in fields if older.base[name] != UNKNOWN},
    )


def lost_beneath(older: RowLine | TombstoneLine, newer: RowLine) -> Change | None:
    """What the newer store, of a history that was lost, had pulled above the base of what is unsynced in the older one.

    Unsynced edits and deletions go before it, and the restored server cannot compare them: it is to be told.
    """
    fields = {}
    for name, value in newer.row.fields.items():
        base = _base_beneath(older, name)
        above = base is not None and newer.row.clock(name) > base and _base_of(newer, name) is None
        if above and not (isinstance(older, RowLine) and same(value, older.row.fields[name])):
            fields[name] = value
    if not fields:
        return None
    clocks = {name: newer.row.clock(name) for name in fields}
    return Change(model=newer.model, pk=newer.pk, op="put", fields=fields, clocks=clocks, base=clocks)


def _base_beneath(older: RowLine | TombstoneLine, name: str) -> int | None:
    """What an unsynced edit of a field, or a deletion, is based on; None where there is none. Steps add up instead."""
    if isinstance(older, TombstoneLine):
        return None if older.pulled else older.base
    return None if older.base is None or name in older.steps else _base_of(older, name)


def _overlay_rows(older: RowLine, newer: RowLine, *, restored: bool) -> RowLine:
    if newer.base is None:
        return _made_again(older, newer)
    names = list(dict.fromkeys([*newer.row.fields, *older.row.fields]))
    fields, clocks, base = {}, {}, {}
    steps: dict[str, FieldSteps] = {}
    counted = _on_a_row_of_the_server(older) if older.base is None else older
    for name in names:
        summed = _summed(counted, newer, name)
        if summed is not None:
            steps[name] = summed
        if name in newer.row.fields and summed is not None and _steps_alone(counted, newer, name):
            fields[name], base[name] = _acknowledged(counted, newer, name, restored=restored)
            if summed.total is not None:
                fields[name] = add_step(fields[name], summed.total)
            clocks[name] = max(line.row.clock(name) for line in (counted, newer) if name in line.steps)
            continue
        source = _source(older, newer, name, restored=restored)
        fields[name] = source.row.fields[name]
        clocks[name] = source.row.clock(name)
        bases = [known for line in (older, newer) if (known := _base_of(line, name)) is not None]
        if bases and not (older.base is None and source is newer and _base_of(newer, name) is None):
            base[name] = min(bases)
        if name in steps:
            steps[name] = FieldSteps(counted=steps[name].counted)
    created = min(older.row.clocks.get(ROW_CLOCK, 0), newer.row.clocks.get(ROW_CLOCK, 0)) or max(
        older.row.clocks.get(ROW_CLOCK, 0), newer.row.clocks.get(ROW_CLOCK, 0)
    )
    return RowLine(
        model=newer.model,
        pk=newer.pk,
        row=Row(
            fields=fields,
            updated=max(older.row.updated, newer.row.updated),
            clocks={ROW_CLOCK: created} | clocks,
        ),
        base=base,
        steps=steps,
    )


def _made_again(older: RowLine, newer: RowLine) -> RowLine:
    """A row that both stores have made, or that the older one had and the newer one made anew under the same key."""
    if older.base is not None:
        return newer
    fields, steps = dict(newer.row.fields), dict(newer.steps)
    for name, made in older.steps.items():
        summed = _summed(older, newer, name)
        if summed is None or name not in fields:
            continue
        steps[name] = summed
        if made.total is not None:
            fields[name] = add_step(fields[name], made.total)
    return replace(newer, row=replace(newer.row, fields=fields), steps=steps)


def _on_a_row_of_the_server(made: RowLine) -> RowLine:
    """A row that the older store made, where the newer one has a row of this key from the server.

    It may be the same, or somebody else's. Its steps count where they have not; its values are of unknown bases.
    """
    return replace(made, base=dict.fromkeys(made.row.fields, UNKNOWN))


def _steps_alone(older: RowLine, newer: RowLine, name: str) -> bool:
    """Whether all that is unsynced of a field, in the one or the other, are steps."""
    lines = [line for line in (older, newer) if line.base is not None and name in line.base]
    return bool(lines) and all(name in line.steps and line.steps[name].steps for line in lines)


def _summed(older: RowLine, newer: RowLine, name: str) -> FieldSteps | None:
    """The steps of both, each once: what one store has from an answer the other may have yet to be told."""
    first, second = older.steps.get(name), newer.steps.get(name)
    if first is None or second is None:
        return first or second
    counted = {step.id: step for step in (*first.counted, *second.counted)}
    steps = {step.id: step for step in (*first.steps, *second.steps) if step.id not in counted}
    return FieldSteps(steps=tuple(steps.values()), counted=tuple(counted.values()))


def _acknowledged(older: RowLine, newer: RowLine, name: str, *, restored: bool) -> tuple[Value, int]:
    """The newest value of a field that the server is known to have had, and its clock."""
    known = []
    for line in (older, newer):
        if line.base is None or name not in line.row.fields:
            continue
        value, made = line.row.fields[name], line.steps.get(name)
        if made is None or not made.steps:
            known.append((line.row.clock(name), value))
        else:
            known.append((line.base[name], take_steps_back(value, made.steps)))
    if restored and older.base is not None and older.base.get(name) != UNKNOWN:
        clock, value = known[0]
    else:
        clock, value = max(reversed(known), key=lambda pair: pair[0])
    return value, clock


def _base_of(line: RowLine, name: str) -> int | None:
    """The base of a locally changed field, None where the field has no unsynced change."""
    if name not in line.row.fields:
        return None
    if line.base is None:
        return UNKNOWN
    return line.base.get(name)


def _source(older: RowLine, newer: RowLine, name: str, *, restored: bool) -> RowLine:
    if name not in older.row.fields:
        return newer
    if name not in newer.row.fields:
        return older
    if _base_of(newer, name) is not None:
        return newer
    if older.base is None:
        # The row of this key that the server has may be somebody else's: which value stands is the server's to decide.
        return newer if same(older.row.fields[name], newer.row.fields[name]) else older
    if _base_of(older, name) is not None:
        return older
    return older if restored or older.row.clock(name) > newer.row.clock(name) else newer
