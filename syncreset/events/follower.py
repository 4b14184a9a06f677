"""The thread that follows the feed: by what Redis tells, or by looking itself once a second."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection, connections

from .. import conf
from .look import NOTHING, Seen, Touched, newest, touched_since

if TYPE_CHECKING:
    from .broker import Broker

logger = logging.getLogger(__name__)

#: Seconds between two looks at the feed, and between two that writes have asked for.
PAUSE, LEAST_PAUSE = 1.0, 0.5

#: Seconds until Redis is tried again.
_WITHOUT_REDIS = 10.0


class Follower(threading.Thread):
    """Calls ``tell`` with what was touched, from ``ready`` on until ``stop``; ``ended`` when it is over.

    With Redis, one process of all looks at the feed and tells the others. Without, or while Redis cannot be reached,
    each looks for itself, however many listen.
    """

    def __init__(self, tell: Callable[[Touched], None], ended: Callable[["Follower"], None]) -> None:
        super().__init__(name="syncreset-events", daemon=True)
        self.ready = threading.Event()
        self.stop = threading.Event()
        self._tell = tell
        self._ended = ended
        #: The checkpoint up to which this process has told by looking itself.
        self._seen: Seen | None = None

    def run(self) -> None:
        try:
            url = conf.get("EVENTS_URL")
            while not self.stop.is_set():
                if url is None:
                    self._look(until=None)
                else:
                    self._relay_from(url)
        finally:
            connections.close_all()
            self._ended(self)

    # -- without Redis --------------------------------------------------------------------------------------------

    def _look(self, *, until: float | None) -> None:
        """Look once a second, until a moment (monotonic) or to the end."""
        while not self.stop.is_set() and (until is None or time.monotonic() < until):
            self._look_once()
            self.stop.wait(PAUSE)

    def _look_once(self) -> None:
        try:
            if self._seen is None:
                self._seen = newest()
                # What was written before is not known: who was told already that the stream has begun must pull.
                touched: Touched = None if self.ready.is_set() else NOTHING
            else:
                self._seen, touched = touched_since(self._seen)
        except DatabaseError as error:
            _database_failed(error)
            return
        self.ready.set()
        if touched != NOTHING:
            self._tell(touched)

    # -- with Redis -----------------------------------------------------------------------------------------------

    def _relay_from(self, url: str) -> None:
        """Relay what Redis tells. While it cannot be reached, look here."""
        from .broker import Broker, BrokerLost  # noqa: PLC0415  who has no Redis need not have its client

        try:
            with Broker(url) as broker:
                if self._begin(broker):
                    self._relay(broker)
        except BrokerLost as error:
            logger.warning("Redis cannot be reached, so this process looks for changes itself: %s", error)
            self._look(until=time.monotonic() + _WITHOUT_REDIS)

    def _begin(self, broker: "Broker") -> bool:
        """Make sure that what is committed from now on is told. Returns False where the database cannot be asked."""
        try:
            broker.remember(newest())
        except DatabaseError as error:
            _database_failed(error)
            self.stop.wait(PAUSE)
            return False
        self._seen = None
        if self.ready.is_set():
            self._tell(None)
        self.ready.set()
        return True

    def _relay(self, broker: "Broker") -> None:
        due = looked = time.monotonic()
        while not self.stop.is_set():
            heard = broker.hear(timeout=max(due - time.monotonic(), 0.0))
            if heard.written:
                due = min(due, looked + LEAST_PAUSE)
            if heard.touched != NOTHING:
                self._tell(heard.touched)
            if time.monotonic() >= due:
                if broker.leads():
                    _look_for_all(broker)
                looked = time.monotonic()
                due = looked + PAUSE


def _look_for_all(broker: "Broker") -> None:
    """Look at the feed, and tell every process, this one too."""
    seen = broker.remembered()
    try:
        found, touched = (newest(), None) if seen is None else touched_since(seen)
    except DatabaseError as error:
        _database_failed(error)
        return
    if touched != NOTHING:
        broker.tell(touched)
    broker.note(found)


def _database_failed(error: DatabaseError) -> None:
    logger.warning("the feed could not be looked at: %s", type(error).__name__)
    connection.close()
