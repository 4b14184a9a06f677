"""Counters: deltas add up, whatever others did meanwhile."""

from typing import Any

import pytest
from django.db import connection

from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.tracking.triggers import install as triggers
from tests.market.models import Product
from tests.support.device import steps
from tests.support.factories import DeviceFactory
from tests.support.market import PRODUCT, delta

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_schema_says_which_fields_are_counters(device: DeviceFactory) -> None:
    (product,) = (model for model in device().get("/schema")["models"] if model["name"] == PRODUCT)

    assert {field["name"] for field in product["fields"] if field.get("counter")} == {
        "stock",
        "sold",
        "weight",
        "ordered",
    }


def test_deltas_of_several_devices_add_up_and_are_no_conflict(device: DeviceFactory, apples: Product) -> None:
    phone, tablet = device(), device()
    phone.pull()
    tablet.pull()

    for counted in (
        {"stock": 3, "sold": "-2", "weight": "0.25"},
        {"stock": -1, "sold": "1", "weight": "-2.00"},
    ):
        for one in (phone, tablet):
            (result,) = one.push(delta(one, apples, **counted))
            assert (result["state"], "item" in result) == ("applied", False)

    apples.refresh_from_db()
    assert (apples.stock, apples.sold, str(apples.weight)) == (14, 2**53 - 2, "-2.00")
    phone.pull()
    assert phone.rows[PRODUCT, str(apples.pk)]["fields"]["sold"] == str(2**53 - 2)


def test_a_delta_has_a_clock_after_the_servers(device: DeviceFactory, apples: Product) -> None:
    phone, tablet = device(), device()
    phone.pull()
    tablet.pull()
    (first,) = tablet.push(delta(tablet, apples, stock=1))
    late = delta(phone, apples, stock=1) | {"clocks": {"stock": 1}}

    (second,) = phone.push(late)

    assert second["clocks"]["stock"] == first["clocks"]["stock"] + 1


def test_deltas_of_one_push_add_up_and_a_replay_adds_nothing(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    body = phone.body(delta(phone, apples, stock=2), delta(phone, apples, stock=3))

    first = phone.send(body)
    again = phone.send(body)

    assert again == first
    apples.refresh_from_db()
    assert apples.stock == 15


def test_a_replay_of_a_parked_delta_is_answered_as_it_was(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    body = phone.body(delta(phone, apples, stock=-11), delta(phone, apples, stock=1))
    first = phone.send(body)

    again = phone.send(body)

    assert again == first
    assert [result["state"] for result in again] == ["parked", "applied"]
    assert Item.objects.count() == 1


def test_a_step_that_was_parked_is_not_counted_yet(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    change = delta(phone, apples, stock=-11)
    (parked,) = phone.push(change)
    Product.objects.update(stock=20)

    (again,) = phone.push(change)

    assert (parked["state"], again["state"], Product.objects.get().stock) == ("parked", "applied", 9)
    item = phone.post(f"/items/{parked['item']}/resolve", {"keep": "client"})
    assert (item["state"], Product.objects.get().stock) == ("identical", 9)


def test_a_counter_that_is_null_counts_from_zero(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()

    phone.push(delta(phone, apples, ordered=-4))

    apples.refresh_from_db()
    assert apples.ordered == -4


def test_a_delta_of_zero_is_identical(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    before = apples.last_updated

    (result,) = phone.push(delta(phone, apples, stock=0, weight="0.00"))

    assert result["state"] == "identical"
    assert Product.objects.get().last_updated == before


def test_a_plain_value_goes_by_the_fields_policy(device: DeviceFactory, apples: Product) -> None:
    phone, tablet = device(), device()
    phone.pull()
    tablet.pull()
    old = phone.put(PRODUCT, str(apples.pk), {"stock": 1})
    tablet.push(delta(tablet, apples, stock=5))

    (result,) = phone.push(old)

    assert result["state"] == "superseded"
    assert result["row"]["fields"]["stock"] == 15


@pytest.mark.parametrize(("step", "rest"), [(-11, "Pears"), (40_000, "Plums")])
def test_a_sum_out_of_range_is_parked_and_the_rest_of_the_change_applied(
    device: DeviceFactory, apples: Product, step: int, rest: str
) -> None:
    phone = device()
    phone.pull()
    change = phone.put(PRODUCT, str(apples.pk), {"stock": steps({"delta": step}), "name": rest})

    (result,) = phone.push(change)

    assert (result["state"], result["problem"]["code"], result["problem"]["field"]) == (
        "parked",
        "out_of_range",
        "stock",
    )
    apples.refresh_from_db()
    assert (apples.stock, apples.name) == (10, rest)
    item = Item.objects.get(pk=result["item"])
    assert (item.fields["stock"]["client"], item.fields["stock"]["kept"]) == ({"delta": step}, "review")
    assert item.fields["name"]["kept"] == "client"


def test_a_decimal_sum_with_too_many_digits_is_parked(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()

    (result,) = phone.push(delta(phone, apples, weight="9999.00"))

    assert (result["state"], result["problem"]["code"]) == ("parked", "out_of_range")


def test_an_increment_restores_a_deleted_product(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    Product.objects.all().delete()

    (result,) = phone.push(delta(phone, apples, stock=1))

    assert result["state"] == "applied"
    assert Product.objects.get().stock == 11


@pytest.mark.parametrize(
    ("field", "step", "code"),
    [
        ("stock", "3", "invalid"),
        ("stock", 1.5, "invalid"),
        ("stock", True, "invalid"),
        ("stock", None, "invalid"),
        ("stock", 2**64, "out_of_range"),
        ("sold", 3, "invalid"),
        ("sold", "1" * 30, "invalid"),
        ("sold", "-0", "invalid"),
        ("weight", 1, "invalid"),
        ("weight", "0.001", "invalid"),
        ("weight", "99999.00", "out_of_range"),
        ("name", 3, "invalid"),
    ],
)
def test_a_delta_of_another_shape_is_rejected(
    device: DeviceFactory, apples: Product, field: str, step: Any, code: str
) -> None:
    phone = device()
    phone.pull()

    (result,) = phone.push(delta(phone, apples, **{field: step}))

    assert (result["state"], result["problem"]["code"], result["problem"]["field"]) == (
        "rejected",
        code,
        field,
    )


def test_a_new_row_has_the_plain_value_of_its_counter_or_counts_from_nothing(device: DeviceFactory) -> None:
    phone = device()
    phone.pull()
    fields = {"name": "Figs", "stock": 7, "sold": "0", "weight": "0.00", "ordered": None}

    results = phone.push(
        phone.create(PRODUCT, fields),
        phone.create(PRODUCT, {**fields, "stock": steps({"delta": 3}, {"delta": 4})}),
        phone.create(PRODUCT, {**fields, "stock": steps({"delta": 3}, value=9)}),
    )

    assert [result["state"] for result in results] == ["applied"] * 3
    assert sorted(Product.objects.values_list("stock", flat=True)) == [7, 7, 9]


@pytest.mark.parametrize(
    "made",
    [
        {"delta": 3},
        {"steps": []},
        {"steps": [{"delta": 3}]},
        {"steps": [{"id": "", "delta": 3}]},
        {"steps": [{"id": "x" * 65, "delta": 3}]},
        {"steps": [{"id": 1, "delta": 3}]},
        {"steps": [{"id": "a", "delta": 3}, {"id": "a", "delta": 3}]},
        {"steps": [{"id": "a", "add": ["x"]}]},
        {"steps": [{"id": "a"}]},
        {"steps": {"id": "a", "delta": 3}},
        {"steps": [{"id": "a", "delta": 3}], "value": "x"},
    ],
    ids=str,
)
def test_a_step_needs_an_id_of_its_own(device: DeviceFactory, apples: Product, made: Any) -> None:
    phone = device()
    phone.pull()

    (result,) = phone.push(phone.put(PRODUCT, str(apples.pk), {"stock": made}))

    assert (result["state"], result["problem"]["code"]) == ("rejected", "invalid")


def test_a_step_counts_once_whatever_number_it_comes_under(device: DeviceFactory, apples: Product) -> None:
    phone, tablet = device(), device()
    phone.pull()
    tablet.pull()
    change = delta(phone, apples, stock=3)

    first, second = phone.push(change, change)
    (third,) = tablet.push(change)

    assert [result["state"] for result in (first, second, third)] == ["applied", "identical", "applied"]
    assert second["row"]["fields"]["stock"] == 13


def test_an_update_by_sql_and_a_delta_both_count(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE market_product SET stock = stock - 4")
    assert triggers.missing_or_stale(connection, [Product]) == []

    phone.push(delta(phone, apples, stock=1))

    row = Product.objects.get()
    assert row.stock == 7
    assert row.field_timestamps["stock"] <= now()


def test_a_step_with_the_id_of_another_rows_step_waits_for_a_person(
    device: DeviceFactory, apples: Product
) -> None:
    pears = Product.objects.create(name="Pears", stock=5)
    phone = device()
    phone.pull()
    first, second = delta(phone, apples, stock=1), delta(phone, pears, stock=2)
    second["fields"]["stock"]["steps"][0]["id"] = first["fields"]["stock"]["steps"][0]["id"]

    results = [*phone.push(first, second), *phone.push(second)]

    assert [result["state"] for result in results] == ["applied", "parked", "parked"]
    assert results[1]["problem"]["code"] == "step_unclear"
    pears.refresh_from_db()
    assert pears.stock == 5
