"""The protocol, pure: words, clocks, the merge, strategies and the snapshot format. Standard library only.

The server and the Python SDK share this package; neither Django nor a database may be imported here.
"""

from .changes import ROW_CLOCK, Change, Clocks, Row, Tombstone, Value, parse_change, parse_clocks, same
from .clock import TOLERATED_SKEW, HybridClock, corrected, now
from .errors import InvalidSnapshot, Malformed, Problem, ProtocolError, TooLarge
from .ids import uuid7
from .merge import Conflict, Decision, Outcome, Policy, Resolver, State, merge
from .snapshot import (
    FORMAT,
    Counts,
    Header,
    Limits,
    Line,
    MalformedLine,
    RowLine,
    SnapshotReader,
    TombstoneLine,
    UpdateLine,
    write_snapshot,
)
from .strategies import DEFAULT_STRATEGY, STRATEGIES, Strategy, by_base, by_field, heal, tombstone_change
from .strict_json import dumps, loads

__all__ = [
    "DEFAULT_STRATEGY",
    "FORMAT",
    "PROTOCOL_VERSION",
    "ROW_CLOCK",
    "STRATEGIES",
    "TOLERATED_SKEW",
    "Change",
    "Clocks",
    "Conflict",
    "Counts",
    "Decision",
    "Header",
    "HybridClock",
    "InvalidSnapshot",
    "Limits",
    "Line",
    "Malformed",
    "MalformedLine",
    "Outcome",
    "Policy",
    "Problem",
    "ProtocolError",
    "Resolver",
    "Row",
    "RowLine",
    "SnapshotReader",
    "State",
    "Strategy",
    "Tombstone",
    "TombstoneLine",
    "TooLarge",
    "UpdateLine",
    "Value",
    "by_base",
    "by_field",
    "corrected",
    "dumps",
    "heal",
    "loads",
    "merge",
    "now",
    "parse_change",
    "parse_clocks",
    "same",
    "tombstone_change",
    "uuid7",
    "write_snapshot",
]

PROTOCOL_VERSION = 1
