"""The story of the page on strategies: two devices, a handful of dogs, and one reset, recovered by each strategy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from syncreset.clients.client import LastSynced
from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, TombstoneLine, UpdateLine
from syncreset.recovery.job import Recovery
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.snapshots import edited, forced, made_here, recover, row_line

__all__ = ["DOGS", "Played", "Told", "play"]


@dataclass(frozen=True, kw_only=True)
class Told:
    """One dog's part of the story, in words. Every dog is 3 years old and weighs 10 kg at first."""

    name: str
    phone: str
    others: str


DOGS = (
    Told(name="Rex", phone="age 4", others="weight 12"),
    Told(name="Bella", phone="age 4, later", others="age 7, earlier"),
    Told(name="Luna", phone="age 4, earlier", others="age 7, later"),
    Told(name="Milo", phone="nothing", others="weight 12"),
    Told(name="Max", phone="downloaded age 5", others="age 5, then age 6"),
    Told(name="Kira", phone="made here", others="—"),
    Told(name="Daisy", phone="deleted", others="nothing"),
    Told(name="Toby", phone="deleted", others="weight 12"),
    Told(name="Nala", phone="age 4", others="deleted"),
    Told(name="Simba", phone="never had this row", others="made there"),
)

#: For each dog, what the server has after the recovery and what the ledger says.
Played = dict[str, str]


class _Story:
    """The server, the tablet that is in step with it, and the phone that is not."""

    def __init__(self, device: Callable[..., Device], shelter: Shelter) -> None:
        self.shelter = shelter
        self.dogs = {
            told.name: Dog.objects.create(shelter=shelter, name=told.name, age=3, weight=10)
            for told in DOGS
            if told.name not in ("Kira", "Simba")
        }
        self.phone, self.tablet = device(shelter), device(shelter)
        self.phone.pull()
        self.tablet.pull()

    def row(self, name: str) -> dict[str, Any]:
        return self.phone.rows[DOG, str(self.dogs[name].pk)]

    def on_tablet(self, name: str, **fields: Any) -> None:
        self.tablet.push(self.tablet.put(DOG, str(self.dogs[name].pk), fields))
        self.tablet.pull()

    def age_on_phone(self, name: str) -> list[Line]:
        """The row as the phone's store has it after an edit, and the line that an update log keeps of the edit."""
        line = edited(self.row(name), age=4)
        return [line, UpdateLine(model=DOG, pk=line.pk, field="age", at=line.row.clocks["age"])]

    def deleted_on_phone(self, name: str) -> TombstoneLine:
        row = self.row(name)
        return TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False)


def play(device: Callable[..., Device], shelter: Shelter, strategy: str) -> tuple[Recovery, Played]:
    """The whole story with one strategy. Returns the recovery, and what became of each dog."""
    story = _Story(device, shelter)
    synced = dict(LastSynced.objects.filter(client_id=story.phone.client).values_list("model", "at"))
    # The phone downloads this, and is killed before it has noted when: it goes on telling the time before.
    story.on_tablet("Max", age=5)
    story.phone.pull()

    made = dog_fields(shelter, name="Kira", age=1, weight="8.00")
    lines: list[Line] = [row_line(story.phone.rows["shelters.shelter", str(shelter.pk)], {})]
    lines += story.age_on_phone("Luna")
    story.on_tablet("Luna", age=7)
    story.on_tablet("Bella", age=7)
    for name in ("Bella", "Rex", "Nala"):
        lines += story.age_on_phone(name)
    lines += [row_line(story.row(name), {}) for name in ("Milo", "Max")]
    lines.append(made_here(DOG, str(uuid7()), made))
    lines += [story.deleted_on_phone(name) for name in ("Daisy", "Toby")]
    for name in ("Rex", "Milo", "Toby"):
        story.on_tablet(name, weight="12.00")
    story.on_tablet("Max", age=6)
    story.tablet.push(story.tablet.delete(DOG, str(story.dogs["Nala"].pk)))
    story.tablet.push(story.tablet.create(DOG, {**made, "name": "Simba"}))

    reset = forced(story.phone)
    lines.sort(key=lambda line: isinstance(line, UpdateLine) + 2 * isinstance(line, TombstoneLine))
    recovery = recover(story.phone, reset, lines, strategy=strategy, full=True, last_synced=synced)
    names = {str(dog.pk): name for name, dog in story.dogs.items()}
    names |= {str(dog.pk): dog.name for dog in Dog.objects.all()}
    items = {names.get(item.pk_text): item for item in Item.objects.filter(recovery=recovery)}
    return recovery, {told.name: _outcome(told.name, items.get(told.name)) for told in DOGS}


def _outcome(name: str, item: Item | None) -> str:
    dog = Dog.objects.filter(name=name).first()
    stands = "no row" if dog is None else f"{dog.age} / {dog.weight:.0f}"
    if item is None:
        return f"{stands}, no item"
    return f"**{stands}**, {item.state}" if _overwrote(item) else f"{stands}, {item.state}"


def _overwrote(item: Item) -> bool:
    """Whether the phone's value stands where somebody else had written another one meanwhile."""
    return any(
        decision["kept"] == "client"
        and decision["server_clock"] not in (None, decision["base_clock"])
        and decision["client"] != decision["server"]
        for decision in item.fields.values()
    )
