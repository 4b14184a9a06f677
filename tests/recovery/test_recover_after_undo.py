"""A snapshot that is recovered again after an undo comes to what it came to before."""

import time
from typing import Any

import pytest
from django.db import transaction

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Change
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import ChangeLine, Line, TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import CannotRepeat, recover_again, undo
from syncreset.recovery.run import run
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "0190a5b4-0000-7000-8000-000000000001"


def rows() -> list[tuple[Any, ...]]:
    return list(Dog.objects.order_by("pk").values_list("pk", "name", "age", "chip", "notes"))


def ledger(recovery: Recovery) -> list[tuple[Any, ...]]:
    items = Item.objects.filter(recovery=recovery).order_by("line", "part")
    return [(item.line, item.pk_text, item.op, item.state, item.code) for item in items]


def undone(recovery: Recovery) -> None:
    run(undo(recovery).pk)
    recovery.refresh_from_db()
    assert recovery.state == "undone"


def again(recovery: Recovery, strategy: str | None = None) -> Recovery:
    repeated = recover_again(recovery, strategy=strategy)
    run(repeated.pk)
    repeated.refresh_from_db()
    return repeated


class Story:
    """A snapshot in which each way to meet the server's rows comes once."""

    def __init__(self, device: DeviceFactory, shelter: Shelter) -> None:
        names = ("Edited", "Contested", "Lost", "Parked", "Deleted", "Kept", "Rescued")
        self.dogs = {name: Dog.objects.create(shelter=shelter, name=name, age=1) for name in names}
        self.phone: Device = device(shelter)
        self.phone.pull()
        self._meanwhile("Contested", age=2)
        later = now() + 50_000_000
        self.reset = forced(self.phone)
        deleted, kept = self.row("Deleted"), self.row("Kept")
        self.lines: list[Line] = [
            edited(self.row("Edited"), name="Mine", age=9),
            edited(self.row("Contested"), age=9),
            edited(self.row("Lost"), age=9),
            edited(self.row("Parked"), notes="mine"),
            edited(self.row("Rescued"), age=9),
            made_here(DOG, NEW, dog_fields(shelter, name="New")),
            TombstoneLine(model=DOG, pk=deleted["pk"], at=now(), base=deleted["updated"], pulled=False),
            TombstoneLine(model=DOG, pk=kept["pk"], at=later, base=kept["updated"], pulled=False),
        ]
        # SQLite's clock is one of milliseconds, and what follows has to be later.
        time.sleep(0.002)
        self._meanwhile("Lost", age=3)
        self._meanwhile("Parked", notes="theirs")
        self._meanwhile("Kept", age=4)
        Dog.objects.filter(pk=self.dogs["Rescued"].pk).delete()

    def _meanwhile(self, name: str, **values: Any) -> None:
        Dog.objects.filter(pk=self.dogs[name].pk).update(**values)

    def row(self, name: str) -> dict[str, Any]:
        return self.phone.rows[DOG, str(self.dogs[name].pk)]

    def recover(self) -> Recovery:
        return recover(self.phone, self.reset, self.lines)


@pytest.fixture
def story(device: DeviceFactory, shelter: Shelter) -> Story:
    return Story(device, shelter)


def test_it_has_the_same_ledger_and_leaves_the_same_rows(story: Story) -> None:
    first = story.recover()
    states = [state for _, _, _, state, _ in ledger(first)]
    assert states == [
        "applied", "applied", "superseded", "parked", "applied", "applied", "applied", "superseded",
    ]  # fmt: skip
    recovered = rows()
    undone(first)
    assert rows() != recovered

    repeated = again(first)

    assert rows() == recovered
    assert ledger(repeated) == ledger(first)
    assert repeated.state == "review"


def test_it_does_so_however_often(story: Story) -> None:
    first = story.recover()
    recovered = rows()
    undone(first)
    second = again(first)
    undone(second)

    third = again(second)

    assert rows() == recovered
    assert ledger(third) == ledger(first)


def test_devices_hear_of_it(story: Story) -> None:
    first = story.recover()
    undone(first)
    tablet = story.phone
    tablet.checkpoint = None
    tablet.rows.clear()
    tablet.pull(reset=story.reset)
    assert (DOG, NEW) not in tablet.rows

    again(first)
    tablet.pull()

    assert (DOG, NEW) in tablet.rows
    assert story.row("Edited")["fields"]["age"] == 9
    assert (DOG, str(story.dogs["Rescued"].pk)) in tablet.rows
    assert (DOG, str(story.dogs["Deleted"].pk)) not in tablet.rows


def test_what_was_changed_since_the_undo_is_a_concurrent_change(story: Story) -> None:
    first = story.recover()
    undone(first)
    Dog.objects.filter(pk=story.dogs["Edited"].pk).update(age=7)
    Dog.objects.filter(pk=story.dogs["Deleted"].pk).update(age=7)

    repeated = again(first)

    edited_dog = Dog.objects.get(pk=story.dogs["Edited"].pk)
    assert (edited_dog.name, edited_dog.age) == ("Mine", 7)
    assert Dog.objects.get(pk=story.dogs["Deleted"].pk).age == 7
    states = {pk: state for _, pk, _, state, _ in ledger(repeated)}
    assert states[str(story.dogs["Edited"].pk)] == "merged"
    assert states[str(story.dogs["Deleted"].pk)] == "superseded"


def test_a_row_deleted_anew_since_the_undo_stays_deleted(story: Story) -> None:
    first = story.recover()
    undone(first)
    Dog.objects.create(pk=NEW, shelter_id=story.dogs["Edited"].shelter_id, name="New").delete()

    repeated = again(first)

    assert not Dog.objects.filter(pk=NEW).exists()
    assert {pk: state for _, pk, _, state, _ in ledger(repeated)}[NEW] == "superseded"


def test_another_strategy_may_be_chosen(story: Story) -> None:
    first = story.recover()
    undone(first)

    again(first, strategy="overwrite")

    assert Dog.objects.get(pk=story.dogs["Lost"].pk).age == 9
    assert Dog.objects.filter(pk=story.dogs["Rescued"].pk).exists()
    assert Dog.objects.filter(pk=NEW).exists()


def test_what_was_healed_is_healed_again(device: DeviceFactory, shelter: Shelter) -> None:
    kept = Dog.objects.create(shelter=shelter, name="Kept", age=1)
    phone = device(shelter)
    phone.pull()
    with transaction.atomic():
        Dog.objects.filter(pk=kept.pk).update(age=2)
        Dog.objects.create(shelter=shelter, name="Lost", age=7)
        phone.pull()
        transaction.set_rollback(True)
    (reset,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=True)
    first = recover(phone, str(reset.pk), [row_line(row, {}) for row in phone.rows.values()])
    healed = rows()
    assert {(name, age) for _, name, age, _, _ in healed} == {("Kept", 2), ("Lost", 7)}
    undone(first)
    assert rows() != healed

    again(first)

    assert rows() == healed


def test_an_undoing_is_not_recovered_again(story: Story) -> None:
    first = story.recover()
    undoing = undo(first)

    with pytest.raises(CannotRepeat):
        recover_again(undoing)


@pytest.mark.parametrize("touched", [False, True])
def test_changes_without_clocks_come_to_the_same_again(
    device: DeviceFactory, shelter: Shelter, touched: bool
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = device(shelter)
    phone.pull()
    puts: dict[str, dict[str, Any]] = {str(dog.pk): {"name": "Mine"}, NEW: dog_fields(shelter, name="New")}
    lines = [
        ChangeLine(
            change=Change(model=DOG, pk=pk, op="put", fields=fields, base={}, from_checkpoint=True, seq=seq)
        )
        for seq, (pk, fields) in enumerate(puts.items(), start=5)
    ]
    if touched:
        Dog.objects.update(name="Theirs")
    first = recover(phone, forced(phone), lines, full=False)
    before, told = rows(), ledger(first)
    assert [row[1] for row in before] == ["New", "Mine"]
    undone(first)
    assert [row[1] for row in rows()] == ["Theirs" if touched else "Rex"]

    second = again(first)

    assert (rows(), ledger(second)) == (before, told)
