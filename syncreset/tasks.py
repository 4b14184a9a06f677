"""The Celery tasks: run a recovery, sweep up those that the broker or a worker has lost, and purge."""

import logging
from dataclasses import asdict
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError

from .operations import retention
from .recovery.job import Recovery, overdue
from .recovery.run import run

logger = logging.getLogger(__name__)


@shared_task(name="syncreset.run_recovery", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def run_recovery(recovery_id: str) -> str:
    """Merge one recovery, from where it stands."""
    return run(recovery_id)


@shared_task(name="syncreset.sweep", ignore_result=True)
def sweep() -> int:
    """Hand out every recovery that nobody is working on. Schedule it every half minute or so with Celery beat."""
    count = 0
    for recovery_id in overdue().values_list("pk", flat=True):
        run_recovery.delay(str(recovery_id))
        count += 1
    return count


@shared_task(name="syncreset.purge", ignore_result=True)
def purge() -> dict[str, int | None]:
    """Remove what the settings no longer keep. Schedule it once a day or so with Celery beat."""
    purged = asdict(retention.purge())
    logger.info("purged: %s", purged)
    return purged


def enqueue(recovery: Recovery, **_: Any) -> None:
    """The receiver of ``recovery_queued``. If the broker is away the sweeper finds the recovery later."""
    try:
        run_recovery.delay(str(recovery.pk))
    except OperationalError:
        logger.warning("the broker cannot be reached; recovery %s waits for the sweeper", recovery.pk)
