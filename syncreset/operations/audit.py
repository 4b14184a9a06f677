"""Compares what tracking has written with the tables themselves, and mends it: triggers, entries, clocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField, Model, Q, Value

from ..feed.entries import Entry, EntryKind
from ..tracking.registry import tracked_models
from ..tracking.triggers import install as triggers
from ..tracking.triggers.table import TrackedTable
from ..wire.model import wire_model

#: Each kind of fault in words. All but the first can be mended.
FAULTS = {
    "not_migrated": "the table or its clock columns are missing",
    "triggers": "triggers missing, stale or disabled",
    "unstamped": "rows without clocks",
    "unentered": "rows without an entry in their scope",
    "misplaced": "entries in a scope that the row is not in",
    "orphaned": "entries of rows that are gone",
}

_FAULT_OF_KIND = {
    EntryKind.ROW: "unentered",
    EntryKind.DEPARTED: "misplaced",
    EntryKind.DELETED: "orphaned",
}
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``count`` faults of one kind in one model's table, some of them named: triggers, keys, or ``key in scope``.

    ``mended``: the fault was there, and is not any more.
    """

    model: str
    fault: str
    count: int
    examples: tuple[str, ...]
    mended: bool = False


def audit(
    connection: BaseDatabaseWrapper,
    *,
    mend: bool = False,
    on_model: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """What is wrong with the tracked models of a database, and with ``mend``, what was.

    Each table is compared in one query, so writes may go on. Mending locks one table at a time; where it departs or
    deletes, clients are told at their next pull. ``on_model`` hears how many of all models are done.
    """
    models = [model for model in tracked_models() if router.allow_migrate_model(connection.alias, model)]
    findings: list[Finding] = []
    for done, model in enumerate(models):
        on_model(done, len(models))
        found = _compare(connection, model)
        findings += _mend(connection, model, found) if mend and found else found
    on_model(len(models), len(models))
    return findings


def _compare(connection: BaseDatabaseWrapper, model: type[Model]) -> list[Finding]:
    tables = triggers.tables_of(connection, [model])
    label = wire_model(model).label
    if not tables:
        return [Finding(model=label, fault="not_migrated", count=1, examples=(model._meta.db_table,))]
    [table] = tables
    found = {
        "triggers": _wrong_triggers(connection, table),
        "unstamped": _unstamped(connection, model),
    }
    for discrepancy in triggers.discrepancies(connection, table, examples=_EXAMPLES):
        named = [f"{pk} in {scope}" for pk, scope in discrepancy.examples]
        found[_FAULT_OF_KIND[EntryKind(discrepancy.kind)]] = (discrepancy.count, named)
    return [
        Finding(model=label, fault=fault, count=found[fault][0], examples=tuple(found[fault][1]))
        for fault in FAULTS
        if fault in found and found[fault][0]
    ]


def _wrong_triggers(connection: BaseDatabaseWrapper, table: TrackedTable) -> tuple[int, Sequence[str]]:
    wanted = {trigger.name: trigger.text for trigger in triggers.expected(connection, table)}
    present = {
        name: trigger.text
        for name, trigger in triggers.installed(connection).items()
        if trigger.table in table.names
    }
    wrong = sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))
    return len(wrong), wrong[:_EXAMPLES]


def _unstamped(connection: BaseDatabaseWrapper, model: type[Model]) -> tuple[int, Sequence[str]]:
    if not wire_model(model).keeps_own_clocks:
        entries = Entry.objects.using(connection.alias).filter(
            model=wire_model(model).label, kind=EntryKind.ROW, clocks__isnull=True
        )
        return entries.count(), list(
            entries.order_by("pk_text").values_list("pk_text", flat=True)[:_EXAMPLES]
        )
    empty = (
        Q(field_timestamps={})
        | Q(field_timestamps=Value(None, JSONField()))
        | Q(field_timestamps__isnull=True)
    )
    rows = model._base_manager.using(connection.alias).filter(empty)
    return rows.count(), [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)[:_EXAMPLES]]


def _mend(connection: BaseDatabaseWrapper, model: type[Model], found: list[Finding]) -> list[Finding]:
    """Mend a model's table, and compare it again: what is still there was not mended."""
    for table in triggers.tables_of(connection, [model]):
        with transaction.atomic(using=connection.alias):
            triggers.install(connection, [model])
            triggers.reconcile(connection, table)
    left = {finding.fault: finding for finding in _compare(connection, model)}
    mended = [
        Finding(
            model=finding.model,
            fault=finding.fault,
            count=finding.count,
            examples=finding.examples,
            mended=True,
        )
        for finding in found
        if finding.fault not in left
    ]
    return [*mended, *left.values()]
