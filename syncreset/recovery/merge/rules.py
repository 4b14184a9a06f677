"""How lines become changes: the strategies in force."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from django.utils.module_loading import import_string

from ... import conf
from ...protocol.changes import Row, RowKey, Tombstone
from ...rules.strategies import STRATEGIES, FieldHistory, Strategy
from ...wire.model import WireModel
from .keys import SnapshotKeys


@dataclass(frozen=True, kw_only=True)
class Met:
    """What a restored server has of a chunk: the rows, their tombstones, and what their counters are made of."""

    rows: Mapping[RowKey, Row] = field(default_factory=dict)
    tombstones: Mapping[RowKey, Tombstone] = field(default_factory=dict)
    histories: Mapping[RowKey, Mapping[str, FieldHistory]] = field(default_factory=dict)
    #: The time (µs) up to which the server may have forgotten what it counted.
    forgotten: int = 0
    #: The values of counters and sets, by model, key, field and clock (µs), that a person is asked of already.
    asked: Collection[tuple[str, str, str, int]] = frozenset()
    #: The deleted rows of which the server knew nothing, and of which it has tombstones now.
    buried: Collection[RowKey] = frozenset()
    #: The places of the lines that are about another row than the server's of their key.
    strange: Collection[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How lines become changes. ``purged``: the client is older than the purge horizon, so absence proves nothing.

    ``strategy`` is the snapshot's; that of a model's ``SyncMeta`` or of the settings goes before it, unless a person
    has chosen (``strategy_chosen``). ``acked`` is the client's highest sequence number that the server has processed,
    ``remembered`` the time (µs) up to which its history holds what the client was given, ``pulled`` that of the
    client's last complete pull.
    """

    strategy: str
    last_synced: Mapping[str, int]
    healing: bool
    purged: bool
    strategy_chosen: bool = False
    #: The snapshot's update log; None where it has none.
    updates: SnapshotKeys | None = None
    acked: int = 0
    remembered: int = 0
    pulled: int = 0

    def strategy_of(self, model: WireModel | None) -> str:
        """The name of the strategy for rows of a model; None is one that is not tracked."""
        if self.strategy_chosen:
            return self.strategy
        own = None if model is None else model.options.recovery
        return str(own or conf.get("STRATEGY") or self.strategy)


def resolve_strategy(name: str) -> Strategy:
    """The strategy of a name: one of ``STRATEGIES``, or a function named by its dotted path.

    Only settings, models and operators may name functions; a snapshot chooses among ``STRATEGIES``.
    """
    return STRATEGIES[name] if name in STRATEGIES else import_string(name)
