"""The five strategies of a recovery, from the client's snapshot to the server's rows."""

from dataclasses import replace
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Change
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine, TombstoneLine, UpdateLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from syncreset.rules.strategies import Synced, by_base
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import bootstrap, edited, forced, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "0190a5b4-0000-7000-8000-000000000001"


class Story:
    """A phone that edited one dog, left one alone and made one, while others changed both on the server."""

    def __init__(self, device: DeviceFactory, shelter: Shelter) -> None:
        self.edited = Dog.objects.create(shelter=shelter, name="Edited", age=1)
        self.alone = Dog.objects.create(shelter=shelter, name="Alone", age=1)
        self.phone: Device = device(shelter)
        self.phone.pull()
        self.synced = {DOG: now()}
        Dog.objects.update(age=7)
        Dog.objects.filter(pk=self.edited.pk).update(notes="from the server")
        self.reset = forced(self.phone)
        self.shelter = shelter

    def row(self, dog: Dog) -> dict[str, Any]:
        return self.phone.rows[DOG, str(dog.pk)]

    def lines(self) -> list[Line]:
        shelter = self.phone.rows["shelters.shelter", str(self.shelter.pk)]
        return [
            row_line(shelter, {}),
            edited(self.row(self.edited), name="Mine"),
            row_line(self.row(self.alone), {}),
            made_here(DOG, NEW, dog_fields(self.shelter, name="New", age=3)),
        ]

    def recover(self, strategy: str, *more: Line) -> Recovery:
        return recover(
            self.phone, self.reset, [*self.lines(), *more], strategy=strategy, last_synced=self.synced
        )


@pytest.fixture
def story(device: DeviceFactory, shelter: Shelter) -> Story:
    return Story(device, shelter)


def dogs() -> set[tuple[str, int | None, str]]:
    return set(Dog.objects.values_list("name", "age", "notes"))


@pytest.mark.parametrize("strategy", ["by_base", "by_field"])
def test_by_base_and_by_field_merge_the_edited_field_alone(story: Story, strategy: str) -> None:
    recovery = story.recover(strategy)

    assert recovery.totals["applied"] == 2
    assert dogs() == {("Mine", 7, "from the server"), ("Alone", 7, ""), ("New", 3, "")}


def test_by_object_writes_whole_edited_rows_over_the_servers_and_keeps_what_it_overwrote(
    story: Story,
) -> None:
    recovery = story.recover("by_object")

    assert recovery.totals["applied"] == 2
    assert dogs() == {("Mine", 1, ""), ("Alone", 7, ""), ("New", 3, "")}
    item = Item.objects.get(recovery=recovery, pk_text=str(story.edited.pk))
    assert (item.fields["age"]["server"], item.fields["age"]["client"]) == (7, 1)
    assert item.before["fields"]["notes"] == "from the server"


def test_overwrite_writes_every_row_over_the_servers_and_deletes_nothing(story: Story) -> None:
    unknown = Dog.objects.create(shelter=story.shelter, name="Unknown to the phone")

    recovery = story.recover("overwrite")

    assert recovery.changes == 4
    assert dogs() == {("Mine", 1, ""), ("Alone", 1, ""), ("New", 3, ""), (unknown.name, None, "")}


def test_by_update_log_takes_the_logged_fields_from_the_backup(story: Story) -> None:
    pk = str(story.edited.pk)
    early, late = 1, now()

    recovery = story.recover(
        "by_update_log",
        UpdateLine(model=DOG, pk=pk, field="name", at=late),
        UpdateLine(model=DOG, pk=pk, field="age", at=early),
        UpdateLine(model=DOG, pk="0190a5b4-0000-7000-8000-00000000000f", field="age", at=late),
    )

    assert dogs() == {("Mine", 7, "from the server"), ("Alone", 7, ""), ("New", 3, "")}
    assert recovery.totals["applied"] == 2
    assert Item.objects.get(recovery=recovery, state="rejected").code == "no_row"
    assert recovery.state == "done", recovery.problem


@pytest.mark.parametrize("strategy", ["by_object", "by_field"])
def test_a_full_snapshot_without_tombstones_deletes_by_absence_what_the_client_held(
    device: DeviceFactory, shelter: Shelter, strategy: str
) -> None:
    gone, changed = (Dog.objects.create(shelter=shelter, name=name) for name in ("Gone", "Changed"))
    phone = device(shelter)
    phone.pull()
    Dog.objects.filter(pk=changed.pk).update(age=9)
    later = Dog.objects.create(shelter=shelter, name="Later")
    reset = forced(phone)
    lines: list[Line] = [row_line(phone.rows["shelters.shelter", str(shelter.pk)], {})]

    recovery = recover(phone, reset, lines, strategy=strategy, last_synced={DOG: now()})

    assert set(Dog.objects.values_list("pk", flat=True)) == {changed.pk, later.pk}
    assert (recovery.totals["applied"], recovery.totals["superseded"]) == (1, 1)
    assert Item.objects.get(state="applied").pk_text == str(gone.pk)
    assert recovery.state == "done", recovery.problem


def test_tombstones_go_before_absence(device: DeviceFactory, shelter: Shelter) -> None:
    gone, kept = (Dog.objects.create(shelter=shelter, name=name) for name in ("Gone", "Kept"))
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    updated = phone.rows[DOG, str(gone.pk)]["updated"]

    recover(
        phone,
        reset,
        [TombstoneLine(model=DOG, pk=str(gone.pk), at=now(), base=updated, pulled=False)],
        strategy="by_field",
        last_synced={},
    )

    assert set(Dog.objects.values_list("pk", flat=True)) == {kept.pk}


def test_the_setting_goes_before_the_snapshot_and_a_person_before_both(story: Story, settings: Any) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": "by_object"}
    first = story.recover("by_base")
    assert ("Mine", 1, "") in dogs()

    Dog.objects.filter(name="Alone").update(age=8)
    again = recover_again(first, strategy="overwrite")
    run(again.pk)

    assert Client.objects.count() == 1
    assert ("Alone", 1, "") in dogs()
    bootstrap(story.phone, story.reset)


def only_names(line: RowLine, synced: Synced) -> Change | None:
    """A strategy of one's own, named by its dotted path."""
    change = by_base(line, synced)
    if change is None or change.base is None or "name" not in change.fields:
        return change
    return replace(change, fields={"name": change.fields["name"]})


def test_a_function_of_ones_own_may_be_the_strategy(story: Story, settings: Any) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "STRATEGY": "tests.recovery.test_strategies.only_names"}

    story.recover("overwrite")

    assert dogs() == {("Mine", 7, "from the server"), ("Alone", 7, ""), ("New", 3, "")}
