"""From a snapshot's lines to changes: each recovery strategy as a pure function, and the healing of a restored server.

The strategies by_field and by_update_log, and what they must not repeat of their origin's faults, come from Realm's
guide "Manual Client Reset Data Recovery"; by_base is ours and the default.
"""

from collections.abc import Callable, Mapping

from .changes import ROW_CLOCK, Change, Row, Tombstone, same
from .snapshot import RowLine, TombstoneLine, UpdateLine

__all__ = ["DEFAULT_STRATEGY", "STRATEGIES", "Strategy", "by_base", "by_field", "heal", "tombstone_change"]

#: From a row line and the model's last synced time (µs) to the change it carries, or None if it carries nothing.
Strategy = Callable[[RowLine, int], Change | None]

DEFAULT_STRATEGY = "by_base"


def by_base(line: RowLine, last_synced: int) -> Change | None:
    """The fields with a base; whole rows with base null. No clock takes part in the choice."""
    if line.base is None:
        return _made_here(line)
    return _put(line, line.base.keys() & line.row.fields.keys())


def by_field(line: RowLine, last_synced: int) -> Change | None:
    """The fields whose clock is later than ``last_synced``; known bases travel along, so that the merge is exact."""
    if line.base is None:
        return _made_here(line)
    return _put(line, {name for name in line.row.fields if line.row.clock(name) > last_synced})


STRATEGIES: Mapping[str, Strategy] = {"by_base": by_base, "by_field": by_field}


def tombstone_change(line: TombstoneLine, *, healing: bool) -> Change | None:
    """The delete that a tombstone carries. A pulled deletion is acknowledged, and matters only when healing."""
    if line.pulled and not healing:
        return None
    base = line.at if line.pulled else line.base
    return Change(
        model=line.model,
        pk=line.pk,
        op="delete",
        clocks={ROW_CLOCK: line.at},
        base=None if base is None else {ROW_CLOCK: base},
        healing=line.pulled,
    )


def heal(line: RowLine | UpdateLine, row: Row | None, tombstone: Tombstone | None) -> Change | None:
    """What acknowledged data of a snapshot holds and a restored server has forgotten, whoever wrote it.

    Fields whose clock is newer than the server's; whole rows that it lacks. A row that is merely old in the snapshot
    (no clock newer than those of the tombstone's row) resurrects nothing (design, section 5).
    """
    if isinstance(line, UpdateLine) or line.base is None:
        return None
    reference = row if row is not None else tombstone.row if tombstone is not None else None
    acknowledged = {name for name in line.row.fields if name not in line.base}
    if reference is not None:
        forgotten = {
            name
            for name in acknowledged
            if line.row.clock(name) > reference.clock(name)
            and not (name in reference.fields and same(line.row.fields[name], reference.fields[name]))
        }
    elif tombstone is not None:
        forgotten = set(line.row.fields) if line.row.updated > tombstone.deleted else set()
    else:
        forgotten = set(line.row.fields)
    change = _put(line, forgotten)
    if change is None:
        return None
    return Change(
        model=change.model,
        pk=change.pk,
        op="put",
        fields=change.fields,
        clocks=change.clocks,
        base={},
        whole=line.row,
        healing=True,
    )


def _made_here(line: RowLine) -> Change:
    return Change(
        model=line.model,
        pk=line.pk,
        op="put",
        fields=line.row.fields,
        clocks=line.row.clocks,
        base=None,
        whole=line.row,
    )


def _put(line: RowLine, names: set[str]) -> Change | None:
    if not names:
        return None
    ordered = [name for name in line.row.fields if name in names]
    bases = line.base or {}
    return Change(
        model=line.model,
        pk=line.pk,
        op="put",
        fields={name: line.row.fields[name] for name in ordered},
        clocks={name: line.row.clock(name) for name in ordered},
        base={name: bases[name] for name in ordered if name in bases},
        whole=line.row,
    )
