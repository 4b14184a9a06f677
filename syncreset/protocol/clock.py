"""Hybrid clocks: integer microseconds since the Unix epoch that never repeat and never run backwards.

The rule is that of hybrid logical clocks with the logical part folded into the microseconds:
``max(wall clock, last issued + 1)``. The numbers fit JavaScript's safe integers until the year 2255.
"""

import time
from collections.abc import Callable, Mapping

#: A client whose clock is off by more than this (µs) has its whole batch shifted (design, "Clocks from clients").
TOLERATED_SKEW = 60_000_000


def now() -> int:
    """The wall clock in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


class HybridClock:
    """Issues timestamps that grow, whatever the wall clock does."""

    def __init__(self, last: int = 0, wall: Callable[[], int] = now) -> None:
        self.last = last
        self._wall = wall

    def tick(self) -> int:
        """A timestamp (µs) later than every one issued or observed before."""
        self.last = max(self._wall(), self.last + 1)
        return self.last

    def observe(self, timestamp: int) -> None:
        """Never again issue a timestamp at or before this one. Clients observe the server, never the reverse."""
        self.last = max(self.last, timestamp)


def corrected(clocks: Mapping[str, int], *, offset: int, received: int) -> dict[str, int]:
    """A batch's clocks as the server believes them.

    ``offset`` is server time minus client time (µs), measured when the batch came in. Beyond ``TOLERATED_SKEW`` the
    clocks are shifted as a whole, so that their order is kept; what still lies in the future is clamped to
    ``received``, what lies before 1970 to 0. No write is refused for its clock.
    """
    shift = offset if abs(offset) > TOLERATED_SKEW else 0
    return {name: min(max(timestamp + shift, 0), received) for name, timestamp in clocks.items()}
