"""What a device counted offline is added by a recovery: once, whatever was pushed before and whoever recovers again."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from syncreset.apply.counted import CountedStep
from syncreset.clients.client import Client, LastSynced
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.snapshot.lines import FieldSteps, RowLine
from syncreset.protocol.steps import Step, is_steps, parse_steps, steps_value, sum_of
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview, recover_again, undo
from syncreset.recovery.run import run
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.market import delta, elements, new_product
from tests.support.snapshots import edited, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCT = "market.product"


def ordered(device: Device, *, full: bool = False) -> str:
    """A reset for the device; with ``full``, to heal a restored server."""
    (reset,) = Reset.objects.force(Client.objects.filter(pk=device.client), full=full)
    return str(reset.pk)


def made(amount: Any, **more: Any) -> FieldSteps:
    """One step of a field, under an id of its own."""
    return FieldSteps(steps=(Step(id=str(uuid.uuid4()), amount=amount, **more),))


def stepped(row: dict[str, Any], steps: dict[str, FieldSteps], **edits: Any) -> RowLine:
    return replace(edited(row, **edits), steps=steps)


def counted(row: dict[str, Any], *steps: Step | int, **edits: Any) -> RowLine:
    """The row after the device counted its stock by some steps."""
    found = [
        Step(id=str(uuid.uuid4()), amount={"delta": step}) if isinstance(step, int) else step
        for step in steps
    ]
    stock = row["fields"]["stock"] + sum(step.amount["delta"] for step in found)
    return stepped(row, {"stock": FieldSteps(steps=tuple(found))}, stock=stock, **edits)


def sent(change: dict[str, Any]) -> Step:
    """The step of a change that was pushed, as a snapshot has it before its answer."""
    (step,) = parse_steps(change["fields"]["stock"])
    return replace(step, sent=True)


def again(recovery: Recovery, **how: Any) -> Recovery:
    repeated = recover_again(recovery, **how)
    run(repeated.pk)
    repeated.refresh_from_db()
    return repeated


def told(recovery: Recovery) -> list[tuple[str, Any]]:
    """The states of a recovery's items, and their fields: of steps what they come to."""
    return [
        (
            item.state,
            {
                name: sum_of(parse_steps(value)) if is_steps(value) else value
                for name, value in item.change["fields"].items()
            },
        )
        for item in Item.objects.filter(recovery=recovery).order_by("line", "part")
    ]


@pytest.fixture
def phone(device: DeviceFactory, apples: Product) -> Device:
    made = device()
    made.pull()
    return made


@pytest.fixture
def row(phone: Device, apples: Product) -> dict[str, Any]:
    return phone.rows[PRODUCT, str(apples.pk)]


def stock() -> int:
    return Product.objects.get().stock


def resolve(device: Device, item: Item, keep: Any) -> str:
    return str(device.post(f"/items/{item.pk}/resolve", {"keep": keep})["state"])


@pytest.mark.parametrize("strategy", ["by_base", "by_field", "by_update_log"])
def test_steps_of_a_snapshot_are_added_to_what_others_counted(
    phone: Device, row: dict[str, Any], apples: Product, strategy: str
) -> None:
    Product.objects.update(stock=15, weight="2.00")
    steps = {
        "stock": made({"delta": 3}),
        "sold": made({"delta": "-1"}),
        "weight": made({"delta": "0.25"}),
    }
    line = stepped(row, steps, stock=13, sold=str(2**53 - 1), weight="1.75", name="Ripe apples")

    recovery = recover(
        phone, ordered(phone), [line], strategy=strategy, full=False, last_synced={PRODUCT: row["updated"]}
    )

    assert told(recovery) == [
        (
            "applied",
            {
                "name": "Ripe apples",
                "stock": {"delta": 3},
                "sold": {"delta": "-1"},
                "weight": {"delta": "0.25"},
            },
        )
    ]
    apples.refresh_from_db()
    assert (apples.name, apples.stock, apples.sold) == ("Ripe apples", 18, 2**53 - 1)
    assert str(apples.weight) == "2.25"


@pytest.mark.parametrize("strategy", ["by_object", "overwrite"])
def test_strategies_that_write_values_write_that_of_the_counter(
    phone: Device, row: dict[str, Any], strategy: str
) -> None:
    """Its steps are in it: they do not count once more."""
    Product.objects.update(stock=15)

    recovery = recover(phone, ordered(phone), [counted(row, 3)], strategy=strategy)
    assert stock() == 13
    again(recovery, strategy="by_base")

    assert stock() == 13


def test_a_snapshot_without_steps_goes_by_the_fields_policy(phone: Device, row: dict[str, Any]) -> None:
    Product.objects.update(stock=15)

    recovery = recover(phone, ordered(phone), [edited(row, stock=13)])

    assert (told(recovery), stock()) == ([("applied", {"stock": 13})], 13)


def test_elements_added_and_removed_offline_both_count(phone: Device, apples: Product) -> None:
    fresh, green, red = (Tag.objects.create(name=name) for name in ("fresh", "green", "red"))
    apples.tags.set([fresh, red])
    phone.pull()
    row = phone.rows[PRODUCT, str(apples.pk)]
    step = made({"add": [], "remove": ["fresh"]})
    apples.tags.add(green)

    recovery = recover(phone, ordered(phone), [stepped(row, {"tags": step}, tags=["red"])])

    assert recovery.totals["applied"] == 1
    assert elements(apples) == ["green", "red"]


def test_a_step_that_was_pushed_counts_no_second_time(phone: Device, row: dict[str, Any]) -> None:
    """The push of 4 arrived, and its answer was lost; that of 2 did not."""
    arrived, lost_one = (delta(phone, Product.objects.get(), stock=step) for step in (4, 2))
    phone.push(arrived)

    recovery = recover(phone, ordered(phone), [counted(row, sent(arrived), sent(lost_one), 3)])

    assert told(recovery) == [("applied", {"stock": {"delta": 9}})]
    assert Item.objects.get(recovery=recovery).fields["stock"]["client"] == {"delta": 5}
    assert stock() == 19


def test_a_step_that_was_pushed_as_a_whole_is_identical(phone: Device, row: dict[str, Any]) -> None:
    change = delta(phone, Product.objects.get(), stock=4)
    phone.push(change)

    recovery = recover(phone, ordered(phone), [counted(row, sent(change))])

    assert (told(recovery), stock()) == ([("identical", {"stock": {"delta": 4}})], 14)


def test_a_push_that_arrives_after_the_recovery_counts_no_second_time(
    phone: Device, row: dict[str, Any]
) -> None:
    change = delta(phone, Product.objects.get(), stock=4)
    recover(phone, ordered(phone), [counted(row, sent(change), 3)])
    Reset.objects.update(bootstrapped=1)

    (result,) = phone.push(change)

    assert (result["state"], result["row"]["fields"]["stock"], stock()) == ("identical", 17, 17)


@pytest.mark.parametrize(("arrived", "stands"), [(True, 19), (False, 9)])
def test_a_row_made_offline_is_counted_on_where_its_push_arrived(
    phone: Device, arrived: bool, stands: int
) -> None:
    """It was pushed with 7, and is 9 by now. Where the push arrived, others have counted it up to 17."""
    seven = Step(id="seven", amount={"delta": 7})
    change = phone.create(PRODUCT, new_product(stock=steps_value([seven])))
    if arrived:
        phone.push(change)
        Product.objects.filter(pk=change["pk"]).update(stock=17)
    line = replace(
        made_here(PRODUCT, change["pk"], new_product(stock=9)),
        steps={"stock": FieldSteps(steps=(replace(seven, sent=True), Step(id="two", amount={"delta": 2})))},
    )

    recovery = recover(phone, ordered(phone), [line])
    again(recovery)

    assert Product.objects.get(pk=change["pk"]).stock == stands


def test_what_was_taken_back_after_it_was_pushed_is_taken_back(phone: Device, row: dict[str, Any]) -> None:
    change = delta(phone, Product.objects.get(), stock=4)
    phone.push(change)

    recover(phone, ordered(phone), [counted(row, sent(change), -4)])

    assert stock() == 10


def test_recovered_again_a_step_is_not_added_twice(phone: Device, row: dict[str, Any]) -> None:
    recovery = recover(phone, ordered(phone), [counted(row, 3, name="Ripe apples")])
    assert stock() == 13

    rehearsal = preview(recovery)
    run(rehearsal.pk)
    second = again(recovery)
    third = again(recovery, strategy="by_update_log")

    for repeated in (rehearsal, second, third):
        assert told(repeated) == [("identical", {"name": "Ripe apples", "stock": {"delta": 3}})]
    assert stock() == 13


def test_after_an_undo_a_step_is_added_again(phone: Device, row: dict[str, Any]) -> None:
    recovery = recover(phone, ordered(phone), [counted(row, 3)])
    run(undo(recovery).pk)
    assert stock() == 10

    again(recovery)

    assert stock() == 13


def test_a_step_that_an_undo_could_not_take_back_is_not_added_again(
    phone: Device, row: dict[str, Any]
) -> None:
    recovery = recover(phone, ordered(phone), [counted(row, 3)])
    Product.objects.update(stock=20)
    undoing = undo(recovery)
    run(undoing.pk)
    assert (Item.objects.get(recovery=undoing).state, stock()) == ("parked", 20)

    second = again(recovery)

    assert (told(second), stock()) == ([("identical", {"stock": {"delta": 3}})], 20)


def test_a_step_that_was_parked_is_added_once_it_fits(phone: Device, row: dict[str, Any]) -> None:
    Product.objects.update(stock=32_767)
    recovery = recover(phone, ordered(phone), [counted(row, 3, name="Ripe apples")])
    assert [state for state, _ in told(recovery)] == ["parked"]
    assert Product.objects.get().name == "Ripe apples"
    Product.objects.update(stock=100)

    again(recovery)

    assert stock() == 103
    (waiting,) = Item.objects.filter(state="parked")
    assert (resolve(phone, waiting, "client"), stock()) == ("identical", 103)


def test_a_step_brings_back_a_row_that_was_deleted_meanwhile(phone: Device, row: dict[str, Any]) -> None:
    Product.objects.update(stock=15)
    Product.objects.all().delete()

    recovery = recover(phone, ordered(phone), [counted(row, 3)])

    assert (recovery.totals["applied"], stock()) == (1, 18)


def test_the_step_of_a_field_that_is_no_counter_any_more_is_its_value(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3)
    phone = device(shelter)
    phone.pull()
    row = phone.rows[DOG, str(dog.pk)]
    line = stepped(row, {"age": made({"delta": 2})}, age=5)

    recovery = recover(phone, ordered(phone), [line])

    assert told(recovery) == [("applied", {"age": 5})]


# -- a server that was restored ------------------------------------------------------------------------------------


def test_healing_counts_the_acknowledged_steps_and_the_pending_ones(
    phone: Device, row: dict[str, Any]
) -> None:
    change = delta(phone, Product.objects.get(), stock=4)
    answered = pushed(phone, change)
    phone.pull()
    known = phone.rows[row["model"], row["pk"]]
    assert known["fields"]["stock"] == 14
    restore(row)

    recovery = recover(phone, ordered(phone, full=True), [remembering(counted(known, 3), answered)])

    assert told(recovery) == [("applied", {"stock": {"delta": 4}}), ("applied", {"stock": {"delta": 3}})]
    assert stock() == 17


def test_an_acknowledged_value_that_no_step_explains_waits_for_a_person(
    phone: Device, row: dict[str, Any]
) -> None:
    """Who counted it has not come back yet, and may never."""
    phone.push(delta(phone, Product.objects.get(), stock=4))
    phone.pull()
    known = phone.rows[row["model"], row["pk"]]
    restore(row)

    recovery = recover(phone, ordered(phone, full=True), [counted(known, 3)])

    assert told(recovery) == [("applied", {"stock": {"delta": 3}}), ("parked", {"stock": 14})]
    (waiting,) = Item.objects.filter(state="parked")
    assert (waiting.code, waiting.fields["stock"]["server"], stock()) == ("unexplained", 10, 13)
    assert told(again(recovery)) == [("identical", {"stock": {"delta": 3}})]


@pytest.mark.parametrize("keep", ["client", "server"])
def test_who_comes_after_a_person_has_decided_over_a_value_counts_what_is_not_in_it(
    phone: Device, row: dict[str, Any], device: DeviceFactory, keep: str
) -> None:
    """The person takes 14, on top of which 3 were counted since; or leaves it until the one who counted 4 comes."""
    answered = pushed(phone, delta(phone, Product.objects.get(), stock=4))
    phone.pull()
    later = pushed(phone, delta(phone, Product.objects.get(), stock=20))
    other = device()
    other.pull()
    known = phone.rows[row["model"], row["pk"]]
    assert known["fields"]["stock"] == 14
    restore(row)
    recover(other, ordered(other, full=True), [counted(known, 3)])
    (waiting,) = Item.objects.filter(state="parked")

    if keep == "client":
        assert resolve(other, waiting, keep) == "parked", "the count that the person saw was 10, and is 13"
    decided = resolve(other, waiting, keep)

    assert (decided, stock()) == (("applied", 17) if keep == "client" else ("superseded", 13))
    recover(phone, ordered(phone, full=True), [remembering(counted(known, later), answered)])
    assert stock() == 37


def test_healing_makes_a_lost_row_anew_before_its_step(phone: Device, row: dict[str, Any]) -> None:
    restore(None)

    recover(phone, ordered(phone, full=True), [counted(row, 3)])

    assert stock() == 13


def test_a_step_that_another_device_may_have_brought_back_waits_for_a_person(
    phone: Device, row: dict[str, Any], device: DeviceFactory
) -> None:
    """Of 7, 4 were pushed to the server that was lost. The other device knows its count of then, of a lost row."""
    change = delta(phone, Product.objects.get(), stock=4)
    phone.push(change)
    other = device()
    other.pull()
    theirs = other.rows[row["model"], row["pk"]]
    restore(None)
    recover(other, ordered(other, full=True), [edited(theirs)])
    assert stock() == 14

    recovery = recover(phone, ordered(phone, full=True), [counted(row, sent(change), 3)])

    assert told(recovery) == [("applied", {"stock": {"delta": 3}}), ("parked", {"stock": {"delta": 4}})]
    assert stock() == 17
    (waiting,) = Item.objects.filter(state="parked")
    assert (waiting.code, waiting.fields["stock"]["server"]) == ("step_unclear", 14)
    second = again(recovery)
    assert told(second) == [("identical", {"stock": {"delta": 3}}), ("parked", {"stock": {"delta": 4}})]
    assert (resolve(phone, waiting, "client"), stock()) == ("applied", 21)
    (repeated,) = Item.objects.filter(state="parked")
    assert (resolve(phone, repeated, "client"), stock()) == ("identical", 21)


@pytest.mark.parametrize("lost", ["row", "count"])
@pytest.mark.parametrize("pulled", [False, True])
def test_an_answered_step_answers_the_question_of_another_device_that_came_before(
    phone: Device, row: dict[str, Any], device: DeviceFactory, lost: str, pulled: bool
) -> None:
    answered = pushed(phone, delta(phone, Product.objects.get(), stock=4))
    phone.pull()
    other = device()
    other.pull()
    theirs = other.rows[row["model"], row["pk"]]
    restore(row if lost == "count" else None)
    first = recover(other, ordered(other, full=True), [edited(theirs)])
    assert (first.state, stock()) == (("review", 10) if lost == "count" else ("done", 14))

    own = remembering(counted(theirs, 3), answered) if pulled else counted(row, answered, 3)
    recover(phone, ordered(phone, full=True), [own])

    first.refresh_from_db()
    assert (first.state, stock()) == ("done", 17)
    assert not Item.objects.filter(state="parked").exists()


def test_a_step_of_which_the_lost_server_told_nobody_is_added(phone: Device, row: dict[str, Any]) -> None:
    change = delta(phone, Product.objects.get(), stock=4)
    phone.push(change)
    restore(row)

    recovery = recover(phone, ordered(phone, full=True), [counted(row, sent(change), 3)])
    again(recovery)

    assert stock() == 17


def pushed(phone: Device, change: dict[str, Any]) -> Step:
    """The step of a change, as the phone has it once it was answered."""
    (result,) = phone.push(change)
    return replace(sent(change), at=result["clocks"]["stock"])


def remembering(line: RowLine, *steps: Step) -> RowLine:
    """The line with steps that are in the pulled value."""
    return replace(line, steps={"stock": replace(line.steps["stock"], counted=steps)})


def restore(row: dict[str, Any] | None) -> None:
    """What a restore does: the row and what is known of the client's pushes are again what they were."""
    Client.objects.update(acked=0, pushes=0, receipt="", receipt_before="")
    CountedStep.objects.all().delete()
    LastSynced.objects.all().delete()
    if row is None:
        Product.objects.all()._raw_delete("default")
        Entry.objects.all().delete()
        return
    clocks = {"last_updated": row["updated"], "field_timestamps": row["clocks"]}
    Product.objects.update(stock=row["fields"]["stock"], **clocks)


def test_a_step_decided_after_an_undo_of_the_rest_is_not_counted_again(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    phone.pull()
    line = counted(phone.rows[PRODUCT, str(apples.pk)], -3, name="Pears")
    Product.objects.update(stock=1)
    recovery = recover(phone, ordered(phone), [line])
    parked = Item.objects.get(recovery=recovery, state="parked")
    run(undo(recovery).pk)
    Product.objects.update(stock=50)
    phone.post(f"/items/{parked.pk}/resolve", {"keep": "client"})
    assert Product.objects.get().stock == 47

    again(recovery)

    assert Product.objects.get().stock == 47


def lost(phone: Device, apples: Product, **acknowledged: Any) -> RowLine:
    """The row as the phone has it from a server that was then restored to what it has now."""
    with transaction.atomic():
        Product.objects.update(**acknowledged)
        phone.pull()
        transaction.set_rollback(True)
    return row_line(phone.rows[PRODUCT, str(apples.pk)], {})


def test_an_acknowledged_count_that_a_restored_server_may_lack_is_asked_about(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    phone.pull()
    line = lost(phone, apples, stock=5)
    Product.objects.update(stock=8)

    recovery = recover(phone, ordered(phone, full=True), [line])

    (item,) = Item.objects.filter(recovery=recovery)
    assert (item.state, item.code) == ("parked", "unexplained")
    assert (item.fields["stock"]["client"], item.fields["stock"]["server"]) == (5, 8)
    assert Product.objects.get().stock == 8


def test_a_count_that_the_restored_server_remembers_is_no_question(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    Product.objects.update(stock=5)
    phone.pull()
    line = row_line(phone.rows[PRODUCT, str(apples.pk)], {})
    Product.objects.update(stock=8)

    recovery = recover(phone, ordered(phone, full=True), [line])

    assert not Item.objects.filter(recovery=recovery).exists()
