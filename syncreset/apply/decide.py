"""What becomes of one change: the merge, the policies, and what stops it."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ..protocol.changes import Row
from ..protocol.errors import Problem
from ..protocol.steps import is_delta
from ..rules.instruction import Instruction
from ..rules.merge import UNDECIDED, Conflict, Decision, Outcome, Policy, Resolver, merge
from ..wire.fields.base import ValueFault
from ..wire.fields.codec import decode, encode
from ..wire.model import WireModel
from .access import forbidden_field, write_problem
from .context import Context
from .prepare import Prepared
from .slots import Slot

logger = logging.getLogger(__name__)


def merge_one(prepared: Prepared, slot: Slot, context: Context, nulled: Collection[str]) -> Outcome:
    change, model = prepared.change, prepared.model
    failures: list[Problem] = []
    outcome = _merge_counted(slot, change, _policy(model, context, failures), model)
    if failures and outcome.state == "parked" and outcome.problem is None:
        outcome = replace(outcome, problem=failures[0])
    if outcome.row is not None and slot.row is None:
        complete = {**{name: [] for name in model.sets}, **outcome.row.fields}
        outcome = replace(outcome, row=replace(outcome.row, fields=complete))
    if outcome.row is not None and nulled:
        outcome = _with_nulls(outcome, outcome.row, prepared.change, nulled)
    if outcome.row is not None and slot.row is None:
        missing = [name for name in model.required if name not in outcome.row.fields]
        if missing:
            return _stopped(change, "row_missing", f"a new row needs a value for {', '.join(missing)}")
        if model.needs_unsynced_fields:
            return _stopped(change, "row_missing", "only the server can make rows of this model")
        name = forbidden_field(model, outcome.row.fields, slot.tombstone, context)
        if name is not None:
            return _stopped(change, "forbidden_field", "clients cannot set this field", name)
    if outcome.writes:
        # An invisible row is not there for the user, who learns that its key is taken where that alone is wrong.
        instance = None if slot.hidden else slot.instance
        problem = write_problem(prepared.model, change, instance, slot.row, outcome, context)
        if problem is None and slot.hidden:
            problem = Problem(code="pk_unavailable", detail="this primary key cannot be used")
        if problem is not None:
            return _stopped(change, problem.code, problem.detail, problem.field)
    return outcome


def _policy(model: WireModel, context: Context, failures: list[Problem]) -> Policy:
    """The context's policy, or the model's. ``failures`` takes what the project's own functions could not decide."""
    conflicts = {
        name: _guarded(model, rule, failures) if callable(rule) else rule
        for name, rule in model.options.conflicts.items()
    }
    policy = context.policy or Policy(conflicts=conflicts, on_delete=model.options.on_delete)
    return replace(policy, counters=model.counters, sets=frozenset(model.sets))


def _guarded(model: WireModel, rule: Resolver, failures: list[Problem]) -> Resolver:
    """The function, of which a mistake parks the one field and fails nothing else."""

    def decide(conflict: Conflict) -> Any:
        field = model.field(conflict.field)
        try:
            value = rule(conflict)
            return value if value is UNDECIDED else encode(field, decode(field, value))
        except Exception:
            logger.exception("the policy of %s.%s could not decide", conflict.model, conflict.field)
            detail = "the policy's function could not decide this; the server's log tells why"
            failures.append(Problem(code="policy_failed", detail=detail, field=conflict.field))
            return UNDECIDED

    return decide


def _merge_counted(slot: Slot, change: Instruction, policy: Policy, model: WireModel) -> Outcome:
    """The merge of a change. A delta whose sum its counter cannot hold waits for a person; the rest is merged."""
    outcome = merge(slot.row, slot.tombstone, change, policy)
    if outcome.row is None:
        return outcome
    faults: dict[str, Problem] = {}
    for name in policy.counters:
        if is_delta(change.fields.get(name)):
            field = model.field(name)
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


def _stopped(change: Instruction, code: str, detail: str, name: str | None = None) -> Outcome:
    """Rejected. Parked where a right is all that it lacks, or where acknowledged data is what could not be written."""
    problem = Problem(code=code, detail=detail, field=name)
    waits = change.healing or code == "forbidden"
    return Outcome.parked(change, problem) if waits else Outcome.rejected(problem)


def _with_nulls(outcome: Outcome, row: Row, change: Instruction, nulled: Collection[str]) -> Outcome:
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


def without_target(outcome: Outcome, name: str) -> Outcome:
    problem = Problem(
        code="invalid_reference", detail="the row that this field refers to is not there", field=name
    )
    decisions = {key: replace(decision, kept="review") for key, decision in outcome.decisions.items()}
    return Outcome(state="parked", problem=problem, decisions=decisions)
