"""Changes into tables: merged in bulk, written in few statements, and cut in halves until only the bad ones are out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import DataError, IntegrityError, connection, models, transaction
from django.db.models import ProtectedError, RestrictedError

from .cascades import UnseenRows, delete_rows
from .codec import ValueFault, decode, decode_key, encode_key
from .exchanges import let_go, rings
from .feed import tombstones
from .many_to_many import elements_of, write_elements
from .preparing import Author, Prepared, missing_fields, needs_unsynced_fields, prepare
from .protocol import Change, Decision, Outcome, Policy, Problem, Row, Tombstone, is_delta, merge, same
from .refusals import problem_of
from .row_clocks import RowClocks, clock_columns, clocks_in_entries, keep_in_entries, set_own_clocks
from .rows import instance_of, lock_instances, row_of, scope_of_row, stored_rows, tombstone_of
from .signals import changes_applied
from .tracking.registry import dependency_order, keeps_own_clocks, options_for, set_fields
from .writing import missing_targets, write_problem

__all__ = ["CURABLE", "Applied", "apply_changes"]

Key = tuple[type[models.Model], str]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A change and what became of it: the row before it, and the server's row after it where the client may see it."""

    change: Change
    outcome: Outcome
    before: Row | None = None
    after: Row | None = None
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


class _GroupFailed(Exception):
    """A member of a group was not written, so none may be."""

    def __init__(self, applied: list[Applied]) -> None:
        super().__init__("a member of the group was not written")
        self.applied = applied


_REFUSALS = (IntegrityError, DataError, ProtectedError, RestrictedError, UnseenRows)

#: The codes of problems that other changes may cure, by making the row that is missed or by giving up a value.
CURABLE = ("invalid_reference", "unique")


def apply_changes(changes: Sequence[Change], author: Author) -> list[Applied]:
    """Merge changes into the tables and write them, each ending in exactly one state, in the order given.

    Must run in a transaction. One change that the database refuses never fails the others: the batch is cut in halves
    until it stands alone. Changes of one group are written together or not at all.
    """
    results: list[Applied | None] = [None] * len(changes)
    ready: list[tuple[int, Prepared]] = []
    for index, change in enumerate(changes):
        prepared = prepare(change, author)
        if isinstance(prepared, Outcome):
            results[index] = Applied(change=change, outcome=prepared)
        else:
            ready.append((index, prepared))
    broken_groups = {
        changes[index].group
        for index, result in enumerate(results)
        if result is not None and changes[index].group
    }
    for unit in _units(ready):
        group = unit[0][1].change.group
        members = [prepared for _, prepared in unit]
        if group is None:
            applied = _apply_unit(members, author)
        elif group in broken_groups:
            applied = [_failed_with_group(prepared, "rejected") for prepared in members]
        else:
            applied = _apply_group(members, author)
        for (index, _), result in zip(unit, applied, strict=True):
            results[index] = result
    finished = [result for result in results if result is not None]
    _announce(finished, author)
    return _with_rows(finished, author)


def _units(ready: list[tuple[int, Prepared]]) -> Iterable[list[tuple[int, Prepared]]]:
    """Runs of changes that are merged together: the members of a group, or what stands between groups.

    A put that follows a delete of the same row begins a new run, so that within a run puts can go before deletes.
    """
    run: list[tuple[int, Prepared]] = []
    deleted: set[Key] = set()
    grouped: set[str] = set()
    for index, prepared in ready:
        change = prepared.change
        if change.group is not None:
            if change.group not in grouped:
                grouped.add(change.group)
                if run:
                    yield run
                run, deleted = [], set()
                yield [item for item in ready if item[1].change.group == change.group]
            continue
        key = (prepared.model, change.pk)
        if change.op == "put" and key in deleted:
            yield run
            run, deleted = [], set()
        if change.op == "delete":
            deleted.add(key)
        run.append((index, prepared))
    if run:
        yield run


def _apply_group(members: list[Prepared], author: Author) -> list[Applied]:
    try:
        with transaction.atomic():
            applied = _apply_unit(members, author)
            if any(result.outcome.state in ("parked", "rejected") for result in applied):
                raise _GroupFailed(applied)
            return applied
    except _GroupFailed as failure:
        return [
            result
            if result.outcome.state in ("parked", "rejected")
            else _failed_with_group(prepared, "parked")
            for prepared, result in zip(members, failure.applied, strict=True)
        ]


def _failed_with_group(prepared: Prepared, state: Any) -> Applied:
    problem = Problem(code="group", detail="another change of its group could not be applied")
    return Applied(
        change=prepared.change, outcome=Outcome(state=state, problem=problem), notes=prepared.notes
    )


def _apply_unit(members: list[Prepared], author: Author) -> list[Applied]:
    """Apply in the order of dependency, puts before deletes; then try again what others of the unit may have cured."""
    waiting = sorted(range(len(members)), key=lambda index: _rank(members[index]))
    results: dict[int, Applied] = {}
    while waiting:
        applied = _apply_batch([members[index] for index in waiting], author)
        results.update(zip(waiting, applied, strict=True))
        missed = [index for index in waiting if _code(results[index]) in CURABLE]
        if len(missed) == len(waiting):
            exchanged = _exchange({index: members[index] for index in missed}, results, author)
            if not exchanged:
                break
            results |= exchanged
            missed = [index for index in missed if index not in exchanged]
        waiting = missed
    return [results[index] for index in range(len(members))]


def _code(result: Applied) -> str:
    return "" if result.outcome.problem is None else result.outcome.problem.code


def _exchange(
    waiting: Mapping[int, Prepared], results: Mapping[int, Applied], author: Author
) -> dict[int, Applied]:
    """Write the rings of rows that take each other's unique values; those that even so cannot be are left out."""
    clashing = {index: prepared for index, prepared in waiting.items() if _code(results[index]) == "unique"}
    exchanged: dict[int, Applied] = {}
    for ring in rings(clashing, author.scopes):
        try:
            with transaction.atomic():
                applied = _merge_and_write([waiting[index] for index in ring], author, exchanging=True)
        except _REFUSALS:
            continue
        exchanged.update(zip(ring, applied, strict=True))
    return exchanged


def _rank(prepared: Prepared) -> int:
    position = dependency_order().index(prepared.model)
    return position if prepared.change.op == "put" else 2 * len(dependency_order()) - position


def _apply_batch(batch: list[Prepared], author: Author) -> list[Applied]:
    error: Exception | None = None
    for _ in range(2 if len(batch) == 1 else 1):
        try:
            with transaction.atomic():
                return _merge_and_write(batch, author)
        except _REFUSALS as refusal:
            error = refusal
    if error is None or len(batch) == 1:
        return [_refused(batch[0], error)]
    middle = len(batch) // 2
    return _apply_batch(batch[:middle], author) + _apply_batch(batch[middle:], author)


def _refused(prepared: Prepared, error: Exception | None) -> Applied:
    state: Any = "superseded" if isinstance(error, UnseenRows) else "parked"
    problem = problem_of(error, prepared.model)
    decisions = {
        name: Decision(
            client=value, server=None, base_clock=None, kept="server" if state == "superseded" else "review"
        )
        for name, value in prepared.change.fields.items()
    }
    return Applied(
        change=prepared.change,
        outcome=Outcome(state=state, problem=problem, decisions=decisions),
        notes=prepared.notes,
    )


def _merge_and_write(batch: list[Prepared], author: Author, *, exchanging: bool = False) -> list[Applied]:
    """Merge and write changes as one. ``exchanging``: their rows give up their unique values before."""
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
        states = {key: slot.row for key, slot in shown.items()}
        for index, name, deleted in missing_targets(batch, outcomes, stored, states, author):
            new_failures = True
            relation = batch[index].model._meta.get_field(name)
            if deleted and getattr(relation, "null", False):
                nulled.setdefault(index, set()).add(name)
            else:
                failed[index] = _without_target(outcomes[index], name)
        if not new_failures:
            break
    if exchanging:
        for slot in slots.values():
            if slot.instance is not None and slot.row is not None:
                let_go(slot.instance, slot.touched)
    _write(slots, author)
    return [
        Applied(change=prepared.change, outcome=outcome, before=row, notes=prepared.notes)
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
                slot.tombstone = tombstone_of(model, buried[pk])
            slots[model, pk] = slot
    return slots


def _merge_one(prepared: Prepared, slot: _Slot, author: Author, nulled: set[str]) -> Outcome:
    change, model = prepared.change, prepared.model
    if nulled:
        change = replace(change, fields={**change.fields, **dict.fromkeys(nulled)})
    options = options_for(model)
    policy = author.policy or Policy(conflicts=options.conflicts, on_delete=options.on_delete)
    sets = [field.name for field in set_fields(model)]
    policy = replace(policy, counters=frozenset(options.counters), sets=frozenset(sets))
    outcome = _merge_counted(slot, change, policy, model)
    if outcome.row is not None and slot.row is None:
        complete = {**{name: [] for name in sets}, **outcome.row.fields}
        outcome = replace(outcome, row=replace(outcome.row, fields=complete))
    if outcome.row is not None and slot.row is None:
        missing = missing_fields(model, outcome.row.fields)
        if missing:
            return _stopped(change, "row_missing", f"a new row needs a value for {', '.join(missing)}")
        if needs_unsynced_fields(model):
            return _stopped(change, "row_missing", "only the server can make rows of this model")
    if outcome.writes:
        # An invisible row is not there for the author, who is told that its key is taken where that alone is wrong.
        instance = None if slot.hidden else slot.instance
        problem = write_problem(prepared.model, change, instance, slot.row, outcome, author)
        if problem is None and slot.hidden:
            problem = Problem(code="pk_unavailable", detail="this primary key cannot be used")
        if problem is not None:
            return _stopped(change, problem.code, problem.detail, problem.field)
    return _told_of_nulls(outcome, prepared.change, nulled)


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


def _told_of_nulls(outcome: Outcome, change: Change, nulled: set[str]) -> Outcome:
    if not nulled or outcome.row is None:
        return outcome
    decisions = dict(outcome.decisions)
    for name in nulled:
        decisions[name] = Decision(
            client=change.fields.get(name), server=None, base_clock=None, kept="server"
        )
    problem = Problem(
        code="reference_deleted",
        detail="the row it refers to was deleted, so the reference is null",
        field=min(nulled),
    )
    return replace(outcome, state="merged", decisions=decisions, problem=problem)


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


def _write(slots: Mapping[Key, _Slot], author: Author) -> None:
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
        if model in created:
            model._base_manager.bulk_create(created[model])
        if model in updated:
            _update(model, updated[model], touched[model])
        if model in merged:
            keep_in_entries(model, merged[model])
    _write_sets(slots, [*created.items(), *updated.items()], merged)
    for model in reversed(dependency_order()):
        if model in deleted:
            delete_rows(model, deleted[model], deleted, author)
    if connection.features.supports_foreign_keys and connection.vendor == "postgresql":
        connection.check_constraints()


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
    own_time = {column.name for column in model._meta.concrete_fields if getattr(column, "auto_now", False)}
    columns = sorted(touched | own_time | {*clock_columns(model)})
    if columns:
        model._base_manager.bulk_create(
            instances,
            update_conflicts=True,
            unique_fields=[model._meta.pk.name],
            update_fields=columns,
        )


def _announce(results: list[Applied], author: Author) -> None:
    written: dict[str, list[str]] = {}
    deleted: dict[str, list[str]] = {}
    for result in results:
        if result.outcome.deletes:
            deleted.setdefault(result.change.model, []).append(result.change.pk)
        elif result.outcome.row is not None:
            written.setdefault(result.change.model, []).append(result.change.pk)

    def send() -> None:
        for model in dependency_order():
            label = model._meta.label_lower
            if label in written or label in deleted:
                changes_applied.send_robust(
                    sender=model,
                    client=author.client,
                    written=written.get(label, []),
                    deleted=deleted.get(label, []),
                )

    if written or deleted:
        transaction.on_commit(send)


def _with_rows(results: list[Applied], author: Author) -> list[Applied]:
    """With the server's row, for changes that did not simply apply and whose client must be told what stands."""
    wanted: dict[str, set[str]] = {}
    for result in results:
        if result.outcome.state not in ("applied", "identical"):
            wanted.setdefault(result.change.model, set()).add(result.change.pk)
    found: dict[tuple[str, str], Row] = {}
    for model in dependency_order():
        label = model._meta.label_lower
        pks = [pk for pk in wanted.get(label, ()) if _is_key(model, pk)]
        if pks:
            found |= {
                (label, pk): stored.row for pk, stored in stored_rows(model, author.scopes, pks).items()
            }
    return [replace(result, after=found.get((result.change.model, result.change.pk))) for result in results]


def _is_key(model: type[models.Model], pk: str) -> bool:
    try:
        decode_key(model._meta.pk, pk)
    except ValueFault:
        return False
    return True
