"""From the lines of a snapshot of an older schema to lines of the current one, and what cannot be carried over.

What changed in meaning only its developer knows: ``SyncMeta.renamed`` and ``renamed_from`` say what things were called,
functions registered with ``@upcast`` turn old values into new ones. Values that mean the same under both schemas are
carried over by themselves. All others are left behind, with what they were, for a person to look at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...protocol.changes import ROW_CLOCK, Row
from ...protocol.errors import Problem
from ...protocol.snapshot.lines import (
    ChangeLine,
    FieldSteps,
    Line,
    MalformedLine,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from ...wire.fields.base import ValueFault
from ...wire.fields.codec import is_server_computed
from ...wire.model import WireModel, model_labelled
from ...wire.schema import current_schema, key_type, published
from .plan import (
    CONVERSIONS,
    Conversion,
    Fate,
    Plan,
    aliases_of,
    current_name,
    described_alike,
    fate_of,
    type_text,
)
from .register import RegisteredUpcaster, upcaster_of, upcasters
from .values import CannotCarry, called, carried_steps, carried_value

#: The code of items that wait because of what a schema change did.
CODE = "schema_changed"


@dataclass(frozen=True, kw_only=True)
class Left:
    """What of a line could not be carried over: as a line of its own, and why.

    The line is named as things are now wherever they still are; its values are those of the snapshot.
    """

    line: RowLine | TombstoneLine
    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Upcast:
    """A line in terms of the current schema (None: nothing of it is carried over), and what was left behind."""

    line: Line | None
    left: tuple[Left, ...] = ()

    @property
    def key(self) -> tuple[str, str] | None:
        """Model and primary key of the row that the line is about."""
        line = self.line or (self.left[0].line if self.left else None)
        return None if line is None or isinstance(line, MalformedLine) else (line.model, line.pk)


class Upcaster:
    """Carries lines over from one published schema to the current one. Without a document it lets all lines pass."""

    def __init__(self, document: Mapping[str, Any] | None) -> None:
        self._identity = document is None
        self._old = {model["name"]: model for model in (document or {}).get("models", ())}
        self._new = {model["name"]: model for model in current_schema()["models"]}
        self.aliases_of = aliases_of(self._old)
        self._plans: dict[str, Plan] = {}

    def upcast(self, line: Line) -> Upcast:
        """The line in terms of the current schema, and what of it had to be left behind."""
        if self._identity or isinstance(line, MalformedLine):
            return Upcast(line=line)
        plan = self._plan(line.model)
        try:
            pk = self._key_of(plan, line.pk)
        except CannotCarry as reason:
            return self._left_as_a_whole(plan, line, str(reason))
        if isinstance(line, UpdateLine):
            return Upcast(
                line=replace(line, model=plan.label, pk=pk, field=self._steps(plan, line.field)[0].target)
            )
        if plan.model is None:
            return self._left_as_a_whole(plan, line, f"{plan.name} is not synced any more")
        if isinstance(line, TombstoneLine):
            return Upcast(line=replace(line, model=plan.label, pk=pk))
        if isinstance(line, ChangeLine):
            return self._change(plan, pk, line)
        return self._row(plan, pk, line)

    def holds(self, label: str) -> bool:
        """Whether a client of the old schema could hold rows of a model under the keys that they have now."""
        if self._identity:
            return True
        plans = [self._plan(name) for name in self._old]
        return any(plan.label == label and not (plan.key_step and plan.key_step.reason) for plan in plans)

    def last_synced(self, times: Mapping[str, int]) -> dict[str, int]:
        """Times by model, with those of renamed models under their names of now."""
        renamed = {self._plan(name).label: at for name, at in times.items()} if not self._identity else {}
        return {**renamed, **times}

    def fates(self) -> Iterator[Fate]:
        """What becomes of every model and field of the old schema."""
        for name, described in self._old.items():
            plan = self._plan(name)
            if plan.model is None:
                yield Fate(model=name, field=None, kind="parked", target=None, detail="its rows are parked")
                continue
            if plan.label != name:
                yield Fate(
                    model=name,
                    field=None,
                    kind="renamed",
                    target=plan.label,
                    detail=f"renamed to {plan.label}",
                )
            if plan.key_step is not None and (
                plan.key_step.kind != "same" or plan.key_step.target != described["primary_key"]
            ):
                yield replace(fate_of(plan, described["primary_key"], plan.key_step), field=None)
            for old in described["fields"]:
                for step in self._steps(plan, old["name"]):
                    yield fate_of(plan, old["name"], step)

    # -- rows -----------------------------------------------------------------------------------------------------

    def _row(self, plan: Plan, pk: str, line: RowLine) -> Upcast:
        fields: dict[str, Any] = {}
        clocks: dict[str, int] = {name: at for name, at in line.row.clocks.items() if name == ROW_CLOCK}
        base: dict[str, int] = {}
        steps: dict[str, FieldSteps] = {}
        left: list[Left] = []
        for name, value in line.row.fields.items():
            for step in self._steps(plan, name):
                target = step.target
                try:
                    if target in fields:
                        raise CannotCarry(f"{target} already has the value of another old field")
                    described = plan.described.get(name, {"name": name})
                    carried = carried_value(plan, step, value, described)
                    if name in line.steps and step.kind != "upcast":
                        steps[target] = carried_steps(step, line.steps[name], described)
                    fields[target] = carried
                except CannotCarry as reason:
                    kept = _left_field(plan, pk, line, name, step, str(reason))
                    left.extend([] if kept is None else [kept])
                    continue
                if name in line.row.clocks:
                    clocks[target] = line.row.clocks[name]
                if line.base is not None and name in line.base:
                    base[target] = line.base[name]
        row = Row(fields=fields, updated=line.row.updated, clocks=clocks)
        known = None if line.base is None else base
        line = RowLine(model=plan.label, pk=pk, row=row, base=known, steps=steps)
        return Upcast(line=line, left=tuple(left))

    def _change(self, plan: Plan, pk: str, line: ChangeLine) -> Upcast:
        """A change that was pushed: its fields as those of a row."""
        as_row = _as_row(line)
        if isinstance(as_row, TombstoneLine):
            return Upcast(line=replace(line, change=replace(line.change, model=plan.label, pk=pk)))
        upcast = self._row(plan, pk, as_row)
        carried = upcast.line
        if not isinstance(carried, RowLine) or not carried.row.fields:
            return replace(upcast, line=None)
        base = None if carried.base is None else {name: at for name, at in carried.base.items() if at >= 0}
        kept = replace(
            line.change,
            model=plan.label,
            pk=pk,
            fields=carried.row.fields,
            clocks=carried.row.clocks,
            base=base,
        )
        return replace(upcast, line=replace(line, change=kept))

    def _left_as_a_whole(self, plan: Plan, line: Line, reason: str) -> Upcast:
        if isinstance(line, ChangeLine):
            line = _as_row(line)
        if isinstance(line, RowLine | TombstoneLine):
            kept = replace(line, model=plan.label)
            return Upcast(line=None, left=(Left(line=kept, problem=Problem(code=CODE, detail=reason)),))
        return Upcast(line=replace(line, model=plan.label) if isinstance(line, UpdateLine) else line)

    # -- plans ----------------------------------------------------------------------------------------------------

    def _plan(self, name: str) -> Plan:
        if name not in self._plans:
            self._plans[name] = self._make_plan(name)
        return self._plans[name]

    def _make_plan(self, name: str) -> Plan:
        old = self._old.get(name, {"name": name, "fields": []})
        label = self.aliases_of.get(name, name)
        model = model_labelled(label)
        plan = Plan(
            name=name, label=label, model=model, described={field["name"]: field for field in old["fields"]}
        )
        if model is not None:
            plan.known = model.columns
            plan.now = {field["name"]: field for field in self._new[label]["fields"]}
            plan.key_step, plan.key = self._key_step(plan, old, model)
        return plan

    def _key_step(
        self, plan: Plan, old: Mapping[str, Any], model: WireModel
    ) -> tuple[Conversion, Mapping[str, Any]]:
        """How keys are carried over. Of the same kind they are what they were, whatever the column is called."""
        name = model.key.name
        described = {
            "name": old.get("primary_key", name),
            "type": old.get("primary_key_type", key_type(model)),
        }
        if described["type"] == key_type(model):
            return Conversion(target=name, kind="same"), described
        function = upcaster_of(plan.label, name)
        if function is None:
            reason = f"the primary key of {plan.label} is of another type now"
            return Conversion(target=name, kind="parked", reason=reason), described
        return Conversion(target=name, kind="upcast", convert=function.function), described

    def _key_of(self, plan: Plan, pk: str) -> str:
        step = plan.key_step
        if step is None or plan.model is None or (not step.reason and step.convert is None):
            return pk
        if step.reason or step.convert is None:
            raise CannotCarry(step.reason)
        made = called(step.convert, pk, plan.key)
        try:
            plan.model.key_value(made)
        except ValueFault as fault:
            raise CannotCarry(
                f"the function for {plan.label}.{step.target} gave no key: {fault.detail}"
            ) from fault
        return str(made)

    def _steps(self, plan: Plan, name: str) -> tuple[Conversion, ...]:
        """Where values of an old field go: to its field of now, or to those that name it as their source."""
        if name not in plan.steps:
            plan.steps[name] = tuple(self._make_steps(plan, name))
        return plan.steps[name]

    def _make_steps(self, plan: Plan, name: str) -> Iterator[Conversion]:
        if plan.model is None:
            yield Conversion(target=name, kind="parked", reason=f"{plan.name} is not synced any more")
            return
        sourced = [
            entry
            for entry in upcasters()
            if (entry.model, entry.source) == (plan.label, name)
            and entry.field in plan.known
            and entry.field not in plan.described
        ]
        for entry in sourced:
            yield self._upcast_step(plan, entry)
        target = current_name(name, plan.model.options.renamed, plan.described)
        if target in plan.now:
            yield self._field_step(plan, name, target)
        elif not sourced:
            yield Conversion(target=name, kind="parked", reason=f"{plan.label} has no field {name} any more")

    def _upcast_step(self, plan: Plan, entry: RegisteredUpcaster) -> Conversion:
        return Conversion(
            target=entry.field,
            kind="upcast",
            field=plan.known[entry.field],
            convert=entry.function,
            checked=True,
        )

    def _field_step(self, plan: Plan, name: str, target: str) -> Conversion:
        field = plan.known.get(target)
        old, new = plan.described.get(name), plan.now[target]
        if field is not None and is_server_computed(field):
            return Conversion(target=target, kind="same", field=field)
        same_field = old is not None and described_alike(old, new, self.aliases_of)
        entry = upcaster_of(plan.label, target)
        asked = field is not None and not (same_field and name == target)
        if entry is not None and entry.source in (None, name) and asked:
            return self._upcast_step(plan, entry)
        if old is not None and old["type"] == "ForeignKey" and new["type"] == "ForeignKey":
            return self._relation_step(plan, name, target, old, new)
        kind: Literal["same", "renamed"] = "same" if name == target else "renamed"
        if same_field or old is None:
            return Conversion(target=target, kind=kind, field=field, checked=old is None)
        if old["type"] == new["type"] and old.get("to") == new.get("to"):
            return Conversion(target=target, kind=kind, field=field, checked=True)
        convert = CONVERSIONS.get((old["type"], new["type"]))
        if convert is None:
            reason = f"{plan.label}.{target} is {type_text(new)} now, and was {type_text(old)}"
            return Conversion(target=target, kind="parked", reason=reason)
        return Conversion(target=target, kind="converted", field=field, convert=convert, checked=True)

    def _relation_step(
        self, plan: Plan, name: str, target: str, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Conversion:
        """A relation is carried over if it points to the same model, by whatever name, by the keys of now."""
        pointed = self._plan(old["to"])
        if pointed.label != new["to"]:
            reason = f"{plan.label}.{target} points to {new['to']} now, and did to {old['to']}"
            return Conversion(target=target, kind="parked", reason=reason)
        kind: Literal["same", "renamed"] = "same" if name == target else "renamed"
        step = Conversion(
            target=target, kind=kind, field=plan.known.get(target), checked=old["null"] != new["null"]
        )
        key_step = pointed.key_step
        if key_step is None or key_step.kind == "same":
            return step
        if key_step.reason or key_step.convert is None:
            return Conversion(target=target, kind="parked", reason=key_step.reason)
        described, function = pointed.key, key_step.convert
        return replace(step, kind="upcast", convert=lambda value, _: function(value, described), checked=True)


def upcaster_for(schema: str) -> Upcaster:
    """The upcaster for snapshots of a published schema."""
    return Upcaster(None if schema == current_schema()["hash"] else published(schema))


def fates(document: Mapping[str, Any]) -> list[Fate]:
    """What would become of unsynced values of clients that were built from a schema."""
    return list(Upcaster(document).fates())


def _as_row(line: ChangeLine) -> RowLine | TombstoneLine:
    """What a change says, as the line of a store that it were still in."""
    change = line.change
    if change.op == "delete":
        base = (change.base or {}).get(ROW_CLOCK)
        at = change.clock(ROW_CLOCK)
        return TombstoneLine(
            model=change.model, pk=change.pk, at=at, base=base, pulled=False, checkpoint=change.checkpoint
        )
    row = Row(fields=change.fields, updated=max(change.clocks.values(), default=0), clocks=change.clocks)
    base_of = None if change.base is None else dict.fromkeys(change.fields, -1) | dict(change.base)
    return RowLine(model=change.model, pk=change.pk, row=row, base=base_of)


def _left_field(plan: Plan, pk: str, line: RowLine, name: str, step: Conversion, reason: str) -> Left | None:
    """A field that stays behind, under its name of now where it has one. A row made here has no use for a null."""
    value = line.row.fields[name]
    if line.base is None and value is None:
        return None
    shown = step.target
    clock = line.row.clock(name)
    base = None if line.base is None else {shown: line.base[name]} if name in line.base else {}
    kept = RowLine(
        model=plan.label,
        pk=pk,
        row=Row(fields={shown: value}, updated=line.row.updated, clocks={ROW_CLOCK: clock, shown: clock}),
        base=base,
    )
    return Left(line=kept, problem=Problem(code=CODE, detail=reason, field=shown))
