"""The protocol, pure: what the server and a device share. Standard library only.

Neither Django nor a database may be imported here. What a project writes its own strategies and resolvers with belongs
to the rules of the server, and is handed out from here when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .changes import ROW_CLOCK, Change, Clocks, Row, Tombstone, Value, parse_change, parse_clocks, same
from .clock import TOLERATED_SKEW, corrected, now
from .compatibility import Difference, DifferenceKind, breaking_changes, differences
from .errors import InvalidSnapshot, Malformed, Problem, ProtocolError, TooLarge
from .ids import uuid7
from .snapshot.lines import (
    FORMAT,
    ChangeLine,
    Counts,
    FieldSteps,
    Header,
    Limits,
    Line,
    MalformedLine,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from .snapshot.read import SnapshotReader
from .snapshot.write import write_snapshot
from .steps import (
    Step,
    add_step,
    counter_step,
    is_delta,
    is_set_change,
    is_steps,
    parse_steps,
    set_step,
    steps_value,
    with_step,
    without_step,
)
from .strict_json import dumps, loads

if TYPE_CHECKING:
    from ..rules.merge import UNDECIDED, Conflict
    from ..rules.strategies import Synced, by_base, by_field, by_object, by_update_log, overwrite

__all__ = [
    "FORMAT",
    "PROTOCOL_VERSION",
    "ROW_CLOCK",
    "TOLERATED_SKEW",
    "UNDECIDED",
    "Change",
    "ChangeLine",
    "Clocks",
    "Conflict",
    "Counts",
    "Difference",
    "DifferenceKind",
    "FieldSteps",
    "Header",
    "InvalidSnapshot",
    "Limits",
    "Line",
    "Malformed",
    "MalformedLine",
    "Problem",
    "ProtocolError",
    "Row",
    "RowLine",
    "SnapshotReader",
    "Step",
    "Synced",
    "Tombstone",
    "TombstoneLine",
    "TooLarge",
    "UpdateLine",
    "Value",
    "add_step",
    "breaking_changes",
    "by_base",
    "by_field",
    "by_object",
    "by_update_log",
    "corrected",
    "counter_step",
    "differences",
    "dumps",
    "is_delta",
    "is_set_change",
    "is_steps",
    "loads",
    "now",
    "overwrite",
    "parse_change",
    "parse_clocks",
    "parse_steps",
    "same",
    "set_step",
    "steps_value",
    "uuid7",
    "with_step",
    "without_step",
    "write_snapshot",
]

PROTOCOL_VERSION = 1

_OF_THE_RULES = {
    "UNDECIDED": "merge",
    "Conflict": "merge",
    "Synced": "strategies",
    "by_base": "strategies",
    "by_field": "strategies",
    "by_object": "strategies",
    "by_update_log": "strategies",
    "overwrite": "strategies",
}


def __getattr__(name: str) -> Any:
    module = _OF_THE_RULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"syncreset.rules.{module}"), name)
