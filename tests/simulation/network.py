"""The way to the server, with everything that may happen on it, and the worker behind the server."""

from collections.abc import Callable
from contextlib import suppress

from django.contrib.auth.models import User

from syncreset.recovery.job import Recovery, hold, overdue
from syncreset.recovery.run import run
from syncreset.sdk import Request, Response, ServerUnavailable
from tests.simulation.fixed import SECOND, Clock
from tests.support.fleet import Killed
from tests.support.real_server import sent

#: More requests than this in one sync are a sync that does not end.
MOST_REQUESTS = 600

#: What a recovery's lease lasts at the most (µs).
LEASE = 61 * SECOND


class Endless(AssertionError):
    """A sync that goes on and on."""


class Network:
    """``late`` are requests that are still on their way. ``works`` says whether there is a worker.

    ``killed_at`` is the transaction of a recovery within which the worker is killed.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock, self.works = clock, True
        self.late: list[tuple[User, Request]] = []
        self.killed_at: int | None = None

    def answer(self, user: User, request: Request) -> Response:
        """The server's answer, by the server's clock; the worker does at once what there is to do."""
        with self.clock.seen_with(0):
            answer = sent(user, request)
            if self.works:
                self.work()
        return answer

    def line(
        self, user: User, *, cut_at: int | None = None, seen: bool = False, late: bool = False
    ) -> "Line":
        """A connection of a user's device, which is cut at its request number ``cut_at``."""
        return Line(self, user, cut_at, seen=seen, late=late)

    def deliver(self, number: int) -> None:
        """One of the requests that were late arrives. Nobody waits for its answer any more."""
        if self.late:
            self.answer(*self.late.pop(number % len(self.late)))

    def work(self) -> None:
        """Everything that is queued, also what a killed worker has left."""
        queued = overdue().order_by("created", "pk").values_list("pk", flat=True)
        for recovery in list(queued):
            with suppress(Killed):
                run(recovery)

    def work_on(self, chance: Callable[[int], int]) -> None:
        """What is queued, and what is left over once the lease of a killed worker has run out; in any order."""
        self.clock.pass_by(LEASE)
        queued = list(overdue().order_by("created", "pk").values_list("pk", flat=True))
        while queued:
            with suppress(Killed):
                run(queued.pop(chance(len(queued))))

    def holding(self, recovery: Recovery) -> None:
        """In the place of ``hold``: the worker dies at the moment that was set."""
        if self.killed_at is not None:
            self.killed_at -= 1
            if self.killed_at < 0:
                self.killed_at = None
                raise Killed
        hold(recovery)


class Line:
    """One connection."""

    def __init__(self, network: Network, user: User, cut_at: int | None, *, seen: bool, late: bool) -> None:
        self.network, self.user, self.cut_at = network, user, cut_at
        self.seen, self.late = seen, late
        self.number = 0

    def __call__(self, request: Request) -> Response:
        number, self.number = self.number, self.number + 1
        if number > MOST_REQUESTS:
            raise Endless(f"request {number} of one sync is {request.method} {request.path}")
        if number != self.cut_at:
            return self.network.answer(self.user, request)
        if self.seen:
            self.network.answer(self.user, request)
        elif self.late:
            self.network.late.append((self.user, request))
        raise ServerUnavailable("the answer was lost" if self.seen else "the request was lost")
