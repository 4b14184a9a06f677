"""From the lines of a snapshot to the changes that a recovery merges: the strategy's, and what heals the server."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from django.db.models import FileField, Model
from django.utils.module_loading import import_string

from . import conf
from .codec import is_key, is_server_computed
from .counted import CODE, Counted, Reckoned, reckon
from .feed import tombstones, unseen
from .protocol import (
    BY_VALUE,
    ROW_CLOCK,
    STRATEGIES,
    Change,
    Decision,
    Line,
    MalformedLine,
    Outcome,
    Problem,
    Row,
    RowLine,
    Strategy,
    Synced,
    Tombstone,
    TombstoneLine,
    UpdateLine,
    Value,
    by_base,
    by_field,
    deletes_by_absence,
    heal,
    same,
    tombstone_change,
)
from .rows import pages_of_rows, stored_rows, tombstone_of
from .tracking.registry import dependency_order, options_for, synced_fields, tracked_by_label
from .upcasting import Left

__all__ = ["Derived", "Numbered", "Rules", "UpdateLog", "absent_rows", "derive", "resolve_strategy"]


#: The rows and the tombstones that a restored server has.
Met = tuple[dict[tuple[str, str], Row], dict[tuple[str, str], Tombstone]]


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A line of a snapshot with its place (the first one after the header is 1). ``repeats``: its key came before.

    The line is in terms of the current schema; ``left`` is what of it could not be carried over to it, which may be
    all (``line`` None).
    """

    number: int
    line: Line | None
    repeats: bool
    left: tuple[Left, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UpdateLog:
    """The update lines of a snapshot by row: the last logged time (µs) of each field; and which rows it holds."""

    fields: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    held: Collection[tuple[str, str]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How lines become changes. ``purged``: the client is older than the purge horizon, so absence proves nothing.

    ``strategy`` is the snapshot's; that of a model's ``SyncMeta`` or of the settings goes before it, unless a person
    has chosen (``strategy_chosen``). ``counted`` is what of the lines' steps must not be added again.
    """

    strategy: str
    last_synced: Mapping[str, int]
    healing: bool
    purged: bool
    strategy_chosen: bool = False
    updates: UpdateLog = UpdateLog()
    counted: Counted = field(default_factory=Counted)

    def strategy_of(self, model: str) -> str:
        """The name of the strategy for rows of a model."""
        if self.strategy_chosen:
            return self.strategy
        tracked = tracked_by_label(model)
        own = None if tracked is None else options_for(tracked).recovery
        return str(own or conf.get("STRATEGY") or self.strategy)


@dataclass(frozen=True, kw_only=True)
class Derived:
    """One change of a line, the ``part``-th. ``outcome`` is set where it is decided without merging."""

    number: int
    part: int
    change: Change
    outcome: Outcome | None = None


def derive(
    lines: Iterable[Numbered], rules: Rules, scopes: Collection[str], *, as_met: Callable[[Met], Met]
) -> list[Derived]:
    """The changes that the lines carry, in order. A line in which nothing is unsynced carries none.

    ``as_met`` may put in the place of what a restored server has what there was before a recovery that was undone.
    """
    batch = list(lines)
    rows, buried = as_met(_server_side(batch, scopes)) if rules.healing else ({}, {})
    derived: list[Derived] = []
    for item in batch:
        line = item.line
        if isinstance(line, MalformedLine):
            derived.append(
                _refused(item, Change(model="", pk="", op="put", fields={"line": line.text}), line.reason)
            )
            continue
        if isinstance(line, UpdateLine):
            orphan = _orphaned(item, line, rules)
            derived += [] if orphan is None else [orphan]
            continue
        reckoned = _reckoned(item, rules, rows)
        changes = [] if line is None else list(_changes(line, reckoned, rules, rows, buried))
        for part, change in enumerate(changes):
            if item.repeats:
                derived.append(
                    _refused(item, change, "a line before has the same key", "duplicate_row", part)
                )
            elif (
                rules.purged
                and change.healing
                and (change.model, change.pk) not in rows | buried
                and change.op == "put"
            ):
                derived.append(_parked(item, change, part))
            else:
                derived.append(Derived(number=item.number, part=part, change=change))
        decided = () if reckoned is None or item.repeats else reckoned.decided
        decided = (*decided, *_unclear_counts(item, rules, rows))
        derived += [
            Derived(number=item.number, part=part, change=change, outcome=outcome)
            for part, (change, outcome) in enumerate(decided, start=len(changes))
        ]
        derived.extend(_left_behind(item, rules, len(changes) + len(decided)))
    return derived


def _unclear_counts(
    item: Numbered, rules: Rules, rows: Mapping[tuple[str, str], Row]
) -> Iterator[tuple[Change, Outcome]]:
    """Acknowledged counts that a restored server may have forgotten, although its counter was written later.

    Whoever wrote it may have known them, or not: only what the server itself remembers of this client's syncs proves
    that they are in its history.
    """
    line = item.line
    if not rules.healing or item.repeats or not isinstance(line, RowLine) or line.base is None:
        return
    row, model = rows.get((line.model, line.pk)), tracked_by_label(line.model)
    if row is None or model is None:
        return
    for name in options_for(model).counters:
        value, at = line.row.fields.get(name), line.row.clock(name)
        remembered = at <= rules.last_synced.get(line.model, 0)
        if name in line.base or remembered or at >= row.clock(name) or same(value, row.fields.get(name)):
            continue
        change = Change(
            model=line.model, pk=line.pk, op="put", fields={name: value}, clocks={name: at}, base={}
        )
        decision = Decision(
            client=value,
            server=row.fields.get(name),
            base_clock=None,
            kept="review",
            server_clock=row.clock(name),
        )
        detail = "the restored server may lack what led to this count, although it has counted since"
        yield (
            change,
            Outcome(
                state="parked",
                problem=Problem(code=CODE, detail=detail, field=name),
                decisions={name: decision},
            ),
        )


def resolve_strategy(name: str) -> Strategy:
    """The strategy of a name: one of ``STRATEGIES``, or a function named by its dotted path.

    Only settings, models and operators may name functions; a snapshot chooses among ``STRATEGIES``.
    """
    return STRATEGIES[name] if name in STRATEGIES else import_string(name)


def absent_rows(
    rules: Rules, scopes: Collection[str], present: Collection[tuple[str, str]], checkpoint: int, at: int
) -> Iterator[tuple[Change, Outcome | None]]:
    """The deletions that a full snapshot without tombstones tells by absence, children first.

    ``checkpoint`` is the number of the client's, ``at`` its time (µs). What has not been touched since, the client
    held as it is. A row that was touched since, and may have been held before, is never deleted by mere absence: that
    is decided here. Clocks alone do not say what was held, for a device may push late what it did early.
    """
    for model in reversed(dependency_order()):
        label = model._meta.label_lower
        if not deletes_by_absence(rules.strategy_of(label)):
            continue
        for page in pages_of_rows(model, scopes):
            absent = {stored.pk: stored.row for stored in page if (label, stored.pk) not in present}
            touched = set(unseen(label, absent.keys(), checkpoint))
            for pk, row in absent.items():
                base = {ROW_CLOCK: min(at, row.updated) if pk in touched else row.updated}
                change = Change(model=label, pk=pk, op="delete", clocks={ROW_CLOCK: at}, base=base)
                if pk not in touched:
                    yield change, None
                elif row.clocks.get(ROW_CLOCK, 0) <= at:
                    yield change, _touched_since(model, row, base)


def _touched_since(model: type[Model], row: Row, base: Mapping[str, int]) -> Outcome:
    asks = options_for(model).on_delete == "review"
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


def _reckoned(item: Numbered, rules: Rules, rows: Mapping[tuple[str, str], Row]) -> Reckoned | None:
    """The line of a row, with the steps that are left to take. The strategies that write values take none."""
    line = item.line
    if not isinstance(line, RowLine) or not line.steps or rules.strategy_of(line.model) in BY_VALUE:
        return None
    row = rows.get((line.model, line.pk))
    return reckon(item.number, line, rules.counted, row, healing=rules.healing)


def _changes(
    line: Line,
    reckoned: Reckoned | None,
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
        line = line if reckoned is None else reckoned.line
        change = resolve_strategy(rules.strategy_of(line.model))(line, _synced(line, rules))
        if change is not None:
            yield from _as_sent(change, line)


def _left_behind(item: Numbered, rules: Rules, first: int) -> Iterator[Derived]:
    """What the line holds unsynced and a schema change left no place for: parked with its raw values."""
    unsynced = [
        (left, change) for left in item.left if (change := _left_change(left.line, rules)) is not None
    ]
    for part, (left, change) in enumerate(unsynced, start=first):
        if item.repeats:
            yield _refused(item, change, "a line before has the same key", "duplicate_row", part)
            continue
        decisions = {
            name: Decision(client=value, server=None, base_clock=(change.base or {}).get(name), kept="review")
            for name, value in change.fields.items()
        }
        outcome = Outcome(state="parked", problem=left.problem, decisions=decisions)
        yield Derived(number=item.number, part=part, change=change, outcome=outcome)


def _left_change(line: RowLine | TombstoneLine, rules: Rules) -> Change | None:
    """The change that a line left behind carries, by its bases or by the strategy, whichever finds one."""
    if isinstance(line, TombstoneLine):
        return tombstone_change(line, healing=False)
    synced = _synced(line, rules)
    strategy = rules.strategy_of(line.model)
    # By this one every row would be left behind, also where nothing of it is unsynced.
    chosen = by_field if strategy == "overwrite" else resolve_strategy(strategy)
    change = by_base(line, synced) or chosen(line, synced)
    return None if change is None else replace(change, base=change.base or {}, overrides=False, whole=None)


def _synced(line: RowLine, rules: Rules) -> Synced:
    logged = rules.updates.fields.get((line.model, line.pk), {})
    return Synced(last_synced=rules.last_synced.get(line.model, 0), updates=logged)


def _as_sent(change: Change, line: RowLine) -> Iterable[Change]:
    """Without what the client could not have meant to send: what the server computes, read-only fields left untouched.

    Where it did mean to, that is a change of its own, so that its refusal stands in the ledger beside the rest.
    """
    model = tracked_by_label(change.model)
    if model is None:
        yield change
        return
    base = line.base
    meant = _files(model, change.fields).keys() if base is None else base.keys()
    refused = {name: change.fields[name] for name in _computed(model) & change.fields.keys() & meant}
    change = _without_server_fields(change)
    untouched = set() if base is None else set(options_for(model).read_only) - base.keys()
    if untouched:
        change = replace(change, fields=_without(change.fields, untouched))
    if change.fields or base is None:
        yield change
    if refused:
        yield replace(change, fields=refused, base=base or {}, whole=None)


def _files(model: type[Model], fields: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the fields that name a file."""
    named = _file_fields(model) & fields.keys()
    return {name: fields[name] for name in named if fields[name] is not None}


@cache
def _computed(model: type[Model]) -> frozenset[str]:
    return frozenset(field.name for field in synced_fields(model) if is_server_computed(field))


@cache
def _file_fields(model: type[Model]) -> frozenset[str]:
    return frozenset(field.name for field in synced_fields(model) if isinstance(field, FileField))


def _orphaned(item: Numbered, line: UpdateLine, rules: Rules) -> Derived | None:
    """A logged update whose row the snapshot does not hold: its value is nowhere, and that must be told."""
    logged_late = line.at > rules.last_synced.get(line.model, 0)
    if (line.model, line.pk) in rules.updates.held or not logged_late:
        return None
    if rules.strategy_of(line.model) != "by_update_log":
        return None
    change = Change(
        model=line.model, pk=line.pk, op="put", fields={line.field: None}, clocks={line.field: line.at}
    )
    return _refused(item, change, "the snapshot logs this update but does not hold its row", "no_row")


def _by_authority(change: Change) -> Iterable[Change]:
    """A healing change, apart from the fields that only an operator may set, unless the row is missing as a whole.

    Files never come by themselves, for a snapshot could name any: they wait for the operator.
    """
    model = tracked_by_label(change.model)
    if model is None:
        yield change
        return
    files = _files(model, change.fields)
    if files:
        yield replace(change, fields=files, whole=None)
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
    computed = _computed(model)
    if not computed:
        return change
    whole = change.whole
    if whole is not None:
        whole = replace(whole, fields=_without(whole.fields, computed))
    return replace(change, fields=_without(change.fields, computed), whole=whole)


def _without(fields: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in fields.items() if name not in names}


def _server_side(batch: list[Numbered], scopes: Collection[str]) -> Met:
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
        typed = {pk for pk in pks if is_key(model._meta.pk, pk)}
        found = stored_rows(model, scopes, typed)
        rows |= {(label, pk): stored.row for pk, stored in found.items()}
        for pk, entry in tombstones(label, typed - found.keys(), scopes).items():
            buried[label, pk] = tombstone_of(model, entry)
    return rows, buried


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
