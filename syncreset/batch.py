"""One batch of changes: its rows loaded and locked, every change merged into them, all of it written in few statements.

What the database refuses is raised, with nothing written; cutting the batch in halves is the caller's (``apply``).
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connection, models

from .cascades import TakenAlong, delete_rows
from .codec import ValueFault, decode, encode, encode_key, json_null
from .exchanges import let_go
from .feed import tombstones
from .many_to_many import elements_of, living, write_elements
from .preparing import Author, Prepared, missing_fields, needs_unsynced_fields
from .protocol import (
    UNDECIDED,
    Change,
    Conflict,
    Decision,
    Outcome,
    Policy,
    Problem,
    Resolver,
    Row,
    Tombstone,
    is_delta,
    merge,
    same,
)
from .row_clocks import RowClocks, clock_columns, clocks_in_entries, keep_in_entries, set_own_clocks
from .rows import instance_of, lock_instances, row_of, scope_of_row, tombstone_of
from .tracking.registry import dependency_order, keeps_own_clocks, options_for, set_fields
from .writing import forbidden_field, missing_targets, write_problem

__all__ = ["Applied", "Key", "merge_and_write"]

logger = logging.getLogger(__name__)

#: A row: its model and its primary key on the wire.
Key = tuple[type[models.Model], str]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A change and what became of it: the row before it, and the server's row after it where the client may see it.

    ``along`` are the rows that a delete changed beside its own.
    """

    change: Change
    outcome: Outcome
    before: Row | None = None
    after: Row | None = None
    along: tuple[TakenAlong, ...] = ()
    notes: tuple[Problem, ...] = ()


@dataclass(kw_only=True)
class _Slot:
    """One row while a batch is merged into it."""

    instance: Any = None
    stored: Row | None = None
    row: Row | None = None
    tombstone: Tombstone | None = None
    hidden: bool = False
    touched: set[str] = field(default_factory=set)


def merge_and_write(batch: list[Prepared], author: Author, *, exchanging: bool = False) -> list[Applied]:
    """Merge and write changes as one. ``exchanging``: their rows give up their unique values before.

    What a change refers to may be gone, and what becomes of it may take away what others refer to, so they are merged
    until no reference leads nowhere. Each round ends the merging of one change more or empties one reference more,
    and an emptied reference is never asked for again: there are at most as many rounds as changes and references.
    """
    failed: dict[int, Outcome] = {}
    nulled: dict[int, set[str]] = {}
    while True:
        slots = _load(batch, author)
        before: list[Row | None] = []
        outcomes: list[Outcome] = []
        new_failures = False
        for index, prepared in enumerate(batch):
            slot = slots[prepared.model, prepared.change.pk]
            before.append(None if slot.hidden else slot.row)
            outcome = failed.get(index) or _merge_one(prepared, slot, author, nulled.get(index, set()))
            if index not in failed and outcome.state == "rejected":
                failed[index] = outcome
            if index not in failed:
                _take(slot, outcome)
            outcomes.append(outcome)
        shown = {key: slot for key, slot in slots.items() if not slot.hidden}
        stored = {key: slot.stored for key, slot in shown.items()}
        buried = {
            key: slot.tombstone.row for key, slot in shown.items() if slot.tombstone and slot.tombstone.row
        }
        states = {key: slot.row for key, slot in shown.items()}
        for index, name, deleted in missing_targets(batch, outcomes, stored, buried, states, author):
            new_failures = True
            relation = batch[index].model._meta.get_field(name)
            emptied = name in nulled.get(index, ())
            if deleted and getattr(relation, "null", False) and not emptied:
                nulled.setdefault(index, set()).add(name)
            else:
                failed[index] = _without_target(outcomes[index], name)
        if not new_failures:
            break
    if exchanging:
        for slot in slots.values():
            if slot.instance is not None and slot.row is not None:
                let_go(slot.instance, slot.touched)
    along = _write(slots, author)
    return [
        Applied(
            change=prepared.change,
            outcome=outcome,
            before=row,
            along=along.pop((prepared.model, prepared.change.pk), ()) if outcome.deletes else (),
            notes=prepared.notes,
        )
        for prepared, outcome, row in zip(batch, outcomes, before, strict=True)
    ]


def _load(batch: list[Prepared], author: Author) -> dict[Key, _Slot]:
    slots: dict[Key, _Slot] = {}
    by_model: dict[type[models.Model], set[str]] = {}
    for prepared in batch:
        by_model.setdefault(prepared.model, set()).add(prepared.change.pk)
    for model in sorted(by_model, key=dependency_order().index):
        pks = by_model[model]
        instances = lock_instances(model, pks)
        clocks = clocks_in_entries(model, instances.keys())
        elements = elements_of(model, [instance.pk for instance in instances.values()])
        buried = tombstones(model._meta.label_lower, pks - instances.keys(), author.scopes)
        for pk in pks:
            slot = _Slot(instance=instances.get(pk))
            if slot.instance is not None:
                stored = row_of(slot.instance, clocks.get(pk), elements.get(pk, {}))
                slot.hidden = not author.operator and stored.scope not in author.scopes
                slot.stored = slot.row = None if slot.hidden else stored.row
            elif pk in buried:
                slot.tombstone = _with_living_sets(model, tombstone_of(model, buried[pk]))
            slots[model, pk] = slot
    return slots


def _with_living_sets(model: type[models.Model], tombstone: Tombstone) -> Tombstone:
    """Without the elements that have been deleted since: they must not keep the row itself from coming back."""
    if tombstone.row is None:
        return tombstone
    held = tombstone.row.fields
    sets = {many.name: living(many, held[many.name]) for many in set_fields(model) if held[many.name]}
    return replace(tombstone, row=replace(tombstone.row, fields={**held, **sets}))


def _merge_one(prepared: Prepared, slot: _Slot, author: Author, nulled: Collection[str]) -> Outcome:
    change, model = prepared.change, prepared.model
    failures: list[Problem] = []
    sets = [field.name for field in set_fields(model)]
    outcome = _merge_counted(slot, change, _policy(model, author, failures), model)
    if failures and outcome.state == "parked" and outcome.problem is None:
        outcome = replace(outcome, problem=failures[0])
    if outcome.row is not None and slot.row is None:
        complete = {**{name: [] for name in sets}, **outcome.row.fields}
        outcome = replace(outcome, row=replace(outcome.row, fields=complete))
    if outcome.row is not None and nulled:
        outcome = _with_nulls(outcome, outcome.row, prepared.change, nulled)
    if outcome.row is not None and slot.row is None:
        missing = missing_fields(model, outcome.row.fields)
        if missing:
            return _stopped(change, "row_missing", f"a new row needs a value for {', '.join(missing)}")
        if needs_unsynced_fields(model):
            return _stopped(change, "row_missing", "only the server can make rows of this model")
        name = forbidden_field(model, outcome.row.fields, slot.tombstone, author)
        if name is not None:
            return _stopped(change, "forbidden_field", "clients cannot set this field", name)
    if outcome.writes:
        # An invisible row is not there for the author, who is told that its key is taken where that alone is wrong.
        instance = None if slot.hidden else slot.instance
        problem = write_problem(prepared.model, change, instance, slot.row, outcome, author)
        if problem is None and slot.hidden:
            problem = Problem(code="pk_unavailable", detail="this primary key cannot be used")
        if problem is not None:
            return _stopped(change, problem.code, problem.detail, problem.field)
    return outcome


def _policy(model: type[models.Model], author: Author, failures: list[Problem]) -> Policy:
    """The author's policy, or the model's. ``failures`` takes what the project's own functions could not decide."""
    options = options_for(model)
    conflicts = {
        name: _guarded(model, rule, failures) if callable(rule) else rule
        for name, rule in options.conflicts.items()
    }
    policy = author.policy or Policy(conflicts=conflicts, on_delete=options.on_delete)
    sets = frozenset(field.name for field in set_fields(model))
    return replace(policy, counters=frozenset(options.counters), sets=sets)


def _guarded(model: type[models.Model], rule: Resolver, failures: list[Problem]) -> Resolver:
    """The function, of which a mistake parks the one field and fails nothing else."""

    def decide(conflict: Conflict) -> Any:
        field: Any = model._meta.get_field(conflict.field)
        try:
            value = rule(conflict)
            return value if value is UNDECIDED else encode(field, decode(field, value))
        except Exception:
            logger.exception("the policy of %s.%s could not decide", conflict.model, conflict.field)
            detail = "the policy's function could not decide this; the server's log tells why"
            failures.append(Problem(code="policy_failed", detail=detail, field=conflict.field))
            return UNDECIDED

    return decide


def _merge_counted(slot: _Slot, change: Change, policy: Policy, model: type[models.Model]) -> Outcome:
    """The merge of a change. A delta whose sum its counter cannot hold waits for a person; the rest is merged."""
    outcome = merge(slot.row, slot.tombstone, change, policy)
    if outcome.row is None:
        return outcome
    faults: dict[str, Problem] = {}
    for name in policy.counters:
        if is_delta(change.fields.get(name)):
            field: Any = model._meta.get_field(name)
            try:
                decode(field, outcome.row.fields[name])
            except ValueFault as fault:
                faults[name] = fault.problem(name)
    if not faults:
        return outcome
    held = {name: value for name, value in change.fields.items() if name not in faults}
    rest = merge(slot.row, slot.tombstone, replace(change, fields=held), policy)
    waiting = {name: replace(outcome.decisions[name], kept="review") for name in faults}
    problem = next(iter(faults.values()))
    return replace(rest, state="parked", decisions={**rest.decisions, **waiting}, problem=problem)


def _stopped(change: Change, code: str, detail: str, name: str | None = None) -> Outcome:
    """Rejected, but parked for the operator where acknowledged data is what could not be written."""
    return Outcome(
        state="parked" if change.healing else "rejected",
        problem=Problem(code=code, detail=detail, field=name),
        decisions={
            key: Decision(
                client=value, server=None, base_clock=None, kept="review" if change.healing else "server"
            )
            for key, value in change.fields.items()
        },
    )


def _with_nulls(outcome: Outcome, row: Row, change: Change, nulled: Collection[str]) -> Outcome:
    """The outcome with references to deleted rows emptied, whoever wrote them, later than they were written."""
    clocks = {name: row.clock(name) + 1 for name in nulled}
    emptied = Row(
        fields={**row.fields, **dict.fromkeys(nulled)},
        updated=max(row.updated, *clocks.values()),
        clocks={**row.clocks, **clocks},
    )
    decisions = {
        name: Decision(
            client=change.fields.get(name, row.fields[name]), server=None, base_clock=None, kept="server"
        )
        for name in nulled
    }
    problem = Problem(
        code="reference_deleted",
        detail="the row it refers to was deleted, so the reference is null",
        field=min(nulled),
    )
    return replace(
        outcome, state="merged", row=emptied, decisions={**outcome.decisions, **decisions}, problem=problem
    )


def _without_target(outcome: Outcome, name: str) -> Outcome:
    problem = Problem(
        code="invalid_reference", detail="the row that this field refers to is not there", field=name
    )
    decisions = {key: replace(decision, kept="review") for key, decision in outcome.decisions.items()}
    return Outcome(state="parked", problem=problem, decisions=decisions)


def _take(slot: _Slot, outcome: Outcome) -> None:
    if outcome.deletes:
        slot.row = None
        slot.tombstone = None
    elif outcome.row is not None:
        if slot.row is not None:
            previous = slot.row.fields
            slot.touched |= {
                name for name, value in outcome.row.fields.items() if not same(value, previous.get(name))
            }
        slot.row = outcome.row


def _write(slots: Mapping[Key, _Slot], author: Author) -> dict[Key, tuple[TakenAlong, ...]]:
    """Write what the slots have become. Returns what each deleted row has taken along."""
    created: dict[type[models.Model], list[models.Model]] = {}
    updated: dict[type[models.Model], list[models.Model]] = {}
    touched: dict[type[models.Model], set[str]] = {}
    deleted: dict[type[models.Model], list[models.Model]] = {}
    merged: dict[type[models.Model], dict[tuple[str, str], RowClocks]] = {}
    for (model, pk), slot in slots.items():
        if slot.row is slot.stored:
            continue
        if slot.row is None:
            if slot.instance is not None:
                deleted.setdefault(model, []).append(slot.instance)
            continue
        fresh = instance_of(model, pk, slot.row)
        instance: Any = fresh if slot.instance is None else slot.instance
        if slot.instance is None:
            created.setdefault(model, []).append(instance)
        else:
            written = slot.touched - {field.name for field in set_fields(model)}
            for name in written:
                field: Any = model._meta.get_field(name)
                attname = field.attname
                setattr(instance, attname, getattr(fresh, attname))
            updated.setdefault(model, []).append(instance)
            touched.setdefault(model, set()).update(written)
        clocks = RowClocks(updated=slot.row.updated, clocks=slot.row.clocks)
        set_own_clocks(instance, clocks)
        merged.setdefault(model, {})[pk, scope_of_row(model, pk, slot.row)] = clocks
    for model in dependency_order():
        times = _own_times(model, created.get(model, ())) if author.gives_back else {}
        if model in created:
            model._base_manager.bulk_create(created[model])
        if model in updated:
            _update(model, updated[model], touched[model])
        for key, values in times.items():
            model._base_manager.filter(pk=key).update(**values)
        if model in merged:
            keep_in_entries(model, merged[model])
    _write_sets(slots, [*created.items(), *updated.items()], merged)
    along: dict[Key, tuple[TakenAlong, ...]] = {}
    for model in reversed(dependency_order()):
        if model in deleted:
            taken = delete_rows(model, deleted[model], deleted, author)
            along |= {(model, pk): tuple(rows) for pk, rows in taken.items()}
    if connection.features.supports_foreign_keys and connection.vendor == "postgresql":
        connection.check_constraints()
    return along


def _write_sets(
    slots: Mapping[Key, _Slot],
    written: Iterable[tuple[type[models.Model], list[models.Model]]],
    merged: Mapping[type[models.Model], Mapping[tuple[str, str], RowClocks]],
) -> None:
    """Write the elements of rows that are in their tables now, and give the rows their merged clocks once more.

    Once more, because whoever writes an element has the triggers stamp its owner.
    """
    for model, instances in written:
        rows = {encode_key(model._meta.pk, instance.pk): instance for instance in instances}
        changed: set[str] = set()
        for many in set_fields(model):
            before: dict[str, list[str]] = {}
            after: dict[str, list[str]] = {}
            for pk in rows:
                slot = slots[model, pk]
                had = [] if slot.stored is None else slot.stored.fields.get(many.name) or []
                has = had if slot.row is None else slot.row.fields.get(many.name) or []
                if not same(had, has):
                    before[pk], after[pk] = had, has
            write_elements(many, before, after)
            changed |= after.keys()
        if changed and keeps_own_clocks(model):
            _update(model, [rows[pk] for pk in sorted(changed)], set())
        elif changed:
            keep_in_entries(
                model, {key: clocks for key, clocks in merged[model].items() if key[0] in changed}
            )


def _update(model: type[models.Model], instances: list[models.Model], touched: set[str]) -> None:
    """One upsert: the rows are locked, so every untouched column is written back as it is."""
    _spell_json_nulls(model, instances)
    own_time = {column.name for column in model._meta.concrete_fields if getattr(column, "auto_now", False)}
    columns = sorted(touched | own_time | {*clock_columns(model)})
    if columns:
        model._base_manager.bulk_create(
            instances,
            update_conflicts=True,
            unique_fields=[model._meta.pk.name],
            update_fields=columns,
        )


def _own_times(model: type[models.Model], instances: Iterable[models.Model]) -> dict[Any, dict[str, Any]]:
    """The times that Django sets anew when it makes a row, as the rows are to have them, by primary key."""
    names = [
        column.attname
        for column in model._meta.concrete_fields
        if getattr(column, "auto_now", False) or getattr(column, "auto_now_add", False)
    ]
    if not names:
        return {}
    return {instance.pk: {name: getattr(instance, name) for name in names} for instance in instances}


def _spell_json_nulls(model: type[models.Model], instances: Iterable[models.Model]) -> None:
    """A document that is JSON's null was read as None, which would be written as SQL's."""
    for column in model._meta.concrete_fields:
        if isinstance(column, models.JSONField) and not column.null:
            for instance in instances:
                if getattr(instance, column.attname) is None:
                    setattr(instance, column.attname, json_null(column))
