"""Two people's rows and devices, the same at the beginning of every case."""

import base64
import copy
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission, User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from tests.conftest import WRITABLE_APPS
from tests.market.models import Basket, Locker, Portion, Product, Stand, Tag, Trader
from tests.shelters.models import Dog, Shelter, Ticket, Vet, Visit
from tests.support.bad_inputs import ABSENT
from tests.support.device import Device
from tests.support.snapshots import forced
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed, Specimen, UUIDKeyed

#: Stands in every row that the user of the cases may not see: no answer ever has it.
SECRET = "kept-from-ann"


@dataclass
class World:
    """What was made before the first case. ``ann`` sends the requests, ``bob`` has rows that she may not see."""

    user: User
    device: Device
    other: Device
    #: Of ann's own, and of bob's: what may be named in a request.
    items: list[str] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    #: Rows that ann may not see.
    hidden: list[tuple[str, str]] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)

    def fresh(self) -> Device:
        """Ann's device as it was before the first case."""
        device = copy.copy(self.device)
        device.rows, device.told = copy.deepcopy(self.device.rows), []
        device.api = copy.copy(self.device.api)
        device.api.raise_request_exception = False
        return device


def make_world() -> World:
    """Rows of every model, a device of each person, and something parked."""
    north, south = Shelter.objects.create(name="North"), Shelter.objects.create(name=SECRET)
    stand, hidden_stand = (
        Stand.objects.create(code="n", name="N"),
        Stand.objects.create(code="s", name=SECRET),
    )
    ann, bob = _user("ann", north), _user("bob", south)
    _common_rows()
    for shelter, name in ((north, "Rex"), (south, SECRET)):
        mother = Dog.objects.create(shelter=shelter, name=name, notes=name, chip=f"{name}1", weight="12.50")
        dog = Dog.objects.create(
            shelter=shelter, name=name, mother=mother, chip=f"{name}2", born="2020-02-29"
        )
        vet = Vet.objects.get(code="doc")
        Visit.objects.create(shelter=shelter, dog=dog, vet=vet, at="2026-01-01T00:00Z", remarks=name)
        Ticket.objects.create(shelter=shelter, subject=name)
    for where, name in ((stand, "Tom"), (hidden_stand, SECRET)):
        Trader.objects.create(stand=where, name=name, pin=SECRET, debts=3)
    device, other = _device(ann), _device(bob)
    first = device.checkpoint
    held = next(pk for (model, pk), row in device.rows.items() if model == "shelters.dog")
    results = device.push(
        device.put("shelters.dog", held, {"mother": ABSENT}),
        device.create("shelters.visit", {**visit(device), "vet": "nobody"}),
        device.put("shelters.dog", held, {"age": 7}),
        {**device.put("shelters.dog", held, {"notes": "mine"}), "base": {}},
    )
    device.pull()
    world = World(ann, device, other, items=[result["item"] for result in results if "item" in result])
    theirs = _device(bob)
    theirs_reset = forced(theirs)
    old = _device(ann)
    world.resets = [forced(old)]
    hidden = [*Dog.objects.filter(shelter=south), south, *Trader.objects.filter(stand="s")]
    world.hidden = [(row._meta.label_lower, str(row.pk)) for row in hidden]
    world.foreign = [
        *(str(row.pk) for row in hidden),
        *(f"{pk}" for _, pk in device.rows),
        *(model for model, _ in device.rows),
        other.client,
        theirs.client,
        theirs_reset,
        old.client,
        *world.resets,
        *world.items,
        *(text for text in (first, other.checkpoint, other.receipt, device.receipt, old.checkpoint) if text),
        base64.urlsafe_b64encode(b'{"epoch": 1}').decode(),
        f"{SECRET}1".replace(SECRET, "Rex"),
        ABSENT,
    ]
    world.schema = device.get("/schema")
    return world


def visit(device: Device) -> dict[str, Any]:
    """Fields of the visit that a device holds."""
    return dict(next(row["fields"] for (model, _), row in device.rows.items() if model == "shelters.visit"))


def order_reset(device: Device, *, full: bool) -> str:
    """The id of a reset that an operator orders for a device."""
    (reset,) = Reset.objects.force(Client.objects.filter(pk=device.client), full=full)
    return str(reset.pk)


def _common_rows() -> None:
    Vet.objects.create(code="doc", name="Doc")
    red, green = Tag.objects.create(name="red"), Tag.objects.create(name="green")
    apples = Product.objects.create(name="Apples", stock=10, sold=2**53, weight="1.50")
    pears = Product.objects.create(name="Pears", stock=3)
    apples.tags.set([red, green])
    apples.goes_with.add(pears)
    Portion.objects.create(basket=Basket.objects.create(), product=apples)
    Locker.objects.create(
        number=1,
        letter="a",
        weight="1.5",
        rented="2026-01-01",
        checked="2026-01-01T00:00Z",
        corridor="c",
        shelf=1,
        product=apples,
    )
    IntegerKeyed.objects.create(number=7)
    BigIntegerKeyed.objects.create(number=2**53 + 1)
    CharKeyed.objects.create(code="a b")
    owner = UUIDKeyed.objects.create()
    OneToOneKeyed.objects.create(owner=owner)
    Specimen.objects.create(label="Held", float=1.5, checklist={"a": 1}, to_uuid=owner, text="t", json=[1])


def _user(name: str, shelter: Shelter) -> User:
    user = User.objects.create_user(name)
    apps.get_model("shelters.Membership").objects.create(user=user, shelter=shelter)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=WRITABLE_APPS))
    return user


def _device(user: User) -> Device:
    api = APIClient()
    api.default_format = "json"
    api.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.get_or_create(user=user)[0].key}")
    device = Device(api).register()
    device.pull()
    return device
