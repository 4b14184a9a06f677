"""Telling, right after a commit, that something was written: what a second later would be found by looking."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from .. import conf

if TYPE_CHECKING:
    from .broker import Announcer

logger = logging.getLogger(__name__)

#: Seconds in which a Redis that did not answer is left alone, so that pushes do not wait for it.
_LEFT_ALONE = 10.0


class _Line:
    """The line to Redis that the threads of this process share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._announcer: Announcer | None = None
        self._silent = ""
        self._not_before = 0.0

    def announce(self, url: str) -> None:
        from .broker import BrokerLost  # noqa: PLC0415  who has no Redis need not have its client

        if url == self._silent and time.monotonic() < self._not_before:
            return
        try:
            self._open(url).announce()
        except BrokerLost as error:
            self._silent, self._not_before = url, time.monotonic() + _LEFT_ALONE
            logger.warning("Redis cannot be reached; listeners hear of changes a little later: %s", error)

    def _open(self, url: str) -> "Announcer":
        from .broker import Announcer  # noqa: PLC0415

        with self._lock:
            if self._announcer is None or self._announcer.url != url:
                self._announcer = Announcer(url)
            return self._announcer


_line = _Line()


def announce(**_: Any) -> None:
    """The receiver of ``changes_applied``: pushes, recoveries and decisions have written, and have committed."""
    url = conf.get("EVENTS_URL")
    if url is not None:
        _line.announce(url)
