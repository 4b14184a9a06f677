"""The sync itself, as a generator of requests: greet, do what a reset asks, push, pull.

It owns no HTTP. A driver sends the requests in production, a simulator answers them in tests; where it is stopped, by
an error or for good, the next sync goes on.
"""

from .errors import ClientResetOrdered, ProblemReceived, RecoveryFailed, ReplicaBusy
from .reports import SyncReport
from .reset import orders
from .reset import procedure as resetting
from .reset.damaged import told_of_damage
from .reset.device import Device
from .reset.dispose import dispose_of_old
from .reset.state import reset_outcome
from .sync import copied, pulled
from .sync.push_and_pull import greet, push_and_pull
from .sync.tally import Tally
from .transport.messages import Exchange


def sync(device: Device, *, patience: float) -> Exchange[SyncReport]:
    """One sync. ``patience`` bounds the seconds of waiting for the server: for its recovery, for its time to reset.

    Raises what ``messages.check`` raises, ResetLoop, ResetModeNotAllowed, CallbackFailed, what goes wrong with the
    disk, and RecoveryFailed, or StoreDamaged for a backup, once everything else is done.
    """
    if device.store.connection.in_transaction:
        raise ReplicaBusy("a transaction is open on the replica's connection: commit it before syncing")
    device.journal.reload()
    device.mend_journal()
    tally = Tally()
    stopped = named = afresh = False
    while not stopped and (pause := orders.pause_left(device)) <= patience:
        patience -= pause
        try:
            yield from _one_round(device, tally, pause, patience)
            break
        except ClientResetOrdered as order:
            stopped = not (yield from orders.consider(device, tally, order))
        except ProblemReceived as problem:
            if problem.code == copied.CODE and not named:
                copied.adopt_own_name(device.store, problem)
                named = True
            elif problem.code == pulled.INVALID_CHECKPOINT and not afresh:
                pulled.forget_checkpoint(device.store)
                afresh = True
            else:
                raise
    else:
        outcome = reset_outcome(device.journal, device.mode)
        tally.resets += [] if outcome is None else [outcome]
    return _report(device, tally)


def _one_round(device: Device, tally: Tally, pause: float, patience: float) -> Exchange[None]:
    """Everything, up to the end or to the server's next order to reset."""
    resetting.prepare(device)
    yield from greet(device.store, after=pause)
    yield from resetting.ask_of_receipts(device)
    yield from resetting.proceed(device, tally, patience)
    yield from push_and_pull(device.store, tally)
    resetting.note_proven(device)
    device.journal.calm()
    if device.call_back("fallback", "after") and device.store.pending_count():
        yield from push_and_pull(device.store, tally)
    if device.keep_backups is not None:
        before = device.store.corrected_now() - int(device.keep_backups * 1_000_000)
        dispose_of_old(device.journal, before=before)


def _report(device: Device, tally: Tally) -> SyncReport:
    found, lost = told_of_damage(device.journal)
    device.journal.told()
    report = SyncReport(
        pushed=tally.pushed,
        pulled=tally.pulled,
        results=tally.results,
        pending=device.store.pending_count(),
        unresolved=len(device.store.unresolved()),
        resets=tuple(tally.resets),
        damaged=found,
    )
    if lost is not None:
        lost.report = report
        raise lost
    last = report.reset
    if tally.refused_now and last is not None and last.state == "refused":
        problem = last.problem or {}
        name = "the backup" if last.backup is None else last.backup.name
        message = f"the server would not recover {name}, which is kept: {problem.get('detail', problem)}"
        raise RecoveryFailed(message, problem=problem, report=report)
    return report
