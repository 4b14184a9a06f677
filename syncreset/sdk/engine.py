"""The sync itself, as a generator of requests: greet, do what a reset asks, push, pull.

It owns no HTTP. A driver sends the requests in production, a simulator answers them in tests; where it is stopped, by
an error or for good, the next sync goes on.
"""

from . import resetting
from .device import Device, Tally
from .errors import ClientResetOrdered, RecoveryFailed, ReplicaBusy
from .exchange import greet, push_and_pull
from .messages import Exchange
from .reports import SyncReport

__all__ = ["sync"]


def sync(device: Device, *, patience: float) -> Exchange[SyncReport]:
    """One sync. ``patience`` bounds the waiting for the server's recovery, in seconds.

    Raises what ``messages.check`` raises, ResetLoop, ResetModeNotAllowed, CallbackFailed, and RecoveryFailed once
    everything else is done.
    """
    if device.store.connection.in_transaction:
        raise ReplicaBusy("a transaction is open on the replica's connection: commit it before syncing")
    tally = Tally()
    while True:
        try:
            resetting.prepare(device)
            yield from greet(device)
            yield from resetting.proceed(device, tally, patience)
            yield from push_and_pull(device, tally)
            break
        except ClientResetOrdered as order:
            resetting.begin(device, tally, order)
    report = SyncReport(
        pushed=tally.pushed,
        pulled=tally.pulled,
        results=tally.results,
        pending=device.store.pending_count(),
        unresolved=len(device.store.unresolved()),
        resets=tuple(tally.resets),
    )
    last = report.reset
    if last is not None and last.state == "refused":
        problem = last.problem or {}
        message = f"the server would not recover {last.backup.name}, which is kept: {problem.get('detail', problem)}"
        raise RecoveryFailed(message, problem=problem, report=report)
    return report
