"""The client reset, step by step. Each step is in the journal before it is taken.

Close, set aside as a backup, bootstrap, upload what the backups hold, wait for the receipt. A kill at any point is
continued by the next sync; another reset in the middle starts over, with nothing of any backup lost. A refusal is
remembered: the snapshot is not sent again by itself, but the server is asked whether the cause is mended.
"""

from collections.abc import Mapping
from typing import Any

from ...protocol.clock import now
from ..errors import ClientResetOrdered, ProblemReceived, ResetModeNotAllowed, WrongUser
from ..reports import ResetState
from ..sync.push_and_pull import pull
from ..sync.tally import Tally
from ..transport.messages import Exchange, Request, check, member
from . import backup, files
from .device import Device
from .entries import ResetPlan, Stage
from .state import outcome_of
from .upload import ResetForgotten, offset_of, recovery_of, snapshot_of, state_of, upload, write

#: Seconds between two questions whether the recovery is done: this, growing up to that.
FIRST_POLL, LAST_POLL = 0.2, 5.0

#: A snapshot that was refused before the server had it whole is offered again after so many µs.
OFFER_AGAIN = 3_600_000_000

#: How often in one reset the snapshot is sent again by itself because the server's storage has lost it.
RESENDINGS = 3

#: How often in one reset the server may turn out to have forgotten the reset or its recovery.
FORGETTINGS = 1


def begin(device: Device, problem: Mapping[str, Any], *, begun: int) -> None:
    """Note a reset that the server has ordered, in the place of any that is under way.

    That one's mode and strategy go on: what was begun with the promise to recover is recovered. ``begun`` counts the
    beginnings of this very reset. Raises ResetModeNotAllowed, with nothing changed.
    """
    under_way = device.journal.plan
    reset = str(problem.get("reset", ""))
    allowed = tuple(problem.get("mode_allowed") or ("manual", "recover", "discard"))
    mode = device.mode if under_way is None else under_way.mode
    if not _is_allowed(mode, allowed):
        raise ResetModeNotAllowed(
            f"reset {reset} allows {', '.join(allowed)}, but the replica's mode is {mode}"
        )
    recovery = problem.get("recovery") or {}
    noted = now()
    device.journal.begin(
        ResetPlan(
            reset=reset,
            reason=str(problem.get("reason", "")),
            mode=mode,
            strategy=device.strategy if under_way is None else under_way.strategy,
            allowed=allowed,
            upload=recovery.get("upload"),
            full=bool(recovery.get("full", True)),
            noted=noted,
            backup=backup.name_backup(device.path, reset, noted),
            begun=begun,
        ),
        client=device.store.get("client"),
    )


def _is_allowed(mode: str, allowed: tuple[str, ...]) -> bool:
    """The mode ``recover_or_discard`` can do with either of its parts."""
    return mode in allowed or (
        mode == "recover_or_discard" and not {"recover", "discard"}.isdisjoint(allowed)
    )


def prepare(device: Device) -> None:
    """Take the steps that need no server: set the store aside and have the next one."""
    plan = device.journal.plan
    if plan is not None and plan.step in ("set_aside", "renew"):
        device.tell("noted", plan)
        device.set_store_aside()
        device.tell("backed_up", plan)
    device.call_back("before")


def note_proven(device: Device) -> None:
    """A pull has ended that began after all receipts had come: nothing depends on their backups any more."""
    unproven = [record.name for record in device.journal.unproven()]
    if unproven:
        paths = [device.backup(name) for name in unproven]
        with device.store.transaction():
            for path in paths:
                if path is not None:
                    backup.carry_recovered(path, device.store)
        device.journal.proven()


def ask_of_receipts(device: Device) -> Exchange[None]:
    """Whether the server still has the recoveries whose receipts no pull has proven yet; else they are done again.

    A server restored to a moment before may know the checkpoint of the bootstrap, and not the recovery that followed.
    """
    for record in device.journal.held():
        if device.journal.plan is not None:
            return
        if record.state != "receipted" or record.recovery is None:
            continue
        response = yield Request(method="GET", path=f"recoveries/{record.recovery}")
        if response.is_problem and response.status == 404:
            device.journal.reopen(
                ResetPlan(
                    reset=record.reset,
                    reason=record.reason,
                    mode="recover",
                    strategy=device.strategy,
                    allowed=("recover",),
                    upload=None,
                    full=True,
                    noted=now(),
                    backup=record.name,
                    step="write",
                )
            )
        else:
            check(response)


def proceed(device: Device, tally: Tally, patience: float) -> Exchange[None]:
    """Take the steps of the reset under way, if there is one, as far as they go. The store has been prepared.

    Where the server refuses the snapshot, or has not merged it within ``patience`` seconds, ordinary syncing goes on
    and the next sync asks again.
    """
    plan = device.journal.plan
    if plan is None:
        return
    if plan.step == "bootstrap":
        plan = yield from _bootstrap(device, tally, plan)
    if plan.step == "hand_over":
        plan = _hand_over(device, plan)
    try:
        plan = yield from _recover(device, tally, plan, patience)
    except ResetForgotten:
        plan = yield from _start_over(device, tally, _current(device))
    except ProblemReceived as problem:
        if _concerns_more_than_the_snapshot(problem):
            raise
        members = problem.problem | {"status": problem.status, "code": problem.code, "detail": problem.detail}
        plan = _refused(device, tally, _current(device), members)
    if plan.step == "finish":
        _finish(device, tally, plan)
        return
    state: ResetState = "waiting" if plan.step == "wait" else "unfinished"
    tally.resets.append(outcome_of(device.journal, plan, state if plan.problem is None else "refused"))


def _concerns_more_than_the_snapshot(problem: ProblemReceived) -> bool:
    if isinstance(problem, ClientResetOrdered):
        return True
    return problem.status == 401 or (problem.status == 403 and not isinstance(problem, WrongUser))


def _current(device: Device) -> ResetPlan:
    plan = device.journal.plan
    if plan is None:
        raise RuntimeError("the journal lost the reset under way")
    return plan


def _bootstrap(device: Device, tally: Tally, plan: ResetPlan) -> Exchange[ResetPlan]:
    """Download afresh. The schema was fetched by the greeting, if the new store had none."""

    def tell(received: int, total: int) -> None:
        device.tell("downloading", plan, sent=received, total=total)

    yield from pull(device.store, tally, reset=plan.reset, mode=_announced(plan), progress=tell)
    known = yield from state_of(plan.reset)
    kept = known is not None and known.get("bootstrapped") is not None
    plan = device.advance(plan, begun=0 if kept else plan.begun, **_following(plan))
    device.tell("downloaded", plan)
    return plan


def _announced(plan: ResetPlan) -> str:
    """What the server is told that becomes of the backup: one of the modes that it allows."""
    following = _following(plan)
    if following["step"] == "hand_over":
        return "manual"
    if following["step"] == "finish":
        return "discard"
    return "recover" if "recover" in plan.allowed else plan.mode


def _following(plan: ResetPlan) -> dict[str, Any]:
    """The step after the bootstrap, by the mode."""
    if plan.mode == "manual":
        return {"step": "hand_over"}
    if plan.mode == "discard":
        return {"step": "finish", "outcome": "discarded"}
    if "recover" in plan.allowed or plan.mode in plan.allowed:
        return {"step": "write" if plan.snapshot is None else "upload"}
    detail = f"the server allows {', '.join(plan.allowed)}, and not to recover"
    return {
        "step": "finish",
        "outcome": "discarded",
        "problem": {"code": "mode_not_allowed", "detail": detail},
    }


def _hand_over(device: Device, plan: ResetPlan) -> ResetPlan:
    """Let the app take over from the backups what it wants, in one transaction of the live store each."""
    store = device.store
    for record in device.journal.kept():
        if record.name in store.get("handed_over", []):
            continue
        path = device.backup(record.name)
        if path is None:
            continue
        with store.transaction():
            device.callbacks.hand_over(path, store)
            store.put(handed_over=[*store.get("handed_over", []), record.name])
    return device.advance(plan, step="finish", outcome="handed_over")


def _recover(device: Device, tally: Tally, plan: ResetPlan, patience: float) -> Exchange[ResetPlan]:
    """From the snapshot to its receipt."""
    if plan.step == "refused":
        plan = yield from _ask_again(device, plan)
    if plan.step == "write":
        plan = write(device, plan)
    if plan.step == "upload":
        plan = yield from upload(device, plan)
    if plan.step == "wait":
        plan = yield from _wait(device, tally, plan, patience)
    return plan


def _ask_again(device: Device, plan: ResetPlan) -> Exchange[ResetPlan]:
    """Whether the operator has recovered the upload all the same; else whether it is time to offer it again.

    Only what the server does not have whole is offered: a snapshot that it has and refused is the operator's.
    """
    recovery = yield from recovery_of(plan)
    if recovery is not None and plan.snapshot is not None:
        return device.advance(plan, step="wait", recovery=recovery, problem=None)
    if abs(now() - plan.refused) < OFFER_AGAIN:
        return plan
    offset = None if plan.location is None else (yield from offset_of(plan))
    if offset is None:
        return device.advance(plan, step="write")
    step: Stage = "upload" if offset < snapshot_of(plan).size else "refused"
    return device.advance(plan, step=step, refused=now())


def _start_over(device: Device, tally: Tally, plan: ResetPlan) -> Exchange[ResetPlan]:
    """The server has forgotten the reset, and so what the backups hold: a bootstrap in its name brings another order.

    Where the server takes that bootstrap it was asked by another user before, or the reset's time had passed and is put
    off, and the upload goes on; if it still knows nothing of the reset, it has no place for the snapshot.
    """
    if plan.forgotten >= FORGETTINGS:
        problem = {"code": "reset_unknown", "detail": "the server does not know the reset that it ordered"}
        return _refused(device, tally, plan, problem)
    plan = device.advance(plan, step="bootstrap", forgotten=plan.forgotten + 1, recovery=None, problem=None)
    return (yield from _bootstrap(device, tally, plan))


def _wait(device: Device, tally: Tally, plan: ResetPlan, patience: float) -> Exchange[ResetPlan]:
    """Ask until the recovery is done, and compare the receipt with what was sent.

    Where it failed, or is gone, the reset may have another one: the operator has run it again.
    """
    waited, pause, asked_for_another = 0.0, 0.0, False
    while True:
        response = yield Request(method="GET", path=f"recoveries/{plan.recovery}", after=pause)
        forgotten = response.is_problem and response.status == 404
        if not forgotten:
            check(response)
        recovery: dict[str, Any] = {"state": "forgotten"} if forgotten else response.json()
        state = member(recovery, "state", str)
        if state in ("done", "review"):
            return _receipted(device, tally, plan, recovery)
        if state in ("failed", "undone", "forgotten"):
            other = None if asked_for_another else (yield from recovery_of(plan))
            if other is not None and other != plan.recovery:
                plan, asked_for_another = device.advance(plan, recovery=other, problem=None), True
                continue
            if state == "forgotten" and other is None and plan.forgotten < FORGETTINGS:
                return device.advance(plan, step="write", recovery=None, forgotten=plan.forgotten + 1)
            problem = {"code": f"recovery_{state}", "detail": f"the recovery is {state}"}
            problem = member(recovery, "problem", dict, problem) or problem
            if problem.get("code") == "snapshot_missing" and plan.resent < RESENDINGS:
                return device.advance(
                    plan, step="write", location=None, recovery=None, problem=None, resent=plan.resent + 1
                )
            return _refused(device, tally, plan, problem)
        progress = member(recovery, "progress", dict, {})
        device.tell("recovering", plan, sent=progress.get("done") or 0, total=progress.get("total") or 0)
        waited += pause
        if waited >= patience:
            return device.advance(plan, problem=None)
        pause = min(max(pause * 1.5, FIRST_POLL), LAST_POLL)


def _receipted(device: Device, tally: Tally, plan: ResetPlan, recovery: Mapping[str, Any]) -> ResetPlan:
    snapshot = snapshot_of(plan)
    receipt = member(recovery, "receipt", dict, {})
    sent = {"sha256": snapshot.sha256, "rows": snapshot.rows, "tombstones": snapshot.tombstones}
    received = {name: receipt.get(name) for name in sent}
    if received != sent:
        detail = f"the receipt says {received}, but the snapshot is {sent}"
        return _refused(device, tally, plan, {"code": "receipt_mismatch", "detail": detail})
    return device.advance(
        plan,
        step="finish",
        outcome="recovered",
        receipt=dict(receipt),
        totals=member(recovery, "totals", dict, {}),
        problem=None,
    )


def _refused(device: Device, tally: Tally, plan: ResetPlan, problem: Mapping[str, Any]) -> ResetPlan:
    """The server would not have it: keep everything and say so, or discard where the app agreed to that before.

    The app is told once of each refusal. A recovery that failed is asked for again at each sync.
    """
    reported = plan.problem is not None and plan.problem.get("code") == problem.get("code")
    if plan.mode == "recover_or_discard":
        plan = device.advance(plan, step="finish", outcome="discarded", problem=dict(problem))
    else:
        step: Stage = "wait" if plan.step == "wait" else "refused"
        plan = device.advance(plan, step=step, problem=dict(problem), refused=now())
        tally.refused_now = not reported
    if not reported:
        device.tell("refused", plan, problem=problem)
    return plan


def _finish(device: Device, tally: Tally, plan: ResetPlan) -> None:
    state: ResetState = "discarded"
    covered = tuple(record.name for record in device.journal.kept())
    at = device.store.corrected_now()
    if plan.outcome == "recovered":
        state, covered = "recovered", snapshot_of(plan).covers
        device.tell("recovered", plan, totals=plan.totals)
        device.journal.finish(plan, covered, "receipted", at=at, fallback=None)
    elif plan.outcome == "handed_over":
        state = "handed_over"
        device.journal.finish(plan, covered, "handed_over", at=at, fallback=None)
    else:
        fallback = _told_of_fallback(plan) if plan.mode == "recover_or_discard" else None
        device.journal.finish(plan, covered, "discarded", at=at, fallback=fallback)
    for name in covered:
        files.remove(device.journal.path(name + ".snapshot"))
    tally.resets.append(outcome_of(device.journal, plan, state))
    device.tell("done", plan, totals=plan.totals)
    device.call_back("fallback")


def _told_of_fallback(plan: ResetPlan) -> dict[str, Any]:
    return {
        "reset": plan.reset,
        "reason": plan.reason,
        "mode": plan.mode,
        "state": "discarded",
        "recovery": plan.recovery,
        "problem": plan.problem,
    }


def retry(device: Device, mode: str | None) -> None:
    """Take up again what was refused, put off or went round in circles, at the next sync; in another mode if wanted.

    Raises ValueError for a mode where no reset is under way, ResetModeNotAllowed where the server does not allow it.
    """
    device.journal.allow_again()
    device.journal.read_again()
    plan = device.journal.plan
    if plan is None:
        if mode is not None:
            raise ValueError("no reset is under way: the mode is the replica's own")
        return
    if mode is not None and not _is_allowed(mode, plan.allowed):
        raise ResetModeNotAllowed(f"reset {plan.reset} allows {', '.join(plan.allowed)}, not {mode}")
    plan = device.advance(
        plan, mode=mode or plan.mode, strategy=device.strategy, begun=1, forgotten=0, resent=0
    )
    if plan.step in ("set_aside", "renew", "bootstrap", "finish"):
        return
    if plan.mode in ("manual", "discard"):
        device.advance(plan, problem=None, **_following(plan))
    elif plan.problem is not None or plan.step in ("hand_over", "refused"):
        step: Stage = "write" if plan.step == "hand_over" else "refused"
        device.advance(plan, step=step, problem=None, location=None, refused=0)
