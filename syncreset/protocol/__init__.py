"""The protocol, pure: words, clocks, the merge, strategies and the snapshot format. Standard library only.

The server and the Python SDK share this package; neither Django nor a database may be imported here.
"""

from .changes import ROW_CLOCK, Change, Clocks, Row, Tombstone, Value, parse_change, parse_clocks, same
from .clock import TOLERATED_SKEW, HybridClock, corrected, now
from .compatibility import Difference, DifferenceKind, breaking_changes, differences
from .deltas import add_delta, change_set, is_delta, is_set_change, united
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
from .strategies import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    Strategy,
    Synced,
    by_base,
    by_field,
    by_object,
    by_update_log,
    deletes_by_absence,
    heal,
    overwrite,
    tombstone_change,
)
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
    "Difference",
    "DifferenceKind",
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
    "Synced",
    "Tombstone",
    "TombstoneLine",
    "TooLarge",
    "UpdateLine",
    "Value",
    "add_delta",
    "breaking_changes",
    "by_base",
    "by_field",
    "by_object",
    "by_update_log",
    "change_set",
    "corrected",
    "deletes_by_absence",
    "differences",
    "dumps",
    "heal",
    "is_delta",
    "is_set_change",
    "loads",
    "merge",
    "now",
    "overwrite",
    "parse_change",
    "parse_clocks",
    "same",
    "tombstone_change",
    "united",
    "uuid7",
    "write_snapshot",
]

PROTOCOL_VERSION = 1
