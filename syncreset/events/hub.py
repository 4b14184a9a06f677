"""The listeners of this process, and who may become one. One thread follows the feed for all of them."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress

from ..protocol.errors import ProtocolError
from .follower import Follower
from .look import Touched

#: Seconds that a stream waits for the thread to know where the feed is.
_READY_SECONDS = 10.0


class EventsUnavailable(ProtocolError):
    """This process has no room for another stream. Nothing is lost by that: the client asks from time to time."""

    status = 503
    code = "events_unavailable"
    retry_after = 60


class TooManyStreams(ProtocolError):
    """The user has as many streams as one may have."""

    status = 429
    code = "too_many_streams"
    retry_after = 60


class Listener:
    """One stream: the scopes that it waits for, and whether one of them was touched since it last asked."""

    def __init__(self, user: Hashable, scopes: frozenset[str]) -> None:
        self.user = user
        self.scopes = scopes
        #: Whether nobody follows the feed for it any more: the stream ends, and its client connects again.
        self.over = False
        self._touched = threading.Event()
        self._wake: Callable[[], object] | None = None

    def touch(self) -> None:
        self._touched.set()
        if self._wake is not None:
            # An event loop that is closed has no streams any more.
            with suppress(RuntimeError):
                self._wake()

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called, in another thread, whenever a scope was touched; at once, if one was."""
        self._wake = wake
        if self._touched.is_set():
            wake()

    def wait(self, seconds: float) -> bool:
        """Wait until a scope is touched. Returns whether one was, once for each time."""
        touched = self._touched.wait(seconds)
        if touched:
            self._touched.clear()
        return touched

    def end(self) -> None:
        self.over = True
        self.touch()


class Hub:
    """Who listens in this process. The thread that follows the feed runs while somebody does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._by_scope: dict[str, set[Listener]] = {}
        self._follower: Follower | None = None

    def join(self, listener: Listener, *, of_user: int, in_all: int | None = None) -> None:
        """Listen, until ``leave``. Everything that is committed after this returns is told.

        Raises TooManyStreams where the user has ``of_user`` streams already, and EventsUnavailable where the process
        has ``in_all``, or where nobody can say what is new.
        """
        with self._lock:
            if sum(other.user == listener.user for other in self._listeners) >= of_user:
                raise TooManyStreams(f"you listen {of_user} times already: more streams tell you no more")
            if in_all is not None and len(self._listeners) >= in_all:
                raise EventsUnavailable(
                    "this server process has no thread left for events: ask from time to time"
                )
            self._listeners.add(listener)
            self._enter(listener)
            if self._follower is None or not self._follower.is_alive():
                self._follower = Follower(self._tell, self._ended)
                self._follower.start()
            follower = self._follower
        if not follower.ready.wait(_READY_SECONDS):
            self.leave(listener)
            raise EventsUnavailable("the database cannot be asked for what is new: try again in a while")

    def leave(self, listener: Listener) -> None:
        """Listen no more. With the last listener the thread ends."""
        with self._lock:
            if listener not in self._listeners:
                return
            self._listeners.remove(listener)
            self._withdraw(listener)
            if not self._listeners and self._follower is not None:
                self._follower.stop.set()
                self._follower = None

    def rescope(self, listener: Listener, scopes: frozenset[str]) -> None:
        """Let a listener wait for other scopes. Where they differ, it has something to pull."""
        with self._lock:
            if listener not in self._listeners or scopes == listener.scopes:
                return
            self._withdraw(listener)
            listener.scopes = scopes
            self._enter(listener)
        listener.touch()

    def __len__(self) -> int:
        return len(self._listeners)

    def _enter(self, listener: Listener) -> None:
        for scope in listener.scopes:
            self._by_scope.setdefault(scope, set()).add(listener)

    def _withdraw(self, listener: Listener) -> None:
        for scope in listener.scopes:
            others = self._by_scope[scope]
            others.remove(listener)
            if not others:
                del self._by_scope[scope]

    def _tell(self, touched: Touched) -> None:
        with self._lock:
            if touched is None:
                found = set(self._listeners)
            else:
                found = set().union(*(self._by_scope.get(scope, ()) for scope in touched))
        for listener in found:
            listener.touch()

    def _ended(self, follower: Follower) -> None:
        """The thread has ended. Whoever still relies on it connects again, and gets another one."""
        with self._lock:
            if self._follower is not follower:
                return
            self._follower = None
            left = list(self._listeners)
        for listener in left:
            listener.end()


#: The listeners of this process.
hub = Hub()
