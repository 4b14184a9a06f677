"""From the lines of a snapshot to the changes that a recovery merges: the strategy's, and what heals the server."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from .codec import ValueFault, decode_key, is_server_computed
from .feed import tombstones
from .protocol import (
    STRATEGIES,
    Change,
    Line,
    MalformedLine,
    Outcome,
    Problem,
    Row,
    RowLine,
    Tombstone,
    TombstoneLine,
    heal,
    tombstone_change,
)
from .rows import stored_rows, tombstone_of
from .tracking.registry import options_for, synced_fields, tracked_by_label

__all__ = ["Derived", "Numbered", "Rules", "derive"]


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A line of a snapshot with its place (the first one after the header is 1). ``repeats``: its key came before."""

    number: int
    line: Line
    repeats: bool


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How lines become changes. ``purged``: the client is older than the purge horizon, so absence proves nothing."""

    strategy: str
    last_synced: Mapping[str, int]
    healing: bool
    purged: bool


@dataclass(frozen=True, kw_only=True)
class Derived:
    """One change of a line, the ``part``-th. ``outcome`` is set where it is decided without merging."""

    number: int
    part: int
    change: Change
    outcome: Outcome | None = None


def derive(lines: Iterable[Numbered], rules: Rules, scopes: Collection[str]) -> list[Derived]:
    """The changes that the lines carry, in order. A line in which nothing is unsynced carries none."""
    batch = list(lines)
    rows, buried = _server_side(batch, scopes) if rules.healing else ({}, {})
    derived: list[Derived] = []
    for item in batch:
        line = item.line
        if isinstance(line, MalformedLine):
            derived.append(
                _refused(item, Change(model="", pk="", op="put", fields={"line": line.text}), line.reason)
            )
            continue
        changes = list(_changes(line, rules, rows, buried))
        for part, change in enumerate(changes):
            if item.repeats:
                derived.append(
                    _refused(item, change, "a line before has the same key", "duplicate_row", part)
                )
            elif (
                rules.purged
                and change.healing
                and (line.model, line.pk) not in rows | buried
                and change.op == "put"
            ):
                derived.append(_parked(item, change, part))
            else:
                derived.append(Derived(number=item.number, part=part, change=change))
    return derived


def _changes(
    line: Line,
    rules: Rules,
    rows: Mapping[tuple[str, str], Row],
    buried: Mapping[tuple[str, str], Tombstone],
) -> Iterable[Change]:
    if isinstance(line, TombstoneLine):
        change = tombstone_change(line, healing=rules.healing)
        if change is not None and not (line.pulled and (line.model, line.pk) not in rows):
            yield change
    elif isinstance(line, RowLine):
        if rules.healing:
            key = (line.model, line.pk)
            healed = heal(line, rows.get(key), buried.get(key))
            if healed is not None:
                yield from _by_authority(healed)
        change = STRATEGIES[rules.strategy](line, rules.last_synced.get(line.model, 0))
        if change is not None:
            yield _without_server_fields(change)


def _by_authority(change: Change) -> Iterable[Change]:
    """A healing change, apart from the fields that only an operator may set, unless the row is missing as a whole."""
    model = tracked_by_label(change.model)
    if model is None:
        yield change
        return
    change = _without_server_fields(change)
    read_only = options_for(model).read_only
    restricted = {name: value for name, value in change.fields.items() if name in read_only}
    free = {name: value for name, value in change.fields.items() if name not in restricted}
    whole_row = change.whole is not None and len(change.fields) >= len(change.whole.fields)
    if whole_row or not restricted or not free:
        if change.fields:
            yield change
        return
    yield replace(change, fields=free)
    yield replace(change, fields=restricted)


def _without_server_fields(change: Change) -> Change:
    """Without what the server computes itself: generated columns, ``auto_now`` fields, files."""
    model = tracked_by_label(change.model)
    if model is None:
        return change
    computed = {field.name for field in synced_fields(model) if is_server_computed(field)}
    whole = change.whole
    if whole is not None:
        whole = replace(
            whole, fields={name: value for name, value in whole.fields.items() if name not in computed}
        )
    return replace(
        change,
        fields={name: value for name, value in change.fields.items() if name not in computed},
        whole=whole,
    )


def _server_side(
    batch: list[Numbered], scopes: Collection[str]
) -> tuple[dict[tuple[str, str], Row], dict[tuple[str, str], Tombstone]]:
    """The rows and tombstones that the server has of the keys in the batch, as far as the client may see them."""
    keys: dict[str, set[str]] = {}
    for item in batch:
        if isinstance(item.line, RowLine | TombstoneLine):
            keys.setdefault(item.line.model, set()).add(item.line.pk)
    rows: dict[tuple[str, str], Row] = {}
    buried: dict[tuple[str, str], Tombstone] = {}
    for label, pks in keys.items():
        model = tracked_by_label(label)
        if model is None:
            continue
        typed = {pk for pk in pks if _is_key(model, pk)}
        found = stored_rows(model, scopes, typed)
        rows |= {(label, pk): stored.row for pk, stored in found.items()}
        for pk, entry in tombstones(label, typed - found.keys(), scopes).items():
            buried[label, pk] = tombstone_of(model, entry)
    return rows, buried


def _is_key(model: type, pk: str) -> bool:
    try:
        decode_key(model._meta.pk, pk)  # type: ignore[attr-defined]
    except ValueFault:
        return False
    return True


def _refused(
    item: Numbered, change: Change, detail: str, code: str = "malformed_line", part: int = 0
) -> Derived:
    outcome = Outcome(state="rejected", problem=Problem(code=code, detail=detail))
    return Derived(number=item.number, part=part, change=change, outcome=outcome)


def _parked(item: Numbered, change: Change, part: int) -> Derived:
    problem = Problem(
        code="purged",
        detail="the server lacks this row and may have purged its deletion since the client last synced",
    )
    outcome = Outcome(state="parked", problem=problem)
    return Derived(number=item.number, part=part, change=change, outcome=outcome)
