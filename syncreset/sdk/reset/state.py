"""How far a reset is, as the app is shown it: from the journal alone, without asking anybody."""

from ..reports import ResetOutcome, ResetState
from .entries import ResetPlan
from .journal import Journal


def outcome_of(journal: Journal, plan: ResetPlan, state: ResetState) -> ResetOutcome:
    """A plan as the app is shown it."""
    return ResetOutcome(
        reset=plan.reset,
        reason=plan.reason,
        mode=plan.mode,
        state=state,
        backup=journal.path(plan.backup),
        recovery=plan.recovery,
        totals=plan.totals,
        problem=plan.problem,
    )


def reset_outcome(journal: Journal, mode: str) -> ResetOutcome | None:
    """What the app has to know of: a reset that goes round in circles, one put off, one under way. Else None.

    ``mode`` is the replica's own, for a reset that has not been begun.
    """
    plan, halt, postponed = journal.plan, journal.halt, journal.postponed
    if halt is not None:
        return ResetOutcome(
            reset=halt.reset,
            reason=halt.reason,
            mode=mode,
            state="looping",
            backup=None if plan is None else journal.path(plan.backup),
            problem={"code": "reset_loop", "detail": halt.detail},
            until=halt.until,
        )
    if postponed is not None:
        return ResetOutcome(
            reset=postponed.reset,
            reason=postponed.reason,
            mode=mode,
            state="postponed",
            until=postponed.until,
        )
    return None if plan is None else outcome_of(journal, plan, _state(plan))


def _state(plan: ResetPlan) -> ResetState:
    if plan.problem is not None and plan.step in ("refused", "wait"):
        return "refused"
    return "waiting" if plan.step == "wait" else "unfinished"
