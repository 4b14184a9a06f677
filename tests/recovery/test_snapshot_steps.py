"""What a device counted offline is added by a recovery: once, whatever was pushed before and whoever recovers again."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from syncreset.clients.client import REMEMBERED, Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.snapshot.lines import RowLine, Step
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


def stepped(row: dict[str, Any], steps: dict[str, Step], **edits: Any) -> RowLine:
    return replace(edited(row, **edits), steps=steps)


def counted(row: dict[str, Any], step: int, sent: dict[int, int] | None = None, **edits: Any) -> RowLine:
    """The row after the device counted its stock by ``step``, parts of which it ``sent``."""
    parts = {seq: {"delta": part} for seq, part in (sent or {}).items()}
    stock = row["fields"]["stock"] + step
    return stepped(row, {"stock": Step(whole={"delta": step}, sent=parts)}, stock=stock, **edits)


def again(recovery: Recovery, **how: Any) -> Recovery:
    repeated = recover_again(recovery, **how)
    run(repeated.pk)
    repeated.refresh_from_db()
    return repeated


def told(recovery: Recovery) -> list[tuple[str, Any]]:
    return [
        (item.state, item.change["fields"])
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
        "stock": Step(whole={"delta": 3}),
        "sold": Step(whole={"delta": "-1"}),
        "weight": Step(whole={"delta": "0.25"}),
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
    Product.objects.update(stock=15)

    recover(phone, ordered(phone), [counted(row, 3)], strategy=strategy)

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
    step = Step(whole={"add": [], "remove": ["fresh"]})
    apples.tags.add(green)

    recovery = recover(phone, ordered(phone), [stepped(row, {"tags": step}, tags=["red"])])

    assert recovery.totals["applied"] == 1
    assert elements(apples) == ["green", "red"]


def test_what_was_pushed_of_a_step_is_left_out_by_its_number(phone: Device, row: dict[str, Any]) -> None:
    """The push of 4 arrived, and its answer was lost; that of 2 did not."""
    phone.push(delta(phone, Product.objects.get(), stock=4))
    assert (phone.seq, stock()) == (1, 14)
    phone.seq = 2

    recovery = recover(phone, ordered(phone), [counted(row, 9, {1: 4, 2: 2})])

    assert told(recovery) == [("applied", {"stock": {"delta": 5}})]
    assert stock() == 19


def test_a_number_that_was_passed_over_was_never_taken(phone: Device, row: dict[str, Any]) -> None:
    """The new store pushes before the backup is recovered: what the old one sent has a lower number."""
    phone.seq = 1
    phone.push(delta(phone, Product.objects.get(), stock=1))

    recover(phone, ordered(phone), [counted(row, 4, {1: 4})])

    assert stock() == 15


def test_a_step_that_was_pushed_as_a_whole_carries_nothing(phone: Device, row: dict[str, Any]) -> None:
    phone.push(delta(phone, Product.objects.get(), stock=4))

    recovery = recover(phone, ordered(phone), [counted(row, 4, {1: 4})])

    assert (told(recovery), recovery.unchanged, stock()) == ([], 1, 14)


@pytest.mark.parametrize(("seq", "stands"), [(1, 19), (2, 9)])
def test_a_row_made_offline_is_counted_on_where_its_push_arrived(
    phone: Device, seq: int, stands: int
) -> None:
    """It was pushed with 7, and is 9 by now. Where the push arrived, others have counted it up to 17."""
    made = phone.create(PRODUCT, new_product(stock=7))
    if seq == 1:
        phone.push(made)
        Product.objects.filter(pk=made["pk"]).update(stock=17)
    line = replace(
        made_here(PRODUCT, made["pk"], new_product(stock=9)),
        steps={"stock": Step(whole={"delta": 9}, sent={seq: {"delta": 7}})},
    )

    recovery = recover(phone, ordered(phone), [line])
    again(recovery)

    assert Product.objects.get(pk=made["pk"]).stock == stands


def test_what_was_taken_back_after_it_was_pushed_is_taken_back(phone: Device, row: dict[str, Any]) -> None:
    phone.push(delta(phone, Product.objects.get(), stock=4))

    recover(phone, ordered(phone), [counted(row, 0, {1: 4})])

    assert stock() == 10


def test_recovered_again_a_step_is_not_added_twice(phone: Device, row: dict[str, Any]) -> None:
    recovery = recover(phone, ordered(phone), [counted(row, 3, name="Ripe apples")])
    assert stock() == 13

    rehearsal = preview(recovery)
    run(rehearsal.pk)
    second = again(recovery)
    third = again(recovery, strategy="by_update_log")

    for repeated in (rehearsal, second, third):
        assert told(repeated) == [
            ("identical", {"name": "Ripe apples"}),
            ("identical", {"stock": {"delta": 3}}),
        ]
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


@pytest.mark.parametrize("keep", ["client", {"stock": {"delta": 3}}])
def test_a_step_that_was_parked_is_added_once_it_fits(phone: Device, row: dict[str, Any], keep: Any) -> None:
    Product.objects.update(stock=32_767)
    recovery = recover(phone, ordered(phone), [counted(row, 3, name="Ripe apples")])
    assert [state for state, _ in told(recovery)] == ["parked"]
    assert Product.objects.get().name == "Ripe apples"
    Product.objects.update(stock=100)

    again(recovery)

    assert stock() == 103
    (waiting,) = Item.objects.filter(state="parked")
    assert (resolve(phone, waiting, keep), stock()) == ("identical", 103)


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
    line = stepped(row, {"age": Step(whole={"delta": 2})}, age=5)

    recovery = recover(phone, ordered(phone), [line])

    assert told(recovery) == [("applied", {"age": 5})]


# -- a server that was restored ------------------------------------------------------------------------------------


def test_healing_brings_the_acknowledged_value_and_adds_the_step(phone: Device, row: dict[str, Any]) -> None:
    phone.push(delta(phone, Product.objects.get(), stock=4))
    phone.pull()
    known = phone.rows[row["model"], row["pk"]]
    assert known["fields"]["stock"] == 14
    restore(row)

    recovery = recover(phone, ordered(phone, full=True), [counted(known, 3)])

    assert told(recovery) == [("applied", {"stock": 14}), ("applied", {"stock": {"delta": 3}})]
    assert stock() == 17


def test_healing_makes_a_lost_row_anew_before_its_step(phone: Device, row: dict[str, Any]) -> None:
    restore(None)

    recover(phone, ordered(phone, full=True), [counted(row, 3)])

    assert stock() == 13


def test_a_step_that_another_device_may_have_brought_back_waits_for_a_person(
    phone: Device, row: dict[str, Any], device: DeviceFactory
) -> None:
    """Of 7, 4 were pushed to the server that was lost. The other device knows its count of then."""
    phone.push(delta(phone, Product.objects.get(), stock=4))
    other = device()
    other.pull()
    theirs = other.rows[row["model"], row["pk"]]
    restore(row)
    recover(other, ordered(other, full=True), [edited(theirs)])
    assert stock() == 14

    recovery = recover(phone, ordered(phone, full=True), [counted(row, 7, {1: 4})])

    assert told(recovery) == [("applied", {"stock": {"delta": 3}}), ("parked", {"stock": {"delta": 4}})]
    assert stock() == 17
    (waiting,) = Item.objects.filter(state="parked")
    assert (waiting.code, waiting.seq, waiting.fields["stock"]["server"]) == ("step_unclear", 1, 14)
    second = again(recovery)
    assert told(second) == [("identical", {"stock": {"delta": 3}}), ("parked", {"stock": {"delta": 4}})]
    assert (resolve(phone, waiting, "client"), stock()) == ("applied", 21)


def test_a_step_of_which_the_lost_server_told_nobody_is_added(phone: Device, row: dict[str, Any]) -> None:
    phone.push(delta(phone, Product.objects.get(), stock=4))
    restore(row)

    recovery = recover(phone, ordered(phone, full=True), [counted(row, 7, {1: 4})])
    again(recovery)

    assert stock() == 17


def test_a_number_that_the_server_has_forgotten_waits_for_a_person(
    phone: Device, row: dict[str, Any]
) -> None:
    Client.objects.update(acked=5000, recent=[[seq, ""] for seq in range(5001 - REMEMBERED, 5001)])

    recovery = recover(phone, ordered(phone), [counted(row, 7, {1: 4, 5000: 2})])

    assert told(recovery) == [("applied", {"stock": {"delta": 1}}), ("parked", {"stock": {"delta": 4}})]
    assert stock() == 11


def restore(row: dict[str, Any] | None) -> None:
    """What a restore does: the row and what is known of the client's pushes are again what they were."""
    Client.objects.update(acked=0, recent=[])
    if row is None:
        Product.objects.all()._raw_delete("default")
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
    assert (item.state, item.code) == ("parked", "step_unclear")
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
