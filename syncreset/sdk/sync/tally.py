"""What one sync has done so far."""

from dataclasses import dataclass, field

from ..reports import ResetOutcome


@dataclass(kw_only=True)
class Tally:
    """What one sync has done so far."""

    pushed: int = 0
    pulled: int = 0
    results: dict[str, int] = field(default_factory=dict)
    resets: list[ResetOutcome] = field(default_factory=list)
    #: How many resets were begun in this sync.
    begun: int = 0
    #: Whether the server refused a backup, and had not refused it so before.
    refused_now: bool = False
