"""The counted steps of counters and sets: each counts at most once, whatever road it takes, and however often.

What was counted is noted in the transaction that counts it. So the same step in a push that is repeated, in the
snapshot of a reset, in that of a copy of the store and in a recovery that is run again changes the value once.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import models

from ..clients.client import Client
from ..feed.checkpoints import kept_since
from ..protocol.changes import Row, RowKey
from ..protocol.clock import now
from ..protocol.errors import Problem
from ..protocol.printable import printable
from ..protocol.steps import Step, add_step, is_delta, is_steps, nothing, parse_steps, sum_of
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..rules.strategies import Counted, FieldHistory
from ..wire.fields.codec import spelled_delta
from ..wire.model import WireModel
from .context import Context
from .prepare import Prepared


class CountedStep(models.Model):
    """A step of a counter or a set that is in the server's value; or, without one, a value that healed it. Times in µs.

    ``at`` is the clock at which it was counted in the history that it was counted in, None where nobody knows: a server
    restored since has forgotten it, and brings it home with other devices' values. ``clock`` is what the field's clock
    became by it here, and ``before`` what it was.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    step = models.CharField(max_length=64, null=True)
    model = models.CharField(max_length=100)
    pk_text = models.CharField(max_length=255, db_column="pk")
    field = models.CharField(max_length=100)
    amount = models.JSONField(null=True)
    at = models.BigIntegerField(null=True)
    clock = models.BigIntegerField(default=0)
    before = models.BigIntegerField(default=0)
    #: The recovery that counted it, if one did: what undoing it takes back.
    counted_by = models.UUIDField(null=True)
    created = models.BigIntegerField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "step"], name="syncreset_counted_once")]
        indexes = [models.Index(fields=["model", "pk_text"], name="syncreset_counted_object")]

    def __str__(self) -> str:
        return printable(f"{self.step or 'a value'} of {self.model}.{self.field} {self.pk_text}")


@dataclass(kw_only=True)
class Counting:
    """What is counted of the steps of one batch, and what is about to be: by id the key of the row."""

    context: Context
    known: Mapping[str, str]
    fresh: dict[str, str] = field(default_factory=dict)

    @cached_property
    def purged(self) -> int:
        """The time (µs) up to which the server may have forgotten what was counted."""
        return kept_since()

    @classmethod
    def of(cls, batch: Iterable[Prepared], context: Context) -> "Counting":
        """What was counted before of the steps in the changes of a batch, whose rows are locked."""
        ids = {step for prepared in batch for steps in _ids(prepared.change).values() for step in steps}
        return cls(context=context, known=counted_among(context.client, ids))

    def net(self, change: Instruction) -> Instruction:
        """The change with the amounts of those steps alone that are not counted yet."""
        amounts: dict[str, Any] = {}
        from_nothing: dict[str, Any] = {}
        for name, value in change.fields.items():
            if not is_steps(value):
                continue
            steps = parse_steps(value)
            total = sum_of(steps)
            fresh = sum_of(step for step in steps if step.id not in self.known and step.id not in self.fresh)
            amounts[name] = nothing(total) if fresh is None else fresh
            from_nothing[name] = value["value"] if "value" in value else add_step(None, total)
        if not amounts:
            return change
        return replace(change, fields={**change.fields, **amounts}, from_nothing=from_nothing)

    def doubt(self, change: Instruction, model: WireModel, row: Row | None) -> Outcome | None:
        """What becomes of a change with steps of which nobody can tell whether they are counted: a person is asked.

        Their ids may be those of another row's steps; the server may have purged that they were counted; or it was
        restored since they were sent, and another device may have brought home a value that holds them.
        """
        steps_of = _ids(change)
        for name, steps in steps_of.items():
            if any(self._row_of(step, change.pk) != change.pk for step in steps):
                return self._unclear(change, name, "this step has the id of a step of another row")
        unknown = [name for name, steps in steps_of.items() if not steps.keys() <= self.known.keys()]
        if not unknown or row is None or self.context.undoing:
            return None
        purged = self.purged
        for name in unknown:
            if change.clock(name) < purged:
                detail = "this step is older than what the server has purged, and may have been counted"
                return self._unclear(change, name, detail)
        sent = [
            name
            for name in unknown
            if self.context.again or any(step.sent for step in steps_of[name].values())
        ]
        made_of = histories(model, {change.pk: row}) if sent else {}
        for name in sent:
            history = made_of.get(change.row_key, {}).get(name)
            if history is not None and history.healed and history.known > (change.base or {}).get(name, -1):
                detail = (
                    "this step was sent before, and may be in a value that another device has brought back"
                )
                return self._unclear(change, name, detail)
        return None

    def _row_of(self, step: str, default: str) -> str:
        """The key of the row under which a step is counted."""
        return self.known.get(step, self.fresh.get(step, default))

    def _unclear(self, change: Instruction, name: str, detail: str) -> Outcome:
        return Outcome.parked(self.net(change), Problem(code="step_unclear", detail=detail, field=name))

    def take(self, change: Instruction, outcome: Outcome) -> None:
        """What the change has counted is not counted once more by a later one of the batch."""
        for name, steps in _ids(change).items():
            if _took(outcome, name):
                self.fresh |= {step: change.pk for step in steps if step not in self.known}

    def note(self, batch: Sequence[Prepared], merged: Sequence[tuple[Row | None, Outcome]]) -> None:
        """Keep what was counted, within the caller's transaction."""
        noted: dict[str, CountedStep] = {}
        values: list[CountedStep] = []
        for prepared, (before, outcome) in zip(batch, merged, strict=True):
            change = prepared.change
            for name, steps in _ids(change).items():
                if not _took(outcome, name):
                    continue
                for step in steps.values():
                    if step.id in self.fresh and step.id not in noted:
                        noted[step.id] = self._row(change, name, step, before, outcome.row)
            if change.healing and outcome.writes:
                healed = _healed(change, outcome, {*prepared.model.counters, *prepared.model.sets})
                values += [self._row(change, name, None, before, outcome.row) for name in healed]
        CountedStep.objects.bulk_create([*noted.values(), *values], batch_size=500)

    def _row(
        self, change: Instruction, name: str, step: Step | None, before: Row | None, after: Row | None
    ) -> CountedStep:
        left = after or before
        clock = 0 if left is None else left.clock(name)
        return CountedStep(
            user_id=self.context.client.user_id,
            step=None if step is None else step.id,
            model=change.model,
            pk_text=change.pk,
            field=name,
            amount=None if step is None else step.amount,
            at=change.clock(name) if step is None else _at(step, clock) if self.context.restored else clock,
            clock=clock,
            before=0 if before is None else before.clock(name),
            counted_by=self.context.recovery,
        )


def _at(step: Step, clock: int) -> int | None:
    if step.at is not None:
        return step.at
    return None if step.sent else clock


def _healed(change: Instruction, outcome: Outcome, stepped: Collection[str]) -> list[str]:
    """The counters and sets that a healing change gave their value."""
    return [
        name
        for name, value in change.fields.items()
        if name in stepped and not is_steps(value) and _took(outcome, name)
    ]


def _ids(change: Instruction) -> dict[str, dict[str, Step]]:
    """The steps of a change, by field and id: those that it takes, and those that its values include."""
    ids: dict[str, dict[str, Step]] = {}
    for name, value in change.fields.items():
        if is_steps(value):
            ids[name] = {step.id: step for step in parse_steps(value)}
        elif name in change.includes:
            ids[name] = {
                step: Step(id=step, amount=None, at=at) for step, at in change.includes[name].items()
            }
    return ids


def _took(outcome: Outcome, name: str) -> bool:
    """Whether what a change says of a field is in the server's value now."""
    decision = outcome.decisions.get(name)
    return decision is not None and decision.kept == "client" and outcome.state != "rejected"


def counted_among(client: Client, ids: Collection[str]) -> dict[str, str]:
    """Those of some ids under which a step of the client's user is counted, with the key of its row."""
    return {step: entry.pk_text for step, entry in _entries(client, ids).items()}


def note_included(client: Client, steps: Mapping[tuple[str, str, str], Mapping[str, int | None]]) -> None:
    """Keep that steps are in the server's values already, by model, key and field: by id with their clocks.

    Of one that is known the earliest clock is kept: that of the history in which it was counted first.
    """
    known = _entries(client, {step for ids in steps.values() for step in ids})
    rows: dict[str, CountedStep] = {}
    earlier: dict[str, CountedStep] = {}
    for (model, pk, name), ids in steps.items():
        for step, at in ids.items():
            entry = known.get(step)
            if entry is None:
                rows[step] = CountedStep(
                    user_id=client.user_id, step=step, model=model, pk_text=pk, field=name, at=at
                )
            elif at is not None and (entry.at is None or at < entry.at):
                entry.at = at
                earlier[step] = entry
    CountedStep.objects.bulk_update(earlier.values(), ["at"], batch_size=200)
    # What another recovery of the same user notes at this moment is noted as well.
    CountedStep.objects.bulk_create(rows.values(), batch_size=500, ignore_conflicts=True)


def _entries(client: Client, ids: Collection[str]) -> dict[str, CountedStep]:
    """What is known of those steps of the client's user that are counted, by id."""
    known = CountedStep.objects.filter(user=client.user_id)
    wanted = sorted(ids)
    return {
        entry.step: entry
        for start in range(0, len(wanted), 500)
        for entry in known.filter(step__in=wanted[start : start + 500])
        if entry.step is not None
    }


def uncount(recovery: uuid.UUID, fields: Iterable[tuple[str, str, str]]) -> None:
    """Forget what a recovery has counted of some fields, by model, key and name: it was given back."""
    given_back = set(fields)
    counted = CountedStep.objects.filter(counted_by=recovery)
    gone = [
        entry.pk for entry in counted.iterator() if (entry.model, entry.pk_text, entry.field) in given_back
    ]
    for start in range(0, len(gone), 500):
        CountedStep.objects.filter(pk__in=gone[start : start + 500]).delete()


def forget_counted(before: int) -> int:
    """Forget the steps counted before a time (µs). Returns how many. No client may hold them any more."""
    count, _ = CountedStep.objects.filter(created__lt=before).delete()
    return count


def histories(model: WireModel, rows: Mapping[str, Row]) -> dict[RowKey, dict[str, FieldHistory]]:
    """What the values of the counters and sets of some rows are made of, by row and field."""
    names = [*model.counters, *model.sets]
    if not names or not rows:
        return {}
    logged: dict[tuple[str, str], list[CountedStep]] = {}
    for entry in CountedStep.objects.filter(model=model.label, pk_text__in=list(rows)).order_by("pk"):
        logged.setdefault((entry.pk_text, entry.field), []).append(entry)
    return {
        (model.label, pk): {
            name: _history(row.clock(name), _as_now(model, name, logged.get((pk, name), ())))
            for name in names
            if name in row.fields
        }
        for pk, row in rows.items()
    }


def _as_now(model: WireModel, name: str, logged: Iterable[CountedStep]) -> list[CountedStep]:
    """What was counted, with amounts in the form of the field's values of now: it may have had another type."""
    found = list(logged)
    for entry in found:
        if entry.amount is not None and is_delta(entry.amount) != (name in model.counters):
            entry.amount = None
        elif entry.amount is not None and is_delta(entry.amount):
            entry.amount = {"delta": spelled_delta(model.field(name), entry.amount["delta"])}
    return found


def _history(clock: int, logged: Sequence[CountedStep]) -> FieldHistory:
    """Back from the field's clock over the steps that led to it, to a write that was none: each leads further back."""
    by_clock = {entry.clock: entry for entry in logged if entry.clock > entry.before}
    reached, known, healed = clock, clock, False
    while (entry := by_clock.pop(reached, None)) is not None:
        if entry.step is None:
            known, healed = reached if entry.at is None else entry.at, True
            break
        reached = known = entry.before
    counted, since = {}, []
    for entry in logged:
        if entry.step is None:
            continue
        here = entry.created if entry.at == entry.clock else 0
        counted[entry.step] = Counted(step=Step(id=entry.step, amount=entry.amount), at=entry.at, here=here)
        if entry.clock > reached and entry.amount is not None:
            since.append(counted[entry.step])
    clocks = frozenset({clock, *(entry.clock for entry in logged), *(entry.before for entry in logged)})
    return FieldHistory(known=known, clocks=clocks, since=tuple(since), counted=counted, healed=healed)
