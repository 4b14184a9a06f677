"""How lines become changes: the strategies in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.module_loading import import_string

from ... import conf
from ...protocol.changes import Row, RowKey, Tombstone
from ...rules.strategies import STRATEGIES, Strategy
from ...wire.model import WireModel
from .lines import UpdateLog
from .steps import AlreadyApplied

#: The rows and the tombstones that a restored server has.
Met = tuple[Mapping[RowKey, Row], Mapping[RowKey, Tombstone]]
NOTHING_MET: Met = ({}, {})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How lines become changes. ``purged``: the client is older than the purge horizon, so absence proves nothing.

    ``strategy`` is the snapshot's; that of a model's ``SyncMeta`` or of the settings goes before it, unless a person
    has chosen (``strategy_chosen``). ``already_applied`` is what of the lines' steps must not be added again.
    """

    strategy: str
    last_synced: Mapping[str, int]
    healing: bool
    purged: bool
    strategy_chosen: bool = False
    updates: UpdateLog = field(default_factory=UpdateLog)
    already_applied: AlreadyApplied = field(default_factory=AlreadyApplied)

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
