"""The lines of a snapshot as data."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..changes import Change, Clocks, Row, Value
from ..steps import Step, sum_of

FORMAT = "syncreset-snapshot/1"
GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line. Times in µs."""

    client: str
    #: The reset that the snapshot answers.
    reset: str
    #: The hash of the schema that its values are of.
    schema: str
    #: What the client could have gone on from; None where it had not pulled to the end.
    checkpoint: str | None
    #: How changes are found, where neither the server nor a person says otherwise.
    strategy: str
    #: By model, the client's own idea of it.
    last_synced: Mapping[str, int] = field(default_factory=dict)
    #: Whether every row is here; else only what is unsynced.
    full: bool = True
    #: Whether a part of the store could not be read: then what is missing was not deleted.
    damaged: bool = False
    created: int = 0
    #: The client's clock when it wrote the snapshot, to be compared with the server's.
    client_time: int = 0


@dataclass(frozen=True, kw_only=True)
class FieldSteps:
    """What a client did to a counter or a set.

    ``steps``, in their order, led from the value that it last pulled to the row's; in a row made here, from nothing.
    ``counted`` are older ones, which are in the pulled value, each with the clock (µs) of its answer.
    """

    steps: tuple[Step, ...] = ()
    counted: tuple[Step, ...] = ()

    @property
    def total(self) -> Value | None:
        """What the steps come to; None where there are none."""
        return sum_of(self.steps)


@dataclass(frozen=True, kw_only=True)
class RowLine:
    """A row of the store. ``base`` None: made locally and never acknowledged; empty: nothing unsynced in it."""

    model: str
    pk: str
    row: Row
    base: Clocks | None
    steps: Mapping[str, FieldSteps] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TombstoneLine:
    """A deletion at time ``at`` (µs): the client's own, based on the row's ``updated``, or one it pulled.

    ``scope`` is the value of the field that said the row's scope, where one did and it is known. ``checkpoint`` is the
    one that the client held when it deleted the row, None where that is the header's.
    """

    model: str
    pk: str
    at: int
    base: int | None
    pulled: bool
    scope: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeLine:
    """A change as it was pushed, which the server answered otherwise than by writing it.

    Its values are nowhere else in the store any more, and no pull has proven yet that the server keeps its item.
    ``replaced``: it was never sent, for the client has written other values since without knowing these.
    """

    change: Change
    replaced: bool = False

    @property
    def model(self) -> str:
        return self.change.model

    @property
    def pk(self) -> str:
        return self.change.pk


@dataclass(frozen=True, kw_only=True)
class UpdateLine:
    """One line of a client's update log: which field was written at which time (µs)."""

    model: str
    pk: str
    field: str
    at: int


@dataclass(frozen=True, kw_only=True)
class MalformedLine:
    """A line that is JSON but not of its kind's shape: an item of the ledger, not the end of the snapshot."""

    text: str
    reason: str


Line = RowLine | TombstoneLine | UpdateLine | ChangeLine | MalformedLine


@dataclass(kw_only=True)
class Counts:
    """How many lines of each kind."""

    rows: int = 0
    tombstones: int = 0
    updates: int = 0
    pushed: int = 0

    @property
    def total(self) -> int:
        return self.rows + self.tombstones + self.updates + self.pushed

    def as_wire(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "tombstones": self.tombstones,
            "updates": self.updates,
            "pushed": self.pushed,
        }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes of the decompressed snapshot and of any one of its lines, and how many lines there may be."""

    decompressed: int = 2 * 1024**3
    line: int = 8 * 1024**2
    lines: int = 2_000_000


DEFAULT_STRATEGY = "by_base"
