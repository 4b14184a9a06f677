"""What a client cannot push comes by no other road either: every road, with everything that is forbidden."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from syncreset.admin.deciding.form import decide
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.changes import same
from syncreset.protocol.snapshot.lines import RowLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again, undo
from syncreset.recovery.run import run
from syncreset.rules.strategies import STRATEGIES
from syncreset.wire.model import model_labelled
from syncreset.wire.rows import row_of
from tests.shelters.models import Dog, Shelter, Visit
from tests.support.bad_inputs import ABSENT, PK, SPECIMEN
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, made_here, recover, row_line
from tests.support.wire import as_json, post_raw
from tests.zoo.models import Specimen

pytestmark = pytest.mark.django_db(transaction=True)

VISIT = "shelters.visit"
NEW = PK.format(77)

#: A model, a field of it, and what no client may write there.
FORBIDDEN: list[tuple[str, str, Any]] = [
    (SPECIMEN, "float", "Infinity"),
    (SPECIMEN, "float", "NaN"),
    (SPECIMEN, "checklist", None),
    (SPECIMEN, "label", None),
    (SPECIMEN, "label", "x" * 201),
    (SPECIMEN, "text", "a\x00b"),
    (SPECIMEN, "integer", 2**31),
    (SPECIMEN, "decimal", "1.00005"),
    (SPECIMEN, "email", "no address"),
    (SPECIMEN, "generated", "7"),
    (SPECIMEN, "file", {"name": "../../secret", "size": 1, "sha256": None, "url": "/"}),
    (VISIT, "kind", "dance"),
    (DOG, "intake_no", "N-1"),
]
#: A reference of each model, by which a change of it can be parked.
REFERENCES = {SPECIMEN: ("to_uuid", ABSENT), VISIT: ("vet", "nobody"), DOG: ("mother", ABSENT)}


class Target:
    """A row that a device holds, and what is tried on it."""

    def __init__(self, phone: Device, model: str, pk: str, name: str, value: Any) -> None:
        self.phone, self.model, self.pk, self.name, self.value = phone, model, pk, name, value

    @property
    def held(self) -> dict[str, Any]:
        return self.phone.rows[self.model, self.pk]

    def parked(self) -> Item:
        reference, absent = REFERENCES[self.model]
        (result,) = self.phone.push(self.phone.put(self.model, self.pk, {reference: absent}))
        assert (result["state"], result["problem"]["code"]) == ("parked", "invalid_reference")
        return Item.objects.get(pk=result["item"])

    @property
    def decision(self) -> dict[str, Any]:
        return {REFERENCES[self.model][0]: None, self.name: self.value}


def _push(target: Target) -> None:
    change = target.phone.put(target.model, target.pk, {target.name: target.value})
    post_raw(target.phone.api, "/push", as_json(target.phone.body(change)))


def _push_new_row(target: Target) -> None:
    fields = {**target.held["fields"], target.name: target.value}
    change = target.phone.create(target.model, fields, pk=NEW)
    post_raw(target.phone.api, "/push", as_json(target.phone.body(change)))


def _snapshot(strategy: str) -> Callable[[Target], None]:
    def road(target: Target) -> None:
        lines = [
            edited(target.held, **{target.name: target.value}),
            made_here(target.model, NEW, {**target.held["fields"], target.name: target.value}),
        ]
        recover(target.phone, forced(target.phone), lines, strategy=strategy, full=False)

    return road


def _healed(target: Target, line: RowLine) -> Recovery:
    (reset,) = Reset.objects.force(Client.objects.filter(pk=target.phone.client), full=True)
    recovery = recover(target.phone, str(reset.pk), [line])
    assert recovery.healing
    return recovery


def _healing(target: Target) -> None:
    _healed(target, row_line(target.held, {}, **{target.name: target.value}))


def _healing_a_missing_row(target: Target) -> None:
    model = model_labelled(target.model)
    assert model is not None
    model.rows.all().delete()
    Entry.objects.filter(kind=1).delete()
    recovery = _healed(target, row_line(target.held, {}, **{target.name: target.value}))
    states = set(Item.objects.filter(recovery=recovery).values_list("state", flat=True))
    assert "parked" in states or target.name in model.server_computed


def _recover_again(target: Target) -> None:
    first = _healed(target, row_line(target.held, {}, **{target.name: target.value}))
    run(recover_again(first, strategy="overwrite").pk)


def _undo(target: Target) -> None:
    first = _healed(target, row_line(target.held, {}, **{target.name: target.value}))
    run(undo(first).pk)


def _resolve_by_device(target: Target) -> None:
    item = target.parked()
    post_raw(target.phone.api, f"/items/{item.pk}/resolve", as_json({"keep": target.decision}))


def _resolve_a_healing_by_device(target: Target) -> None:
    _healing(target)
    for item in Item.objects.filter(state="parked"):
        post_raw(target.phone.api, f"/items/{item.pk}/resolve", as_json({"keep": "client"}))


def _resolve_by_operator(target: Target) -> None:
    decide(target.parked(), target.decision, User.objects.create_superuser("operator"))


def _resolve_a_healing_by_operator(target: Target) -> None:
    _healing(target)
    operator = User.objects.create_superuser("operator")
    for item in Item.objects.filter(state="parked"):
        decide(item, "client", operator)


ROADS: dict[str, Callable[[Target], None]] = {
    "push": _push,
    "push_new_row": _push_new_row,
    **{f"snapshot_{name}": _snapshot(name) for name in STRATEGIES},
    "healing": _healing,
    "healing_a_missing_row": _healing_a_missing_row,
    "recover_again": _recover_again,
    "undo": _undo,
    "resolve_by_device": _resolve_by_device,
    "resolve_a_healing_by_device": _resolve_a_healing_by_device,
    "resolve_by_operator": _resolve_by_operator,
    "resolve_a_healing_by_operator": _resolve_a_healing_by_operator,
}


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    Visit.objects.create(shelter=shelter, dog=dog, at="2026-01-01T00:00Z")
    Specimen.objects.create(label="Held", float=1.5, checklist={"a": 1})
    made = device(shelter)
    made.pull()
    return made


def _values(model: str, name: str) -> list[Any]:
    found = model_labelled(model)
    assert found is not None
    return [row_of(instance).row.fields[name] for instance in found.rows]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("model", "name", "value"), FORBIDDEN)
def test_no_road_brings_what_no_client_may_write(
    phone: Device, road: str, model: str, name: str, value: Any
) -> None:
    (pk,) = (pk for label, pk in phone.rows if label == model)
    before = phone.rows[model, pk]["fields"][name]

    ROADS[road](Target(phone, model, pk, name, value))

    found = _values(model, name)
    if (name, "operator" in road) == ("intake_no", True):
        assert found == [value], "what clients may not set an operator may"
    elif road == "healing_a_missing_row":
        assert not any(same(each, value) for each in found)
    else:
        assert any(same(each, before) for each in found)
        assert not any(same(each, value) for each in found)
        assert len(found) == 1 or name in ("generated", "file")
