"""The client reset, step by step (design, section 7). Each step is in the journal before it is taken.

Close, set aside as a backup, bootstrap, upload what the backups hold, wait for the receipt. A kill at any point is
continued by the next sync; another reset in the middle starts over, with nothing of any backup lost.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syncreset.protocol import now

from . import backup, files
from .device import Device, Tally
from .errors import (
    CallbackFailed,
    ClientResetOrdered,
    ProblemReceived,
    ProtocolViolation,
    ResetLoop,
    ResetModeNotAllowed,
)
from .exchange import pull
from .journal import ResetPlan, SnapshotFile
from .messages import Exchange, Request, call, check
from .reports import ResetOutcome, ResetState

__all__ = ["begin", "prepare", "proceed"]

CHUNK = 1024 * 1024
TUS = {"tus-resumable": "1.0.0"}

#: A snapshot written longer ago (µs) is written anew before its upload begins, for it says what time it is.
STALE = 30_000_000

#: Different resets that one sync goes through before it calls them a loop; beginnings of the very same reset.
RESETS_PER_SYNC, BEGINNINGS = 3, 2

#: Seconds between two questions whether the recovery is done: this, growing up to that.
FIRST_POLL, LAST_POLL = 0.2, 5.0


def begin(device: Device, tally: Tally, order: ClientResetOrdered) -> None:
    """Note a reset that the server has ordered, in the place of any that is under way.

    Raises ResetLoop where it has been done before, ResetModeNotAllowed where the server leaves no mode that the app
    agreed to; either way nothing has been changed.
    """
    problem = order.problem
    reset, reason = str(problem.get("reset", "")), str(problem.get("reason", ""))
    plan = device.journal.plan
    begun = 1 + plan.begun if plan is not None and plan.reset == reset else 1
    again = plan is not None and plan.reset == reset and plan.step == "bootstrap"
    tally.begun += 1
    if again or begun > BEGINNINGS or reset == device.journal.completed or tally.begun > RESETS_PER_SYNC:
        raise ResetLoop(
            f"the server orders the reset {reset} ({reason}) again, which this replica has done"
        ) from order
    allowed = tuple(problem.get("mode_allowed") or ("manual", "recover", "discard"))
    recovery = problem.get("recovery") or {}
    noted = now()
    device.journal.begin(
        ResetPlan(
            reset=reset,
            reason=reason,
            mode=_mode(device.mode, allowed, reset),
            allowed=allowed,
            upload=recovery.get("upload"),
            full=bool(recovery.get("full", True)),
            noted=noted,
            backup=backup.name_backup(device.path, reset, noted),
            begun=begun,
        )
    )


def _mode(wanted: str, allowed: tuple[str, ...], reset: str) -> str:
    if wanted in allowed or (wanted == "recover_or_discard" and "recover" in allowed):
        return wanted
    if wanted == "recover_or_discard" and "discard" in allowed:
        return "discard"
    raise ResetModeNotAllowed(
        f"reset {reset} allows {', '.join(allowed)}, but the replica's mode is {wanted}"
    )


def prepare(device: Device) -> None:
    """Take the steps that need no server: set the store aside and have the next one."""
    plan = device.journal.plan
    if plan is not None and plan.step in ("set_aside", "renew"):
        device.tell("noted", plan)
        device.set_store_aside()
        device.tell("backed_up", plan)


def proceed(device: Device, tally: Tally, patience: float) -> Exchange[None]:
    """Take the steps of the reset under way, if there is one, as far as they go. The store has been prepared.

    Where the server refuses the snapshot, or has not merged it within ``patience`` seconds, ordinary syncing goes on
    and the next sync asks again.
    """
    plan = device.journal.plan
    if plan is None:
        return
    if plan.step == "bootstrap":
        yield from _bootstrap(device, tally, plan)
        plan = _current(device)
    if plan.step == "hand_over":
        _hand_over(device, plan)
        plan = _current(device)
    try:
        if plan.step == "write":
            plan = _write(device, plan)
        if plan.step == "upload":
            plan = yield from _upload(device, plan)
        if plan.step == "wait":
            plan = yield from _wait(device, plan, patience)
    except ProblemReceived as problem:
        if isinstance(problem, ClientResetOrdered) or problem.status in (401, 403):
            raise
        plan = _refused(device, plan, problem.problem | {"status": problem.status, "detail": problem.detail})
    if plan.step == "finish":
        _finish(device, tally, plan)
    else:
        tally.resets.append(_outcome(device, plan, "refused" if plan.problem is not None else "waiting"))


def _current(device: Device) -> ResetPlan:
    plan = device.journal.plan
    if plan is None:
        raise RuntimeError("the journal lost the reset under way")
    return plan


def _bootstrap(device: Device, tally: Tally, plan: ResetPlan) -> Exchange[None]:
    """Download afresh. The schema was fetched by the greeting, if the new store had none."""
    yield from pull(device, tally, reset=plan.reset)
    following = {"manual": "hand_over", "discard": "finish"}.get(plan.mode, "write")
    outcome = "discarded" if plan.mode == "discard" else None
    device.advance(plan, step=following, outcome=outcome)
    device.tell("downloaded", plan)


def _hand_over(device: Device, plan: ResetPlan) -> None:
    """Let the app take over from the backups what it wants, in one transaction of the live store each."""
    if device.hand_over is None:
        raise CallbackFailed("the mode is manual, and the replica has no on_manual callback")
    store = device.store
    for record in device.journal.kept():
        if record.name in store.get("handed_over", []):
            continue
        with store.transaction():
            try:
                device.hand_over(device.journal.path(record.name))
            except Exception as error:
                raise CallbackFailed(f"on_manual raised: {error!r}") from error
            store.put(handed_over=[*store.get("handed_over", []), record.name])
    device.advance(plan, step="finish", outcome="handed_over")


def _write(device: Device, plan: ResetPlan) -> ResetPlan:
    snapshot = backup.write_snapshot_file(device.journal, plan, device.strategy, device.store.corrected_now())
    _keep_outlived(device, snapshot)
    return device.advance(plan, step="upload", snapshot=snapshot, location=None, recovery=None)


def _keep_outlived(device: Device, snapshot: SnapshotFile) -> None:
    """Deletions that the snapshot leaves out, because an older backup holds unsynced edits, are told to the user."""
    store = device.store
    listed = {(item.model, item.pk) for item in store.unresolved() if item.code == "edited_before"}
    with store.transaction():
        for model, pk in snapshot.outlived:
            if (model, pk) not in listed:
                store.add_unresolved(
                    seq=None,
                    model=model,
                    pk=pk,
                    op="delete",
                    state="superseded",
                    fields={},
                    problem={
                        "code": "edited_before",
                        "detail": "edits that the server had not seen outlive the deletion",
                    },
                )


def _upload(device: Device, plan: ResetPlan) -> Exchange[ResetPlan]:
    """Bring the snapshot up by tus, from wherever an earlier attempt had come to."""
    snapshot = _snapshot(plan)
    while True:
        if plan.location is None:
            if now() - snapshot.written > STALE:
                plan = _write(device, plan)
                snapshot = _snapshot(plan)
            plan = yield from _create_upload(device, plan, snapshot)
            if plan.step != "upload":
                return plan
        offset = yield from _offset(plan)
        if offset is None or offset >= snapshot.size:
            recovery = yield from _recovery_of(plan)
            if recovery is not None:
                return device.advance(plan, step="wait", recovery=recovery)
            plan = device.advance(plan, location=None)
            continue
        recovery = yield from _send(device, plan, snapshot, offset)
        if recovery is not None:
            return device.advance(plan, step="wait", recovery=recovery)


def _snapshot(plan: ResetPlan) -> SnapshotFile:
    if plan.snapshot is None:
        raise RuntimeError("the journal lost the snapshot")
    return plan.snapshot


def _create_upload(device: Device, plan: ResetPlan, snapshot: SnapshotFile) -> Exchange[ResetPlan]:
    metadata = {"sha256": snapshot.sha256, "mode": "recover"}
    if device.strategy is not None:
        metadata["strategy"] = device.strategy
    encoded = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items()
    )
    response = yield Request(
        method="POST",
        path=plan.upload or f"resets/{plan.reset}/snapshot",
        headers=TUS | {"upload-length": str(snapshot.size), "upload-metadata": encoded},
    )
    check(response)
    recovery = response.headers.get("syncreset-recovery")
    if recovery is not None:
        return device.advance(plan, step="wait", recovery=recovery)
    location = response.headers.get("location")
    if location is None:
        raise ProtocolViolation("the server made an upload and did not say where")
    return device.advance(plan, location=location)


def _offset(plan: ResetPlan) -> Exchange[int | None]:
    """How much of the upload the server has; None where it knows no such upload any more."""
    response = yield Request(method="HEAD", path=str(plan.location), headers=TUS)
    if response.status in (404, 410):
        return None
    check(response)
    return int(response.headers["upload-offset"])


def _recovery_of(plan: ResetPlan) -> Exchange[str | None]:
    """The recovery that the server has made for the reset: the answer that said so may have been lost."""
    reset = yield from call("GET", f"resets/{plan.reset}")
    recovery = reset.get("recovery")
    return None if recovery is None else str(recovery)


def _send(device: Device, plan: ResetPlan, snapshot: SnapshotFile, offset: int) -> Exchange[str | None]:
    """Send chunks from ``offset`` on. None where the server's idea of the offset turned out to be another."""
    with device.journal.path(snapshot.name).open("rb") as content:
        content.seek(offset)
        while chunk := content.read(CHUNK):
            response = yield Request(
                method="PATCH",
                path=str(plan.location),
                headers=TUS
                | {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)},
                body=chunk,
            )
            if response.status in (404, 409, 410, 460) and not _is_reset(response.body):
                return None
            check(response)
            offset += len(chunk)
            device.tell("uploaded", plan, sent=offset, total=snapshot.size)
    recovery = response.headers.get("syncreset-recovery")
    if recovery is None:
        recovery = yield from _recovery_of(plan)
    return recovery


def _is_reset(body: bytes) -> bool:
    return b"client_reset" in body


def _wait(device: Device, plan: ResetPlan, patience: float) -> Exchange[ResetPlan]:
    """Ask until the recovery is done, and compare the receipt with what was sent."""
    waited, pause = 0.0, 0.0
    while True:
        response = yield Request(method="GET", path=f"recoveries/{plan.recovery}", after=pause)
        check(response)
        recovery = response.json()
        if recovery["state"] in ("done", "review"):
            return _receipted(device, plan, recovery)
        if recovery["state"] in ("failed", "undone"):
            return _refused(
                device, plan, recovery.get("problem") or {"detail": f"the recovery {recovery['state']}"}
            )
        progress = recovery.get("progress") or {}
        device.tell("recovering", plan, sent=progress.get("done") or 0, total=progress.get("total") or 0)
        waited += pause
        if waited >= patience:
            return device.advance(plan, problem=None)
        pause = min(max(pause * 1.5, FIRST_POLL), LAST_POLL)


def _receipted(device: Device, plan: ResetPlan, recovery: Mapping[str, Any]) -> ResetPlan:
    snapshot = _snapshot(plan)
    receipt = recovery.get("receipt") or {}
    sent = {"sha256": snapshot.sha256, "rows": snapshot.rows, "tombstones": snapshot.tombstones}
    received = {name: receipt.get(name) for name in sent}
    if received != sent:
        detail = f"the receipt says {received}, but the snapshot is {sent}"
        return _refused(device, plan, {"code": "receipt_mismatch", "detail": detail})
    return device.advance(
        plan,
        step="finish",
        outcome="recovered",
        receipt=dict(receipt),
        totals=recovery.get("totals") or {},
        problem=None,
    )


def _refused(device: Device, plan: ResetPlan, problem: Mapping[str, Any]) -> ResetPlan:
    """The server would not have it: keep everything and say so, or discard where the app agreed to that before.

    What went wrong while uploading is tried again from the snapshot on at the next sync; a recovery that failed is
    asked for again, for the operator may run it once more.
    """
    device.tell("refused", plan, problem=problem)
    if plan.mode == "recover_or_discard":
        return device.advance(plan, step="finish", outcome="discarded", problem=dict(problem))
    step = "wait" if plan.step == "wait" else "write"
    return device.advance(plan, step=step, problem=dict(problem))


def _finish(device: Device, tally: Tally, plan: ResetPlan) -> None:
    covered = tuple(record.name for record in device.journal.kept())
    if plan.outcome == "recovered":
        covered = _snapshot(plan).covers
        device.tell("recovered", plan, totals=plan.totals)
        device.journal.finish(plan, covered, "receipted")
    else:
        device.journal.finish(plan, covered, "handed_over" if plan.outcome == "handed_over" else "discarded")
    files.remove(device.journal.path(plan.backup + ".snapshot"))
    state: ResetState = {"recovered": "recovered", "handed_over": "handed_over"}.get(
        str(plan.outcome), "discarded"
    )  # type: ignore[assignment]
    tally.resets.append(_outcome(device, plan, state))
    device.tell("done", plan, totals=plan.totals)


def _outcome(device: Device, plan: ResetPlan, state: ResetState) -> ResetOutcome:
    return ResetOutcome(
        reset=plan.reset,
        reason=plan.reason,
        mode=plan.mode,
        state=state,
        backup=_path(device, plan),
        recovery=plan.recovery,
        totals=plan.totals,
        problem=plan.problem,
    )


def _path(device: Device, plan: ResetPlan) -> Path:
    return device.journal.path(plan.backup)
