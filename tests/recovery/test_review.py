"""Preview, undo, and parked items decided by a person."""

from dataclasses import replace
from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import CannotUndo, preview, undo
from syncreset.recovery.run import run
from syncreset.rules.merge import UNDECIDED, Conflict
from syncreset.tracking import registry
from syncreset.tracking.registry import options_for
from tests.market.models import Basket, Portion, Product, Tag
from tests.shelters.models import Dog, Shelter, Visit
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, made_here, recover
from tests.zoo.models import Specimen

pytestmark = pytest.mark.django_db(transaction=True)

VISIT = "shelters.visit"
NEW = "0190a5b4-0000-7000-8000-000000000001"


def rows() -> list[tuple[Any, ...]]:
    return list(Dog.objects.order_by("pk").values_list("pk", "name", "age", "chip", "notes", "mother_id"))


def ledger(recovery: Recovery) -> list[tuple[Any, ...]]:
    items = Item.objects.filter(recovery=recovery).order_by("line", "part")
    return [(item.line, item.model, item.pk_text, item.op, item.state, item.code) for item in items]


class Story:
    """A snapshot with an edit, a delete, a new row and a clash."""

    def __init__(self, device: DeviceFactory, shelter: Shelter) -> None:
        self.dogs = {
            name: Dog.objects.create(shelter=shelter, name=name, age=1)
            for name in ("Edited", "Deleted", "Other")
        }
        self.phone: Device = device(shelter)
        self.phone.pull()
        Dog.objects.filter(name="Other").update(chip="taken")
        self.reset = forced(self.phone)
        deleted = self.row("Deleted")
        self.lines: list[Line] = [
            edited(self.row("Edited"), name="Mine", age=2),
            made_here(DOG, NEW, dog_fields(shelter, name="New")),
            made_here(DOG, NEW.replace("1", "2"), dog_fields(shelter, name="Clash", chip="taken")),
            TombstoneLine(model=DOG, pk=deleted["pk"], at=now(), base=deleted["updated"], pulled=False),
        ]

    def row(self, name: str) -> dict[str, Any]:
        return self.phone.rows[DOG, str(self.dogs[name].pk)]

    def recover(self) -> Recovery:
        return recover(self.phone, self.reset, self.lines)


@pytest.fixture
def story(device: DeviceFactory, shelter: Shelter) -> Story:
    return Story(device, shelter)


def test_a_preview_has_the_ledger_of_the_real_run_and_writes_nothing(story: Story) -> None:
    queued = Recovery.objects.get(
        pk=story.phone.upload(story.reset, story.phone.snapshot(story.reset, story.lines))
    )
    before = rows()

    rehearsal = preview(queued)
    run(rehearsal.pk)
    rehearsal.refresh_from_db()
    assert rows() == before
    run(queued.pk)
    queued.refresh_from_db()

    assert ledger(rehearsal) == ledger(queued)
    assert rehearsal.totals == queued.totals
    assert rows() != before
    assert story.phone.get(f"/resets/{story.reset}")["recovery"] == str(queued.pk)


def test_undo_gives_back_the_rows_as_they_were(story: Story) -> None:
    before = rows()
    recovery = story.recover()
    assert rows() != before

    undoing = undo(recovery)
    run(undoing.pk)

    assert rows() == before
    recovery.refresh_from_db()
    undoing.refresh_from_db()
    assert (recovery.state, undoing.state) == ("undone", "done")
    assert undoing.totals["applied"] == 3
    with pytest.raises(CannotUndo):
        undo(recovery)


def test_undo_never_overwrites_what_was_changed_since(story: Story) -> None:
    recovery = story.recover()
    Dog.objects.filter(name="Mine").update(name="Somebody's")
    Visit.objects.create(
        dog=Dog.objects.get(pk=NEW), shelter=Dog.objects.get(pk=NEW).shelter, at="2026-01-01T00:00Z"
    )
    Dog.objects.filter(pk=NEW).update(age=12)

    undoing = undo(recovery)
    run(undoing.pk)
    undoing.refresh_from_db()

    assert undoing.state == "review"
    assert Dog.objects.get(name="Somebody's").age == 1
    assert Dog.objects.filter(pk=NEW).exists()
    assert undoing.totals["parked"] == 2


def parked_notes(device: DeviceFactory, shelter: Shelter) -> tuple[Device, Dog, str]:
    """A pushed edit of a field whose conflicts wait for a person."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    tablet.push(tablet.put(DOG, str(dog.pk), {"notes": "tablet's"}))
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"notes": "phone's", "age": 5}))
    assert result["state"] == "parked"
    dog.refresh_from_db()
    assert (dog.notes, dog.age) == ("tablet's", 5)
    return phone, dog, result["item"]


@pytest.mark.parametrize(
    ("keep", "notes", "state"),
    [
        ("client", "phone's", "applied"),
        ("server", "tablet's", "superseded"),
        ({"notes": "both"}, "both", "applied"),
    ],
)
def test_a_parked_item_is_decided_by_the_clients_own_user(
    device: DeviceFactory, shelter: Shelter, keep: Any, notes: str, state: str
) -> None:
    phone, dog, item = parked_notes(device, shelter)

    answer = phone.post(f"/items/{item}/resolve", {"keep": keep})

    dog.refresh_from_db()
    assert (answer["state"], dog.notes) == (state, notes)
    assert phone.post(f"/items/{item}/resolve", {"keep": keep}, 409)["code"] == "not_parked"
    stranger = device(shelter)
    assert stranger.post(f"/items/{item}/resolve", {"keep": keep}, 404)["code"] == "not_found"


def test_a_decision_over_a_value_that_has_changed_since_is_asked_again(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone, dog, item = parked_notes(device, shelter)
    Dog.objects.update(notes="changed since")

    answer = phone.post(f"/items/{item}/resolve", {"keep": "client"})

    dog.refresh_from_db()
    assert (answer["state"], dog.notes) == ("parked", "changed since")
    assert answer["fields"]["notes"]["server"] == "changed since"
    assert phone.post(f"/items/{item}/resolve", {"keep": "client"})["state"] == "applied"


def test_a_clash_is_resolved_with_another_value_and_the_recovery_is_done(story: Story) -> None:
    recovery = story.recover()
    assert recovery.state == "review"
    (item,) = story.phone.get(f"/recoveries/{recovery.pk}/items?state=parked")["items"]

    # The reset is still open: deciding needs no bootstrap.
    still = story.phone.post(f"/items/{item['id']}/resolve", {"keep": "client"})
    done = story.phone.post(f"/items/{item['id']}/resolve", {"keep": {"chip": "free"}})

    assert (still["state"], still["problem"]["code"]) == ("parked", "unique")
    assert done["state"] == "applied"
    assert Dog.objects.get(chip="free").name == "Clash"
    recovery.refresh_from_db()
    assert (recovery.state, recovery.totals["parked"], recovery.totals["applied"]) == ("done", 0, 4)


@pytest.mark.parametrize("keep", ["both", 3, None, ["client"]])
def test_what_is_no_decision_is_refused(device: DeviceFactory, shelter: Shelter, keep: Any) -> None:
    phone, _, item = parked_notes(device, shelter)

    assert phone.post(f"/items/{item}/resolve", {"keep": keep}, 400)["code"] == "malformed"
    assert Item.objects.get(pk=item).state == "parked"


def test_a_value_that_the_field_cannot_hold_leaves_both_sides_to_be_chosen(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone, dog, item = parked_notes(device, shelter)
    fields = Item.objects.get(pk=item).fields

    refused = phone.post(f"/items/{item}/resolve", {"keep": {"notes": 5}})
    Dog.objects.update(age=9)
    phone.post(f"/items/{item}/resolve", {"keep": "client"})

    dog.refresh_from_db()
    assert (refused["state"], refused["problem"]["code"]) == ("parked", "invalid")
    assert refused["fields"] == fields
    assert (dog.notes, dog.age) == ("phone's", 9), "age was never in doubt"


def test_another_value_that_comes_too_late_does_not_take_the_clients_place(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone, dog, item = parked_notes(device, shelter)
    Dog.objects.update(notes="changed since")

    still = phone.post(f"/items/{item}/resolve", {"keep": {"notes": "of both"}})
    phone.post(f"/items/{item}/resolve", {"keep": "client"})

    dog.refresh_from_db()
    assert (still["state"], still["fields"]["notes"]["client"]) == ("parked", "phone's")
    assert dog.notes == "phone's"


def test_an_item_of_a_preview_cannot_be_decided(story: Story) -> None:
    rehearsal = preview(story.recover())
    run(rehearsal.pk)
    item = Item.objects.get(recovery=rehearsal, state="parked")

    answer = story.phone.post(f"/items/{item.pk}/resolve", {"keep": {"chip": "free"}}, 409)

    assert answer["code"] == "not_parked"
    assert not Dog.objects.filter(chip="free").exists()


def test_undo_gives_back_what_a_delete_took_along(device: DeviceFactory, shelter: Shelter) -> None:
    mother = Dog.objects.create(shelter=shelter, name="Mother")
    other = Dog.objects.create(shelter=shelter, name="Other")
    puppy = Dog.objects.create(shelter=shelter, name="Puppy", mother=mother)
    Visit.objects.create(shelter=shelter, dog=mother, at="2026-01-01T00:00Z")
    phone = device(shelter)
    phone.pull()
    rows = [phone.rows[DOG, str(dog.pk)] for dog in (other, mother)]
    gone = [
        TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False) for row in rows
    ]

    recovery = recover(phone, forced(phone), gone)

    assert not Visit.objects.exists()
    alone, cascaded = Item.objects.filter(recovery=recovery).order_by("line")
    assert alone.cascaded == []
    assert {(row["model"], row["after"] is None) for row in cascaded.cascaded} == {
        (DOG, False),
        (VISIT, True),
    }
    undoing = undo(recovery)
    run(undoing.pk)
    undoing.refresh_from_db()
    assert undoing.state == "done"
    assert Visit.objects.get().dog == mother
    puppy.refresh_from_db()
    assert puppy.mother == mother


def test_undo_gives_back_the_element_that_a_delete_took_out_of_sets(
    device: DeviceFactory, shelter: Shelter
) -> None:
    red = Tag.objects.create(name="red")
    apples = Product.objects.create(name="Apples")
    apples.tags.add(red)
    phone = device(shelter)
    phone.pull()
    row = phone.rows["market.tag", "red"]
    gone = TombstoneLine(model="market.tag", pk="red", at=now(), base=row["updated"], pulled=False)

    recovery = recover(phone, forced(phone), [gone])

    assert not apples.tags.exists()
    run(undo(recovery).pk)
    assert list(apples.tags.all()) == [red]


def test_a_refused_put_tells_both_sides(device: DeviceFactory, shelter: Shelter) -> None:
    Dog.objects.create(shelter=shelter, name="First", chip="c-1")
    second = Dog.objects.create(shelter=shelter, name="Second", chip="c-2")
    phone = device(shelter)
    phone.pull()

    (result,) = phone.push(phone.put(DOG, str(second.pk), {"chip": "c-1"}))

    told = Item.objects.get(pk=result["item"]).fields["chip"]
    assert (told["client"], told["server"], told["kept"]) == ("c-1", "c-2", "review")
    assert told["server_clock"] == phone.rows[DOG, str(second.pk)]["clocks"]["*"]


def test_undo_takes_nothing_along_that_somebody_made_since(device: DeviceFactory, shelter: Shelter) -> None:
    puppy = Dog.objects.create(shelter=shelter, name="Puppy")
    phone = device(shelter)
    phone.pull()
    recovery = recover(phone, forced(phone), [made_here(DOG, NEW, dog_fields(shelter, name="New"))])
    visit = Visit.objects.create(shelter=shelter, dog_id=NEW, at="2026-01-01T00:00Z")
    Dog.objects.filter(pk=puppy.pk).update(mother=NEW)

    undoing = undo(recovery)
    run(undoing.pk)

    assert Visit.objects.filter(pk=visit.pk).exists()
    puppy.refresh_from_db()
    assert str(puppy.mother_id) == NEW
    (item,) = Item.objects.filter(recovery=undoing)
    assert (item.op, item.state, item.code) == ("delete", "parked", "unseen_rows")


def test_undo_gives_back_what_only_the_server_can_write(device: DeviceFactory) -> None:
    Specimen.objects.create(label="x", count=4, file="specimens/a.txt")
    kept, gone = (
        Portion.objects.create(basket=Basket.objects.create(), product=Product.objects.create(name="Figs"))
        for _ in range(2)
    )
    Portion.objects.update(packed="2020-01-01T00:00Z", weighed="2021-01-01T00:00Z")
    phone = device()
    phone.pull()
    rows = phone.rows.values()
    lines: list[Line] = [
        TombstoneLine(model=row["model"], pk=row["pk"], at=now(), base=row["updated"], pulled=False)
        for row in rows
        if row["model"] == "zoo.specimen" or row["pk"] == str(gone.pk)
    ]
    lines.append(edited(phone.rows["market.portion", str(kept.pk)], amount=7))
    recovery = recover(phone, forced(phone), lines)
    assert list(Portion.objects.values_list("amount", flat=True)) == [7]

    undoing = undo(recovery)
    run(undoing.pk)

    undoing.refresh_from_db()
    assert undoing.state == "done", list(Item.objects.values("state", "problem"))
    back = Specimen.objects.get()
    assert (back.generated, back.file.name) == (5, "specimens/a.txt")
    assert [portion.amount for portion in Portion.objects.all()] == [1, 1]
    again = Portion.objects.get(pk=gone.pk)
    assert (again.packed.year, again.weighed.year) == (2020, 2021)


def test_a_decision_over_a_row_that_was_deleted_brings_it_back_as_it_was(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old", age=3)
    phone = device(shelter)
    phone.pull()
    Dog.objects.update(notes="theirs")
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"notes": "mine"}))
    Dog.objects.all().delete()

    decided = phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})

    assert decided["state"] == "applied", decided
    back = Dog.objects.get()
    assert (back.pk, back.name, back.age, back.notes) == (dog.pk, "Rex", 3, "mine")


def fails(conflict: Conflict) -> str:
    raise RuntimeError("a mistake in the project")


def returns_nonsense(conflict: Conflict) -> object:
    return object()


@pytest.mark.parametrize(
    ("policy", "code"),
    [(fails, "policy_failed"), (returns_nonsense, "policy_failed"), (lambda conflict: UNDECIDED, "")],
)
def test_a_policy_that_cannot_decide_parks_its_field_and_fails_nothing_else(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, policy: Any, code: str
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = device(shelter)
    phone.pull()
    Dog.objects.update(name="Theirs")
    monkeypatch.setattr(
        registry, "options_for", lambda model: replace(options_for(model), conflicts={"name": policy})
    )

    put, made = phone.push(
        phone.put(DOG, str(dog.pk), {"name": "Mine", "age": 2}), phone.create(DOG, dog_fields(shelter), NEW)
    )

    assert (put["state"], made["state"]) == ("parked", "applied")
    assert put.get("problem", {}).get("code", "") == code
    dog.refresh_from_db()
    assert (dog.name, dog.age) == ("Theirs", 2)


def test_a_parked_delete_that_would_take_along_what_nobody_saw_stays_parked(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        registry, "options_for", lambda model: replace(options_for(model), on_delete="review")
    )
    dog = Dog.objects.create(shelter=shelter, name="Rex")
    phone = device(shelter)
    phone.pull()
    Dog.objects.update(age=4)
    (result,) = phone.push(phone.delete(DOG, str(dog.pk)))
    Visit.objects.create(shelter=shelter, dog=dog, at="2026-01-01T00:00Z")

    decided = phone.post(f"/items/{result['item']}/resolve", {"keep": "client"})

    assert (decided["state"], decided["problem"]["code"]) == ("parked", "unseen_rows")
    assert Dog.objects.exists()
