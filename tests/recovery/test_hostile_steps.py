"""Steps in snapshots as no well-behaved device writes them: no recovery fails, and nobody else's count is touched."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User

from syncreset.apply.counted import CountedStep
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.snapshot.lines import FieldSteps, RowLine
from syncreset.protocol.steps import Step
from syncreset.recovery.job import Recovery
from tests.market.models import Product
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.market import PRODUCT, delta
from tests.support.snapshots import edited, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def phone(device: DeviceFactory, apples: Product) -> Device:
    made = device()
    made.pull()
    return made


@pytest.fixture
def row(phone: Device, apples: Product) -> dict[str, Any]:
    return phone.rows[PRODUCT, str(apples.pk)]


def healing(device: Device) -> str:
    """An order for a full reset, as of a restored server."""
    (reset,) = Reset.objects.force(Client.objects.filter(pk=device.client), full=True)
    return str(reset.pk)


def stock() -> int:
    return Product.objects.get().stock


def newer(row: dict[str, Any], by: int = 1, **fields: Any) -> RowLine:
    """The row as if it had been pulled with these values, which the server has forgotten since."""
    line = row_line(row, {})
    at = row["updated"] + by
    known = Row(fields={**row["fields"], **fields}, updated=at, clocks={"*": at})
    return replace(line, row=known)


@pytest.mark.parametrize("value", ["abc", "7", True, 1.5, [], {"delta": 1}, {"steps": []}], ids=repr)
def test_an_acknowledged_count_that_is_no_number_heals_nothing(
    phone: Device, row: dict[str, Any], value: Any
) -> None:
    phone.push(delta(phone, Product.objects.get(), stock=1))
    before = stock()

    recovery = recover(phone, healing(phone), [newer(row, stock=value, name="Ripe apples")])

    assert recovery.finished is not None
    assert stock() == before


def test_a_null_that_was_acknowledged_counts_on_from_zero(phone: Device, row: dict[str, Any]) -> None:
    phone.push(delta(phone, Product.objects.get(), ordered=4))

    assert recover(phone, healing(phone), [newer(row, ordered=None)]).finished is not None

    assert Product.objects.get().ordered == 4


@pytest.mark.parametrize("counted", [{"delta": "1"}, {"delta": 1}, {"add": ["x"], "remove": []}], ids=repr)
@pytest.mark.parametrize(("name", "value"), [("stock", 20), ("sold", "20"), ("weight", "20.00")])
def test_what_was_counted_when_the_field_had_another_type_accounts_for_what_it_did(
    phone: Device, row: dict[str, Any], name: str, value: Any, counted: Any
) -> None:
    """The schema changed in between, and with it how amounts are spelled; or the field was a set."""
    amounts = {"stock": 5, "sold": "5", "weight": "5.00"}
    for _ in range(2):
        phone.push(delta(phone, Product.objects.get(), **{name: amounts[name]}))
    before = getattr(Product.objects.get(), name)
    first = CountedStep.objects.order_by("pk")[0]
    CountedStep.objects.filter(pk=first.pk).update(amount=counted)

    recovery = recover(phone, healing(phone), [newer(row, **{name: value})])

    assert recovery.finished is not None
    assert getattr(Product.objects.get(), name) == before


@pytest.mark.parametrize("value", [23, "23", None, [], [{"a": 1}], {"delta": 1}], ids=repr)
@pytest.mark.parametrize("name", ["stock", "sold", "goes_with"])
def test_counted_steps_and_values_of_any_kind_fail_no_recovery(
    phone: Device, row: dict[str, Any], name: str, value: Any
) -> None:
    """Some fit the field, some each other, some the value beside them."""
    amounts = ({"delta": 1}, {"delta": "1"}, {"add": ["x"], "remove": []}, {"add": [row["pk"]], "remove": []})
    counted = tuple(Step(id=f"s{number}", amount=amount, at=5) for number, amount in enumerate(amounts))
    line = replace(newer(row, **{name: value}), steps={name: FieldSteps(counted=counted)})
    phone.push(delta(phone, Product.objects.get(), stock=5))

    recovery = recover(phone, healing(phone), [line])

    assert recovery.finished is not None
    assert stock() == (16 if (name, value) == ("stock", 23) else 15)


@pytest.mark.parametrize("value", ["abc", 7, True, {"add": ["x"]}, [{"a": 1}]], ids=repr)
def test_an_acknowledged_set_that_is_none_heals_nothing(
    phone: Device, row: dict[str, Any], value: Any
) -> None:
    phone.push(phone.put(PRODUCT, row["pk"], {"goes_with": {"steps": [{"id": "a", "add": [row["pk"]]}]}}))

    recovery = recover(phone, healing(phone), [newer(row, goes_with=value)])

    assert recovery.finished is not None
    assert [str(each.pk) for each in Product.objects.get().goes_with.all()] == [row["pk"]]


@pytest.mark.parametrize(
    ("name", "value", "amount"),
    [
        ("stock", "7", {"delta": "1"}),
        ("sold", 7, {"delta": 1}),
        ("tags", 7, {"delta": 1}),
        ("stock", [], {"add": []}),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_steps_of_another_kind_than_the_field_count_nothing(
    phone: Device, row: dict[str, Any], name: str, value: Any, amount: Any, full: bool
) -> None:
    """They fit the value beside them, and neither fits the field."""
    phone.push(delta(phone, Product.objects.get(), stock=1, sold="1"))
    line = replace(
        edited(row, **{name: value}), steps={name: FieldSteps(steps=(Step(id="odd", amount=amount, at=1),))}
    )
    (reset,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=full)

    recovery = recover(phone, str(reset.pk), [line])

    assert recovery.finished is not None
    assert (stock(), str(Product.objects.get().sold)) == (11, str(2**53 + 1))
    assert not CountedStep.objects.filter(step="odd").exists()


@pytest.mark.parametrize("pk", ["x" * 300, "a\0", "\ud800", "", "0190a5b4"], ids=ascii)
@pytest.mark.parametrize("full", [False, True])
def test_what_was_counted_of_a_row_with_no_key_is_noted_nowhere(
    phone: Device, row: dict[str, Any], pk: str, full: bool
) -> None:
    line = replace(
        row_line(row, {}),
        pk=pk,
        steps={"stock": FieldSteps(counted=(Step(id="a", amount={"delta": 1}, at=1),))},
    )
    step = replace(
        edited(row, stock=13),
        pk=f"{pk}y",
        steps={"stock": FieldSteps(steps=(Step(id="b", amount={"delta": 3}),))},
    )
    (reset,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=full)

    recovery = recover(phone, str(reset.pk), [line, step])

    assert recovery.finished is not None
    assert not CountedStep.objects.exists()
    assert stock() == 10


def test_one_id_in_two_rows_is_noted_once(phone: Device, row: dict[str, Any]) -> None:
    steps = {"stock": FieldSteps(counted=(Step(id="a", amount={"delta": 1}, at=1),))}
    lines = [
        replace(row_line(row, {}), steps=steps),
        replace(row_line(row, {}), pk=str(uuid.uuid4()), steps=steps),
    ]

    recovery = recover(phone, healing(phone), lines)

    assert recovery.finished is not None
    assert CountedStep.objects.filter(step="a").count() == 1


def test_the_ids_of_one_users_steps_are_not_those_of_another(
    device: DeviceFactory, user_factory: Callable[..., User], phone: Device, row: dict[str, Any]
) -> None:
    """Nobody can keep somebody else's step from being counted, with whatever of his own."""
    other = device(user=user_factory())
    other.pull()
    recover(
        other,
        healing(other),
        [
            replace(
                row_line(row, {}),
                steps={"stock": FieldSteps(counted=(Step(id="a", amount={"delta": 1}, at=1),))},
            )
        ],
    )

    (result,) = phone.push(phone.put(PRODUCT, row["pk"], {"stock": {"steps": [{"id": "a", "delta": 1}]}}))

    assert (result["state"], stock()) == ("applied", 12)


@pytest.mark.parametrize("at", [-(2**63) + 1, 0, 2**63 - 1])
def test_a_step_that_claims_any_clock_is_counted_at_most_once(
    phone: Device, row: dict[str, Any], at: int
) -> None:
    step = Step(id="a", amount={"delta": 3}, sent=True, at=at)
    line = replace(edited(row, stock=13), steps={"stock": FieldSteps(steps=(step,))})

    for _ in range(2):
        assert recover(phone, healing(phone), [line]).finished is not None

    assert stock() == 13
    assert not Item.objects.filter(state="parked").exists()
    assert Recovery.objects.count() == 2
