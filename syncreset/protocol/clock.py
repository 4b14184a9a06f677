"""Hybrid clocks: integer microseconds since the Unix epoch that never repeat and never run backwards.

The rule is that of hybrid logical clocks with the logical part folded into the microseconds:
``max(wall clock, last issued + 1)``. The numbers fit JavaScript's safe integers until the year 2255.
"""

import time
from collections.abc import Mapping

#: A client whose clock is off by more than this (µs) has its whole batch shifted.
TOLERATED_SKEW = 60_000_000


def now() -> int:
    """The wall clock in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def corrected(clocks: Mapping[str, int], *, offset: int, received: int) -> dict[str, int]:
    """A batch's clocks as the server believes them.

    ``offset`` is server time minus client time (µs), measured when the batch came in. Beyond ``TOLERATED_SKEW`` the
    clocks are shifted as a whole, so that their order is kept; what still lies in the future is clamped to
    ``received``, what lies before 1970 to 0. No write is refused for its clock.
    """
    shift = offset if abs(offset) > TOLERATED_SKEW else 0
    return {name: min(max(timestamp + shift, 0), received) for name, timestamp in clocks.items()}
