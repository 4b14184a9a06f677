"""Watching: syncing whenever the server says that there is something to pull, and from time to time if it does not."""

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .errors import ProtocolViolation, ReplicaBusy, ReplicaError, ServerUnavailable
from .reports import SyncReport
from .transport.listening import Listening

#: Seconds between two syncs where the server has no events for this replica, and the longest pause after failures.
POLL = 60.0

#: Seconds before a stream that has ended is opened again, unless the server says otherwise; spread by half.
_RETRY = 2.0

#: Seconds that a stream must last to count as one that works.
_WORKING = 10.0

#: The longest ``Retry-After``, in seconds, that is obeyed.
_LONGEST_WAIT = 60 * 60.0

#: Spreads what many devices would else do at the same moment.
_spread = random.SystemRandom()


class Watch:
    """An iterator over the reports of syncs: one at once, then one after each poke of the server's.

    For the thread of its replica; ``close`` is for any thread. A stream that ends or breaks is opened again, and each
    new one begins with a sync, for what changed in between is not poked. Where the server has no events, or no more
    room, this is a sync every ``poll`` seconds.

    A server that is away, or a replica that is busy, is tried again: ``failure`` is the error until a sync has gone
    through. Whatever else a sync raises is raised here, and the iterator can be used on.
    """

    def __init__(
        self, sync: Callable[[], SyncReport], listen: Callable[[], Listening], *, poll: float = POLL
    ) -> None:
        if not poll > 0:
            raise ValueError("poll is a number of seconds above 0")
        #: Why the last sync did not go through; None once one has.
        self.failure: ReplicaError | None = None
        self._sync = sync
        self._listen = listen
        self._poll = poll
        self._closed = threading.Event()
        self._turn = threading.Lock()
        self._stream: Listening | None = None
        self._began = self._listen_after = 0.0
        self._failures = 0
        self._pause = 0.0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SyncReport:
        with self._turn:
            while not self._closed.wait(self._pause):
                self._pause = 0.0
                if self._stream is None:
                    self._connect()
                elif not self._poked(self._stream):
                    continue
                if self._closed.is_set():
                    break
                report = self._synced()
                if report is not None:
                    return report
            self._drop()
            raise StopIteration

    @property
    def listening(self) -> bool:
        """Whether the server pokes this replica; else it syncs every ``poll`` seconds."""
        return self._stream is not None

    def close(self) -> None:
        """End the iteration, also while it waits in another thread. A sync under way is finished."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        with self._turn:
            self._drop()

    def _connect(self) -> None:
        """Open a stream. Where there is none, the pause after the next sync is set."""
        if time.monotonic() < self._listen_after:
            self._pause = self._poll * _spread.uniform(1.0, 1.25)
            return
        try:
            self._stream = self._listen()
        except ServerUnavailable as refusal:
            if refusal.status is None:
                self._pause = self._back_off()
            else:
                self._failures = 0
                self._listen_after = time.monotonic() + min(refusal.retry_after or 0.0, _LONGEST_WAIT)
                self._pause = self._poll * _spread.uniform(1.0, 1.25)
        else:
            self._began = time.monotonic()

    def _poked(self, stream: Listening) -> bool:
        """Wait for a poke. Returns False where the stream has ended; it is opened again after a pause."""
        try:
            if stream.wait():
                return True
        except (ServerUnavailable, ProtocolViolation) as error:
            self.failure = error
        self._drop()
        if time.monotonic() - self._began >= _WORKING:
            self._failures = 0
            self._pause = (stream.retry or _RETRY) * _spread.uniform(0.5, 1.5)
        else:
            self._pause = self._back_off()
        return False

    def _synced(self) -> SyncReport | None:
        """One sync. None where it has to be tried again after the pause."""
        try:
            report = self._sync()
        except (ServerUnavailable, ReplicaBusy) as error:
            self.failure = error
            asked = getattr(error, "retry_after", None) or 0.0
            self._drop()
            self._pause = max(self._back_off(), min(asked, _LONGEST_WAIT))
            return None
        except BaseException:
            self._drop()
            self._pause = self._back_off()
            raise
        self.failure = None
        return report

    def _back_off(self) -> float:
        """The next pause after one more failure, in seconds."""
        self._failures += 1
        return min(self._poll, 2.0 ** min(self._failures, 10)) * _spread.uniform(0.5, 1.0)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
