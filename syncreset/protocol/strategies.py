"""From a snapshot's lines to changes: each recovery strategy as a pure function, and the healing of a restored server.

All but by_base, which is ours and the default, come from Realm's guide "Manual Client Reset Data Recovery"; what its
sample gets wrong is not repeated (design, section 1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .changes import ROW_CLOCK, Change, Row, Tombstone, same
from .snapshot import RowLine, TombstoneLine

__all__ = [
    "DEFAULT_STRATEGY",
    "STRATEGIES",
    "Strategy",
    "Synced",
    "by_base",
    "by_field",
    "by_object",
    "by_update_log",
    "deletes_by_absence",
    "heal",
    "overwrite",
    "tombstone_change",
]


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What a strategy may know besides the row: the model's last synced time (µs), and the row's update log.

    ``updates`` maps the fields that the client logged to the times (µs) of their last logged write.
    """

    last_synced: int = 0
    updates: Mapping[str, int] = field(default_factory=dict)


#: From a row line to the change it carries, or None if it carries nothing.
Strategy = Callable[[RowLine, Synced], Change | None]

DEFAULT_STRATEGY = "by_base"


def by_base(line: RowLine, synced: Synced) -> Change | None:
    """The fields with a base; whole rows with base null. No clock takes part in the choice."""
    if line.base is None:
        return _made_here(line)
    return _put(line, line.base.keys() & line.row.fields.keys())


def by_field(line: RowLine, synced: Synced) -> Change | None:
    """The fields whose clock is later than last synced; known bases travel along, so that the merge is exact."""
    if line.base is None:
        return _made_here(line)
    return _put(line, {name for name in line.row.fields if line.row.clock(name) > synced.last_synced})


def by_object(line: RowLine, synced: Synced) -> Change | None:
    """Whole rows updated later than last synced, written over whatever the server has.

    Only a row with something unsynced in it overwrites: one that was merely downloaded late is merged by its clocks,
    so that it replaces nothing newer.
    """
    if line.base is None:
        return replace(_made_here(line), overrides=True)
    if line.row.updated <= synced.last_synced:
        return None
    change = _put(line, set(line.row.fields))
    return None if change is None else replace(change, overrides=bool(line.base))


def by_update_log(line: RowLine, synced: Synced) -> Change | None:
    """For each logged update later than last synced, the field's value in the backup. The log's time is its clock."""
    if line.base is None:
        return _made_here(line)
    logged = {
        name: at for name, at in synced.updates.items() if at > synced.last_synced and name in line.row.fields
    }
    change = _put(line, set(logged))
    return None if change is None else replace(change, clocks=logged)


def overwrite(line: RowLine, synced: Synced) -> Change | None:
    """Every row with every field, written over whatever the server has. Nothing is deleted."""
    if line.base is None:
        return replace(_made_here(line), overrides=True)
    change = _put(line, set(line.row.fields))
    return None if change is None else replace(change, overrides=True)


STRATEGIES: Mapping[str, Strategy] = {
    "by_base": by_base,
    "by_field": by_field,
    "by_object": by_object,
    "by_update_log": by_update_log,
    "overwrite": overwrite,
}


def deletes_by_absence(strategy: str) -> bool:
    """Whether a full snapshot without any tombstone says by absence which rows its client deleted."""
    return strategy in ("by_object", "by_field")


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


def heal(line: RowLine, row: Row | None, tombstone: Tombstone | None) -> Change | None:
    """What acknowledged data of a snapshot holds and a restored server has forgotten, whoever wrote it.

    Fields whose clock is newer than the server's; whole rows that it lacks. A row that is merely old in the snapshot
    (no clock newer than those of the tombstone's row) resurrects nothing (design, section 5).
    """
    if line.base is None:
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
    return None if change is None else replace(change, base={}, healing=True)


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
