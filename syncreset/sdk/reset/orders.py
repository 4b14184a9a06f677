"""Whether a reset that the server orders is begun: at once, later, or not again because it goes round in circles.

The same reset may rightly be ordered twice: a server restored to a moment between its order and its completion has
forgotten the completion. It says so itself at ``GET /resets/{id}``, and had said the contrary before.
"""

from collections.abc import Mapping
from typing import Any

from ...protocol.clock import now
from ..errors import ClientResetOrdered, ResetLoop
from ..sync import pulled
from ..sync.tally import Tally
from ..transport.messages import Exchange
from . import procedure as resetting
from .device import Device
from .entries import Halt, Postponed
from .state import reset_outcome
from .upload import state_of

#: How often the very same reset is begun while the server never shows that it knew of its completion.
BEGINNINGS = 2

#: Resets that one sync begins before it calls them a loop, and seconds until it then tries again.
RESETS_PER_SYNC, LOOP_PAUSE = 3, 600

#: The longest that a server can put a reset off, in seconds.
LONGEST_PAUSE = 24 * 60 * 60


def pause_left(device: Device) -> float:
    """Seconds until the reset that was put off may begin; 0 where none was."""
    postponed, at = device.journal.postponed, now()
    if postponed is None or not postponed.noted <= at < postponed.until:
        return 0.0
    return (postponed.until - at) / 1_000_000


def consider(device: Device, tally: Tally, order: ClientResetOrdered) -> Exchange[bool]:
    """Begin what is ordered, or note until when it is put off. False where it was found before to go in circles.

    Raises ResetLoop where that is found out now, ResetModeNotAllowed where the server leaves no mode that the app
    agreed to; either way nothing has been begun.
    """
    reset, reason = str(order.problem.get("reset", "")), str(order.problem.get("reason", ""))
    journal = device.journal
    if journal.halt is not None and _still_holds(journal.halt, reset):
        return False
    if _postpone(device, reset, reason, order.retry_after):
        return True
    tally.begun += 1
    if tally.begun > RESETS_PER_SYNC:
        until = now() + LOOP_PAUSE * 1_000_000
        raise _halt(device, Halt(reset=reset, reason=reason, detail=TOO_MANY, until=until)) from order
    plan, completed = journal.plan, journal.completed
    if plan is not None and plan.reset == reset and plan.step == "bootstrap":
        if device.store.get("staged_checkpoint") is None:
            raise _halt(device, Halt(reset=reset, reason=reason, detail=NOT_TAKEN)) from order
        # The server took the first pages: it was restored since, and the bootstrap starts over.
        pulled.discard_staged(device.store)
        return True
    begun = 1
    before = plan if plan is not None and plan.reset == reset else completed
    if before is not None and before.reset == reset:
        known = yield from state_of(reset)
        detail = _circle(known, begun=before.begun)
        if detail is not None:
            raise _halt(device, Halt(reset=reset, reason=reason, detail=detail)) from order
        begun = before.begun + 1
    resetting.begin(device, order.problem, begun=begun)
    return True


NOT_TAKEN = "the server orders this reset again while it is being done, and does not take its first pull"
STILL_ORDERED = "the server knows that this reset was done, and orders it all the same"
NEVER_KEPT = "the server keeps ordering this reset, and never keeps that it was done"
TOO_MANY = "the server ordered one reset after the other in a single sync"


def _circle(known: Mapping[str, Any] | None, *, begun: int) -> str | None:
    """Why a reset that was gone through is not begun again; None where it may be."""
    if known is not None and known.get("bootstrapped") is not None:
        return STILL_ORDERED
    return NEVER_KEPT if begun >= BEGINNINGS else None


def _still_holds(halt: Halt, reset: str) -> bool:
    return halt.reset == reset if halt.until is None else now() < halt.until


def _postpone(device: Device, reset: str, reason: str, seconds: float | None) -> bool:
    """Note that a reset has to wait, unless it has waited already: each answer draws its seconds anew."""
    postponed = device.journal.postponed
    if not seconds or (postponed is not None and postponed.reset == reset):
        return False
    at = now()
    until = at + int(min(seconds, LONGEST_PAUSE) * 1_000_000)
    device.journal.postpone(Postponed(reset=reset, reason=reason, noted=at, until=until))
    return True


def _halt(device: Device, halt: Halt) -> ResetLoop:
    device.journal.stop(halt)
    outcome = reset_outcome(device.journal, device.mode)
    if outcome is None:
        raise RuntimeError("the journal lost what it was told")
    kept = [backup for backup in device.journal.backups() if backup.state == "kept"]
    return ResetLoop(f"reset {halt.reset} ({halt.reason}): {halt.detail}", outcome=outcome, backups=kept)
