"""Changes into tables: merged in bulk, written in few statements, and cut in halves until only the bad ones are out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from django.db import transaction

from ..protocol.changes import Change, Row, RowKey
from ..protocol.errors import Problem
from ..protocol.steps import is_steps
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..signals import changes_applied
from ..wire.model import WireModel, wire_models
from ..wire.rows import stored_rows
from .bases import with_base_now
from .batch import merge_and_write
from .cascades import UnseenRows
from .context import Context
from .prepare import Prepared, prepare
from .refusals import is_refusal, problem_of
from .slots import Applied
from .swaps import rings


class _GroupFailed(Exception):
    """A member of a group was not written, so none may be."""

    def __init__(self, applied: list[Applied]) -> None:
        super().__init__("a member of the group was not written")
        self.applied = applied


#: The codes of problems that other changes may cure, by making the row that is missed or by giving up a value.
CURABLE = ("invalid_reference", "unique")

#: How often what others of a unit may have cured is tried again, while the rows are locked.
MOST_ROUNDS = 20


def apply_changes(changes: Sequence[Change], context: Context) -> list[Applied]:
    """Merge changes into the tables and write them, each ending in exactly one state, in the order given.

    Must run in a transaction. One change that the database refuses never fails the others: the batch is cut in halves
    until it stands alone. Changes of one group are written together or not at all.
    """
    results: list[Applied | None] = [None] * len(changes)
    ready: list[tuple[int, Prepared]] = []
    for index, change in enumerate(changes):
        prepared = prepare(change, context, place=index)
        if isinstance(prepared, Outcome):
            results[index] = Applied(change=Instruction.of(change), outcome=prepared)
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
            applied = _apply_unit(members, context)
        elif group in broken_groups:
            applied = [_failed_with_group(prepared, parked=False) for prepared in members]
        else:
            applied = _apply_group(members, context)
        for (index, _), result in zip(unit, applied, strict=True):
            results[index] = result
    finished = [result for result in results if result is not None]
    _announce(finished, context)
    return _with_rows(finished, context)


def _units(ready: list[tuple[int, Prepared]]) -> Iterable[list[tuple[int, Prepared]]]:
    """Runs of changes that are merged together: the members of a group, or what stands between groups.

    A put that follows a delete of the same row begins a new run, so that within a run puts can go before deletes.
    """
    run: list[tuple[int, Prepared]] = []
    deleted: set[RowKey] = set()
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
        if change.op == "put" and change.row_key in deleted:
            yield run
            run, deleted = [], set()
        if change.op == "delete":
            deleted.add(change.row_key)
        run.append((index, prepared))
    if run:
        yield run


def _apply_group(members: list[Prepared], context: Context) -> list[Applied]:
    try:
        with transaction.atomic():
            applied = _apply_unit(members, context)
            if any(result.outcome.state in ("parked", "rejected") for result in applied):
                raise _GroupFailed(applied)
            return applied
    except _GroupFailed as failure:
        return [
            result
            if result.outcome.state in ("parked", "rejected")
            else _failed_with_group(replace(prepared, change=result.change), parked=True)
            for prepared, result in zip(members, failure.applied, strict=True)
        ]


def _failed_with_group(prepared: Prepared, *, parked: bool) -> Applied:
    problem = Problem(code="group", detail="another change of its group could not be applied")
    outcome = Outcome.parked(prepared.change, problem) if parked else Outcome.rejected(problem)
    return Applied(change=prepared.change, outcome=outcome, notes=prepared.notes)


def _apply_unit(members: list[Prepared], context: Context) -> list[Applied]:
    """Apply in the order of dependency, puts before deletes; then try again what others of the unit may have cured.

    Rows that hand unique values on to each other are written at once, so each round leaves fewer: there are at most as
    many as changes, and no more than ``MOST_ROUNDS``. What is left then stays parked.
    """
    rank = {model: place for place, model in enumerate(wire_models())}
    waiting = sorted(range(len(members)), key=lambda index: _place(members[index], rank))
    curable = (*CURABLE, "unseen_rows") if context.undoing else CURABLE
    results: dict[int, Applied] = {}
    for _ in range(MOST_ROUNDS):
        applied = _apply_batch([members[index] for index in waiting], context)
        results.update(zip(waiting, applied, strict=True))
        missed = [index for index in waiting if _code(results[index]) in curable]
        swapped = _swap({index: members[index] for index in missed}, results, context)
        results |= swapped
        missed = [index for index in missed if index not in swapped]
        if not missed or len(missed) == len(waiting):
            break
        waiting = missed
    return [results[index] for index in range(len(members))]


def _code(result: Applied) -> str:
    return "" if result.outcome.problem is None else result.outcome.problem.code


def _swap(
    waiting: Mapping[int, Prepared], results: Mapping[int, Applied], context: Context
) -> dict[int, Applied]:
    """Write the rings of rows that take each other's unique values; those that even so cannot be are left out."""
    clashing = {index: prepared for index, prepared in waiting.items() if _code(results[index]) == "unique"}
    swapped: dict[int, Applied] = {}
    for ring in rings(clashing, context.scopes):
        try:
            with transaction.atomic():
                applied = merge_and_write([waiting[index] for index in ring], context, swapping=True)
        except Exception as error:
            if not is_refusal(error):
                raise
            continue
        swapped.update(zip(ring, applied, strict=True))
    return swapped


def _place(prepared: Prepared, rank: Mapping[WireModel, int]) -> int:
    place = rank[prepared.model]
    return place if prepared.change.op == "put" else 2 * len(rank) - place


def _apply_batch(batch: list[Prepared], context: Context) -> list[Applied]:
    error: Exception | None = None
    for _ in range(2 if len(batch) == 1 else 1):
        try:
            with transaction.atomic():
                return merge_and_write(batch, context)
        except Exception as refusal:
            if not is_refusal(refusal):
                raise
            error = refusal
    if error is None or len(batch) == 1:
        return [_refused(batch[0], error, context)]
    middle = len(batch) // 2
    return _apply_batch(batch[:middle], context) + _apply_batch(batch[middle:], context)


def _refused(prepared: Prepared, error: Exception | None, context: Context) -> Applied:
    change = with_base_now(prepared, context).change
    problem = problem_of(error, prepared.model.model)
    outdated = isinstance(error, UnseenRows) and not context.undoing
    outcome = Outcome.superseded(change, problem) if outdated else Outcome.parked(change, problem)
    return Applied(change=change, outcome=outcome, notes=prepared.notes)


def _announce(results: list[Applied], context: Context) -> None:
    written: dict[str, list[str]] = {}
    deleted: dict[str, list[str]] = {}
    for result in results:
        if result.outcome.deletes:
            deleted.setdefault(result.change.model, []).append(result.change.pk)
        elif result.outcome.row is not None:
            written.setdefault(result.change.model, []).append(result.change.pk)

    def send() -> None:
        for model in wire_models():
            label = model.label
            if label in written or label in deleted:
                changes_applied.send_robust(
                    sender=model.model,
                    client=context.client,
                    written=written.get(label, []),
                    deleted=deleted.get(label, []),
                )

    if written or deleted:
        transaction.on_commit(send)


def _with_rows(results: list[Applied], context: Context) -> list[Applied]:
    """With the server's row, for changes that did not simply apply and whose client must be told what stands."""
    wanted: dict[str, set[str]] = {}
    for result in results:
        if result.outcome.state not in ("applied", "identical") or _counted_before(result):
            wanted.setdefault(result.change.model, set()).add(result.change.pk)
    found: dict[RowKey, Row] = {}
    for model in wire_models():
        label = model.label
        pks = model.canonical_keys(wanted.get(label, ()))
        if pks:
            found |= {
                (label, pk): stored.row for pk, stored in stored_rows(model, context.scopes, pks).items()
            }
    return [
        _with_servers_side(result, found.get(result.change.row_key))
        if result.change.pk in wanted.get(result.change.model, ())
        else result
        for result in results
    ]


def _counted_before(result: Applied) -> bool:
    """Whether a client is told that nothing was written, while its steps are in the server's value already."""
    return result.outcome.state == "identical" and any(map(is_steps, result.change.fields.values()))


def _with_servers_side(result: Applied, row: Row | None) -> Applied:
    """Told what the server has, also where the change was refused before it came to a comparison."""
    if row is None:
        return replace(result, after=None)
    base = result.change.base or {}
    decisions = {
        name: decision
        if decision.server_clock is not None or name not in row.fields
        else replace(
            decision, server=row.fields[name], server_clock=row.clock(name), base_clock=base.get(name)
        )
        for name, decision in result.outcome.decisions.items()
    }
    return replace(result, after=row, outcome=replace(result.outcome, decisions=decisions))
