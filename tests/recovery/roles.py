"""Who may not do what, and every road by which it is tried: the table of the page on security."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission, User

from syncreset.admin.deciding.form import decide
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, TombstoneLine, UpdateLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again, undo
from syncreset.recovery.run import run
from syncreset.rules.strategies import STRATEGIES
from tests.shelters.models import Dog, Shelter
from tests.support.bad_inputs import PK
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.snapshots import edited, forced, made_here, recover, row_line
from tests.support.wire import as_json, post_raw

NEW = PK.format(88)

#: The permissions of each role over dogs, and whether the dog is in a shelter of theirs.
ROLES: dict[str, tuple[tuple[str, ...], bool]] = {
    "no permission": ((), True),
    "viewer": (("view",), True),
    "adder": (("view", "add"), True),
    "changer": (("view", "change"), True),
    "other scope": (("view", "add", "change", "delete"), False),
}
#: What a role may not do with dogs.
FORBIDDEN: list[tuple[str, str]] = [
    *((role, thing) for role in ("no permission", "viewer") for thing in ("make", "change", "delete")),
    ("adder", "change"),
    ("adder", "delete"),
    ("changer", "make"),
    ("changer", "delete"),
    *(("other scope", thing) for thing in ("make", "change", "delete")),
]


@dataclass
class Attempt:
    """A device of somebody, a row that it knows of by whatever means, and what it may not do."""

    device: Device
    shelter: Shelter
    row: dict[str, Any]
    thing: str

    def change(self) -> dict[str, Any]:
        self.device.rows[DOG, self.row["pk"]] = self.row
        if self.thing == "make":
            return self.device.create(DOG, dog_fields(self.shelter, intake_no=""), NEW)
        if self.thing == "change":
            return self.device.put(DOG, self.row["pk"], {"name": "Mine"})
        return self.device.delete(DOG, self.row["pk"])

    def lines(self) -> list[Line]:
        if self.thing == "make":
            return [made_here(DOG, NEW, dog_fields(self.shelter, intake_no=""))]
        if self.thing == "change":
            return [
                edited(self.row, name="Mine"),
                UpdateLine(model=DOG, pk=self.row["pk"], field="name", at=now()),
            ]
        return [TombstoneLine(model=DOG, pk=self.row["pk"], at=now(), base=self.row["updated"], pulled=False)]

    def acknowledged(self) -> list[Line]:
        """The same, as if the server had had it all before it was restored."""
        if self.thing == "make":
            made = {"model": DOG, "pk": NEW, "fields": dog_fields(self.shelter, intake_no="")}
            return [row_line({**made, "clocks": {"*": now()}}, {})]
        if self.thing == "change":
            return [row_line(self.row, {}, name="Mine")]
        return [
            TombstoneLine(
                model=DOG, pk=self.row["pk"], at=now(), base=None, pulled=True, scope=str(self.shelter.pk)
            )
        ]

    def pushed(self) -> Item:
        """What became of a push of it; nothing is kept of a delete of what is not there for its user."""
        (result,) = self.device.push(self.change())
        if "item" not in result:
            return Item(state=result["state"])
        return Item.objects.get(pk=result["item"])

    def recovered(self, strategy: str) -> Recovery:
        return recover(
            self.device,
            forced(self.device),
            self.lines(),
            strategy=strategy,
            full=False,
            last_synced={DOG: 1},
        )


def _of(items: Any) -> str:
    """What became of it, as the page says it."""
    told = sorted({f"{item.state}: {item.code}" if item.code else item.state for item in items})
    return ", ".join(told) or "nothing"


def _push(attempt: Attempt) -> str:
    return _of([attempt.pushed()])


def _snapshots(attempt: Attempt) -> str:
    recoveries = [attempt.recovered(strategy) for strategy in STRATEGIES]
    return _of(Item.objects.filter(recovery__in=recoveries))


def _healing(attempt: Attempt) -> str:
    (reset,) = Reset.objects.force(Client.objects.filter(pk=attempt.device.client), full=True)
    recovery = recover(attempt.device, str(reset.pk), attempt.acknowledged())
    assert recovery.healing
    return _of(Item.objects.filter(recovery=recovery))


def _recover_again(attempt: Attempt) -> str:
    again = recover_again(attempt.recovered("by_base"), strategy="overwrite")
    run(again.pk)
    return _of(Item.objects.filter(recovery=again))


def _undo(attempt: Attempt) -> str:
    undoing = undo(attempt.recovered("by_base"))
    run(undoing.pk)
    return _of(Item.objects.filter(recovery=undoing))


def _decided_by_device(attempt: Attempt) -> str:
    item = attempt.pushed()
    post_raw(attempt.device.api, f"/items/{item.pk}/resolve", as_json({"keep": "client"}))
    item = Item.objects.filter(pk=item.pk).first() or item
    return _of([item])


ROADS: dict[str, Callable[[Attempt], str]] = {
    "push": _push,
    "snapshot": _snapshots,
    "healing": _healing,
    "recover again": _recover_again,
    "undo": _undo,
    "decided by the device": _decided_by_device,
}


def decided_by_operator(attempt: Attempt) -> str:
    """What somebody may not push waits for one who may decide it."""
    item = attempt.pushed()
    if item.state == "parked":
        decide(item, "client", User.objects.create_superuser("boss"))
        item.refresh_from_db()
    return _of([item])


def healing_decided_by_operator(attempt: Attempt) -> str:
    """So does what somebody says to have been acknowledged, also of rows that the user may not see now."""
    _healing(attempt)
    boss = User.objects.create_superuser("boss")
    for item in Item.objects.filter(state="parked"):
        decide(item, "client", boss)
    return _of(Item.objects.all())


#: The roads that are open, to operators alone.
OPEN: dict[str, Callable[[Attempt], str]] = {
    "push, decided by an operator": decided_by_operator,
    "healing, decided by an operator": healing_decided_by_operator,
}


def attempt_of(
    role: str, thing: str, shelters: tuple[Shelter, Shelter], device: DeviceFactory, users: UserFactory
) -> Attempt:
    """Somebody of a role, who tries a thing on a dog of the first shelter."""
    permissions, inside = ROLES[role]
    user = users(shelters[0] if inside else shelters[1], writes=False)
    named = [f"{action}_dog" for action in permissions]
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="shelters", codename__in=named)
    )
    dog = Dog.objects.create(shelter=shelters[0], name="Rex")
    insider = device(shelters[0])
    insider.pull()
    made = device(user=user)
    made.pull()
    return Attempt(made, shelters[0], insider.rows[DOG, str(dog.pk)], thing)
