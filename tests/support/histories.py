"""Random histories: what others did on a server, what a device did offline, and how its snapshot is recovered."""

import gzip
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError
from hypothesis import strategies as st

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine, TombstoneLine, UpdateLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.rules.strategies import STRATEGIES
from syncreset.tracking.registry import options_for
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter, Vet, Visit
from tests.support.device import Device

#: A row by its model's label and its place among the few rows that there may be.
Key = tuple[str, int]

MODELS: Mapping[str, type[models.Model]] = {
    "shelters.shelter": Shelter,
    "shelters.vet": Vet,
    "shelters.dog": Dog,
    "shelters.visit": Visit,
    "market.tag": Tag,
    "market.product": Product,
}
ORDER = tuple(MODELS)
HOUR = 3_600_000_000
TAGS = ("blue", "green", "red")
#: A chip that a dog has which the device's user may not see.
HIDDEN_CHIP = "hidden"
#: What is in no table, whatever happens.
NOWHERE = str(uuid.UUID(int=0xDEAD))


@dataclass(frozen=True, kw_only=True)
class Act:
    """Somebody puts or deletes a row. ``fields`` are wire values; a put makes the row where it is not there."""

    op: str
    key: Key
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole story.

    ``forgotten``: acts that the device learns of and the server then loses. ``broken``: which broken lines are in the
    snapshot; ``repeated``: whether a row is in it twice. ``logged``: whether the device keeps an update log, and
    ``tells_deletions`` whether it keeps tombstones. ``clock_offset`` (µs): how far its clock is off.
    """

    before: tuple[Act, ...]
    forgotten: tuple[Act, ...]
    after: tuple[Act, ...]
    local: tuple[Act, ...]
    broken: tuple[int, ...]
    repeated: bool
    tells_deletions: bool
    logged: bool
    strategy: str
    full: bool
    healing: bool
    chunk: int
    clock_offset: int
    policy: str
    on_delete: str


def pk_of(key: Key) -> str:
    label, number = key
    if label == "shelters.vet":
        return f"V{number}"
    if label == "market.tag":
        return TAGS[number]
    return str(uuid.UUID(int=(ORDER.index(label) << 64) + number + 1))


def _references(label: str, *more: str | None) -> st.SearchStrategy[str | None]:
    return st.sampled_from([*(pk_of((label, number)) for number in range(3)), *more])


_FIELDS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "shelters.vet": {"name": st.sampled_from("ab"), "phone": st.sampled_from([None, "1", "2"])},
    "shelters.dog": {
        "name": st.sampled_from("ab"),
        "age": st.sampled_from([None, 1, 2]),
        "notes": st.sampled_from(["", "x", "y"]),
        "chip": st.sampled_from([None, "1", "2"]),
        "mother": _references("shelters.dog", None, None),
    },
    "shelters.visit": {
        "dog": _references("shelters.dog"),
        "vet": _references("shelters.vet", None, None),
        "remarks": st.sampled_from(["", "x", "y"]),
    },
    "market.product": {
        "name": st.sampled_from("ab"),
        "stock": st.sampled_from([0, 1, 2]),
        "tags": st.sets(st.sampled_from(TAGS)).map(sorted),
    },
}
_WHOLE: Mapping[str, Mapping[str, Any]] = {
    "shelters.vet": {"name": "a", "phone": None},
    "shelters.dog": {
        "name": "a",
        "age": None,
        "notes": "",
        "weight": None,
        "born": None,
        "mother": None,
        "chip": None,
    },
    "shelters.visit": {
        "dog": pk_of(("shelters.dog", 0)),
        "vet": None,
        "at": "2026-01-01T00:00:00.000000Z",
        "kind": "check",
        "remarks": "",
    },
    "market.product": {
        "name": "a",
        "stock": 0,
        "sold": "0",
        "weight": "0.00",
        "ordered": None,
        "tags": [],
        "goes_with": [],
    },
}
#: What only a device may try to write.
_FAULTS: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "shelters.vet": (("phone", 5),),
    "shelters.dog": (
        ("age", "x"),
        ("chip", HIDDEN_CHIP),
        ("mother", NOWHERE),
        ("intake_no", "7"),
        ("colour", "red"),
    ),
    "shelters.visit": (("vet", "V9"), ("dog", NOWHERE), ("at", "soon")),
    "market.product": (("stock", -1), ("tags", ["purple"])),
}
#: Lines that are JSON, and no row, tombstone or update.
_BROKEN: tuple[Mapping[str, Any], ...] = (
    {"row": ["shelters.dog"]},
    {"row": [5, "x", {}, 1, {}, {}]},
    {"row": ["shelters.dog", NOWHERE, [], 1, {}, None]},
    {"tombstone": ["shelters.dog", NOWHERE, "yesterday", None]},
    {"update": ["shelters.dog", NOWHERE, 5, 1]},
)

_LABELS = st.sampled_from(
    ["shelters.dog", "shelters.dog", "shelters.visit", "shelters.vet", "market.product"]
)


@st.composite
def _acts(draw: st.DrawFn, *, faulty: bool = False) -> Act:
    label = draw(_LABELS)
    key = (label, draw(st.sampled_from([0, 0, 1, 1, 2])))
    if draw(st.integers(0, 3)) == 0:
        return Act(op="delete", key=key, fields={})
    names = draw(st.sets(st.sampled_from(sorted(_FIELDS[label])), min_size=1, max_size=3))
    fields = {name: draw(_FIELDS[label][name]) for name in sorted(names)}
    if faulty and draw(st.integers(0, 5)) == 0:
        name, value = draw(st.sampled_from(_FAULTS[label]))
        fields[name] = value
    return Act(op="put", key=key, fields=fields)


def _some_acts(most: int, *, faulty: bool = False) -> st.SearchStrategy[tuple[Act, ...]]:
    return st.lists(_acts(faulty=faulty), max_size=most).map(tuple)


#: How every story begins: rows of each model, with relations of each kind.
_BEGINNING = (
    Act(op="put", key=("shelters.vet", 0), fields={}),
    Act(op="put", key=("shelters.vet", 1), fields={}),
    Act(op="put", key=("shelters.dog", 0), fields={"chip": "1", "age": 1}),
    Act(op="put", key=("shelters.dog", 1), fields={"mother": pk_of(("shelters.dog", 0))}),
    Act(op="put", key=("shelters.visit", 0), fields={"vet": "V0"}),
    Act(op="put", key=("shelters.visit", 1), fields={"dog": pk_of(("shelters.dog", 1))}),
    Act(op="put", key=("market.product", 0), fields={"tags": ["red"]}),
    Act(op="put", key=("market.product", 1), fields={"stock": 1}),
)

#: What others do after a recovery.
since = _some_acts(4)

plans = st.builds(
    Plan,
    before=_some_acts(4),
    forgotten=_some_acts(4),
    after=st.lists(_acts(), min_size=1, max_size=8).map(tuple),
    local=st.lists(_acts(faulty=True), min_size=2, max_size=10).map(tuple),
    broken=st.lists(st.integers(0, len(_BROKEN) - 1), max_size=2).map(tuple),
    repeated=st.sampled_from([False, False, False, True]),
    tells_deletions=st.sampled_from([True, True, False]),
    logged=st.booleans(),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    full=st.booleans(),
    healing=st.booleans(),
    chunk=st.integers(1, 8),
    clock_offset=st.sampled_from([-HOUR, 0, 0, HOUR]),
    policy=st.sampled_from(["newest", "newest", "client", "server", "review"]),
    on_delete=st.sampled_from(["keep", "keep", "delete", "review"]),
)


class World:
    """One plan carried out up to the upload: a server with rows, and the queued recovery of a snapshot."""

    def __init__(self, plan: Plan, device: Device, shelter: Shelter) -> None:
        self.plan = plan
        self.shelter = shelter
        self.device = device
        device.checkpoint = None
        device.rows.clear()
        self._others(_BEGINNING + plan.before)
        device.pull()
        if plan.healing:
            self._forget(plan.forgotten)
        self.lines = self._local(now() + plan.clock_offset)
        self._others(plan.after)
        (reset,) = Reset.objects.force(Client.objects.filter(pk=device.client), full=plan.healing)
        header = {
            "strategy": plan.strategy,
            "full": plan.full or plan.healing,
            "client_time": now() + plan.clock_offset,
        }
        self.text = self._with_faults(gzip.decompress(device.snapshot(str(reset.pk), self.lines, **header)))
        self.recovery = Recovery.objects.get(pk=device.upload(str(reset.pk), gzip.compress(self.text)))

    def run(self, recovery: Recovery | None = None) -> Recovery:
        """Run a recovery of the world's snapshot to its end: the first one, unless another is given."""
        chosen = recovery or self.recovery
        run(chosen.pk)
        chosen.refresh_from_db()
        return chosen

    def others(self, acts: tuple[Act, ...]) -> None:
        """Others go on working on the server."""
        self._others(acts)

    def raw_lines(self) -> list[dict[str, Any]]:
        """The lines of the snapshot as they were uploaded, without header and end."""
        return [json.loads(line) for line in self.text.splitlines()[1:-1]]

    def _others(self, acts: tuple[Act, ...]) -> None:
        for act in acts:
            try:
                with transaction.atomic():
                    self._on_server(act)
            except (IntegrityError, ProtectedError):
                continue  # Somebody tried what cannot be done.

    def _on_server(self, act: Act) -> None:
        label, _ = act.key
        model = MODELS[label]
        row = model._base_manager.filter(pk=pk_of(act.key)).first()
        if act.op == "delete":
            if row is not None:
                row.delete()
            return
        fields = dict(act.fields) if row is not None else {**_WHOLE[label], **act.fields}
        sets = {name: fields.pop(name) for name in ("tags", "goes_with") if name in fields}
        for name, target in (("dog", Dog), ("mother", Dog), ("vet", Vet)):
            if fields.get(name) is not None and not target._base_manager.filter(pk=fields[name]).exists():
                return
        attnames: dict[str, str] = {field.name: field.attname for field in model._meta.concrete_fields}
        columns: dict[str, Any] = {attnames[name]: value for name, value in fields.items()}
        if row is None:
            owner = {"shelter": self.shelter} if hasattr(model, "shelter") else {}
            row = model._base_manager.create(pk=pk_of(act.key), **owner, **columns)
        else:
            model._base_manager.filter(pk=row.pk).update(**columns)
        for name, elements in sets.items():
            getattr(row, name).set(elements)

    def _forget(self, acts: tuple[Act, ...]) -> None:
        """The device learns of what others did, and the server is set back to before."""
        with transaction.atomic():
            self._others(acts)
            self.device.pull()
            transaction.set_rollback(True)

    def _local(self, at: int) -> list[Line]:
        """The store of the device after its offline work, as the lines of its snapshot."""
        rows: dict[tuple[str, str], RowLine] = {
            key: RowLine(
                model=key[0],
                pk=key[1],
                row=Row(fields=row["fields"], updated=row["updated"], clocks=row["clocks"]),
                base={},
            )
            for key, row in self.device.rows.items()
        }
        tombstones: list[TombstoneLine] = []
        if self.plan.healing or self.plan.full:
            tombstones += [
                TombstoneLine(model=told["model"], pk=told["pk"], at=told["deleted"], base=None, pulled=True)
                for told in self.device.told
                if "deleted" in told
            ]
        for place, act in enumerate(self.plan.local):
            key = (act.key[0], pk_of(act.key))
            held = rows.get(key)
            if act.op == "put":
                rows[key] = self._made(act, at + place) if held is None else _edited(held, act, at + place)
            elif held is not None:
                del rows[key]
                if held.base is not None:
                    known = self.device.rows[key]["updated"]
                    tombstones.append(
                        TombstoneLine(model=key[0], pk=key[1], at=at + place, base=known, pulled=False)
                    )
        tombstones = [line for line in tombstones if (line.model, line.pk) not in rows]
        if not self.plan.tells_deletions:
            tombstones.clear()
        kept = [rows[key] for key in sorted(rows, key=_parents_first) if self._travels(rows[key])]
        updates = [
            UpdateLine(model=line.model, pk=line.pk, field=name, at=line.row.clock(name))
            for line in kept
            for name in (line.base or {} if self.plan.logged else {})
        ]
        if self.plan.repeated and kept:
            kept.insert(0, kept[-1])
        return [*kept, *updates, *tombstones]

    def _made(self, act: Act, at: int) -> RowLine:
        label, _ = act.key
        owner = {} if label in ("shelters.vet", "market.product") else {"shelter": str(self.shelter.pk)}
        fields = {**owner, **_WHOLE[label], **act.fields}
        return RowLine(
            model=label,
            pk=pk_of(act.key),
            row=Row(fields=fields, updated=at, clocks={"*": at}),
            base=None,
        )

    def _travels(self, line: RowLine) -> bool:
        return self.plan.full or self.plan.healing or line.base is None or bool(line.base)

    def _with_faults(self, text: bytes) -> bytes:
        head, *lines, end = text.splitlines()
        counts = json.loads(end)["end"]
        for place, number in enumerate(self.plan.broken):
            (kind,) = _BROKEN[number]
            counts[f"{kind}s"] += 1
            lines.insert(min(2 * place, len(lines)), json.dumps(_BROKEN[number]).encode())
        return b"\n".join([head, *lines, json.dumps({"end": counts}).encode()]) + b"\n"


def _edited(line: RowLine, act: Act, at: int) -> RowLine:
    fields = {**line.row.fields, **act.fields}
    if line.base is None:
        clocks = {"*": at}
        return replace(line, row=Row(fields=fields, updated=at, clocks=clocks))
    bases = {name: line.row.clock(name) for name in act.fields} | dict(line.base)
    clocks = {**line.row.clocks, **dict.fromkeys(act.fields, at)}
    return replace(line, row=Row(fields=fields, updated=max(line.row.updated, at), clocks=clocks), base=bases)


def _parents_first(key: tuple[str, str]) -> tuple[int, str]:
    return ORDER.index(key[0]), key[1]


@contextmanager
def rules_of(plan: Plan) -> Iterator[None]:
    """Every model decides by the plan's policy, and recoveries go in chunks of the plan's size."""
    said = {"conflicts": {"*": plan.policy}, "on_delete": plan.on_delete}
    with pytest.MonkeyPatch.context() as patched:
        for model in MODELS.values():
            declared = getattr(model, "SyncMeta", None)
            bases = () if declared is None else (declared,)
            patched.setattr(model, "SyncMeta", type("SyncMeta", bases, said), raising=False)
        patched.setattr(settings, "SYNCRESET", {**settings.SYNCRESET, "RECOVERY_CHUNK": plan.chunk})
        options_for.cache_clear()
        yield
    options_for.cache_clear()


def tables() -> dict[tuple[str, str], dict[str, Any]]:
    """Every row of the models with every column, the clocks and the elements of its sets included."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for label, model in MODELS.items():
        sets = [many.name for many in model._meta.many_to_many]
        for row in model._base_manager.all():
            columns = {field.name: getattr(row, field.attname) for field in model._meta.concrete_fields}
            elements = {
                name: sorted(map(str, getattr(row, name).values_list("pk", flat=True))) for name in sets
            }
            found[label, str(row.pk)] = {**columns, **elements}
    return found


def values(rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows without their clocks."""
    clocks = ("last_updated", "field_timestamps")
    return {
        key: {name: value for name, value in row.items() if name not in clocks} for key, row in rows.items()
    }


def entries() -> list[tuple[Any, ...]]:
    """The whole feed."""
    names = ("id", "model", "pk_text", "scope", "checkpoint", "kind", "at", "row", "updated", "clocks")
    return list(Entry.objects.order_by("id").values_list(*names))


def ledger(recovery: Recovery) -> list[tuple[Any, ...]]:
    """The items of a recovery in order, without what is only known when: ids and times."""
    return [
        (
            item.line,
            item.part,
            item.model,
            item.pk_text,
            item.op,
            item.state,
            item.problem,
            {
                name: (decision["client"], decision["kept"], decision["base_clock"])
                for name, decision in item.fields.items()
            },
            item.change["fields"],
            None if item.before is None else item.before["fields"],
            None if item.after is None else item.after["fields"],
        )
        for item in Item.objects.filter(recovery=recovery).order_by("line", "part")
    ]
