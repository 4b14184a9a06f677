"""Many-to-many fields travel as sets: what is added and removed on different sides all counts."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Model
from pytest_django import Settings

from syncreset.ledger.item import Item
from tests.market.models import Basket, Product, Stand, Tag, Trader
from tests.support.device import Device, steps
from tests.support.factories import DeviceFactory
from tests.support.market import elements, new_product
from tests.support.snapshots import edited, forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCT = "market.product"


@pytest.fixture(autouse=True)
def tags(db: None) -> dict[str, Tag]:
    return {name: Tag.objects.create(name=name) for name in ("fresh", "green", "red", "ripe")}


@pytest.fixture
def apples(tags: dict[str, Tag]) -> Product:
    product = Product.objects.create(name="Apples")
    product.tags.add(tags["red"], tags["fresh"])
    return product


def put(device: Device, product: Product, value: Any, **more: Any) -> dict[str, Any]:
    return device.put(PRODUCT, str(product.pk), {"tags": value, **more})


def two(device: DeviceFactory) -> tuple[Device, Device]:
    phone, tablet = device(), device()
    phone.pull()
    tablet.pull()
    return phone, tablet


def test_the_schema_names_the_model_of_the_elements(device: DeviceFactory) -> None:
    (product,) = (model for model in device().get("/schema")["models"] if model["name"] == PRODUCT)

    assert product["fields"][-2:] == [
        {"name": "tags", "type": "ManyToMany", "null": False, "to": "market.tag", "label": "tags"},
        {
            "name": "goes_with",
            "type": "ManyToMany",
            "null": False,
            "to": "market.product",
            "label": "goes with",
        },
    ]


def test_rows_hold_sorted_arrays_in_bootstrap_and_feed(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    assert phone.rows[PRODUCT, str(apples.pk)]["fields"]["tags"] == ["fresh", "red"]

    apples.tags.add(Tag.objects.get(pk="green"))
    phone.pull()

    row = phone.rows[PRODUCT, str(apples.pk)]
    assert row["fields"]["tags"] == ["fresh", "green", "red"]
    assert row["clocks"]["tags"] == row["updated"]


def test_additions_and_removals_of_several_devices_all_count(device: DeviceFactory, apples: Product) -> None:
    phone, tablet = two(device)
    first = put(phone, apples, steps({"add": ["ripe"], "remove": ["red"]}))
    second = put(tablet, apples, steps({"add": ["green"]}))

    results = [*tablet.push(second), *phone.push(first)]

    assert [result["state"] for result in results] == ["applied", "applied"]
    assert elements(apples) == ["fresh", "green", "ripe"]
    tablet.pull()
    row = tablet.rows[PRODUCT, str(apples.pk)]
    assert row["fields"]["tags"] == ["fresh", "green", "ripe"]
    assert row["clocks"]["tags"] == results[1]["clocks"]["tags"]


def test_a_step_that_comes_again_does_not_bring_back_what_was_removed_since(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    phone.pull()
    change = put(phone, apples, steps({"add": ["ripe"]}))
    phone.push(change)
    apples.tags.remove(Tag.objects.get(pk="ripe"))

    (again,) = phone.push(change)

    assert (again["state"], again["row"]["fields"]["tags"]) == ("identical", ["fresh", "red"])
    assert elements(apples) == ["fresh", "red"]


def test_an_array_on_the_base_that_stands_is_taken_as_it_is(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    change = put(phone, apples, ["ripe", "fresh", "ripe"], name="Ripe apples")

    (result,) = phone.push(change)

    assert (result["state"], result["clocks"]) == ("applied", change["clocks"])
    assert elements(apples) == ["fresh", "ripe"]
    phone.pull()
    assert phone.rows[PRODUCT, str(apples.pk)]["clocks"]["tags"] == change["clocks"]["tags"]


def test_arrays_that_conflict_are_united_so_that_no_addition_is_lost(
    device: DeviceFactory, apples: Product
) -> None:
    phone, tablet = two(device)
    old = put(phone, apples, ["fresh", "ripe"])
    tablet.push(put(tablet, apples, steps({"add": ["green"]})))

    (result,) = phone.push(old)

    assert result["state"] == "merged"
    assert result["row"]["fields"]["tags"] == elements(apples) == ["fresh", "green", "red", "ripe"]
    assert Item.objects.get(pk=result["item"]).fields["tags"]["kept"] == "both"


def test_an_array_that_conflicts_and_adds_nothing_is_superseded(
    device: DeviceFactory, apples: Product
) -> None:
    phone, tablet = two(device)
    old = put(phone, apples, ["fresh"])
    tablet.push(put(tablet, apples, steps({"add": ["green"]})))

    (result,) = phone.push(old)

    assert result["state"] == "superseded"
    assert elements(apples) == ["fresh", "green", "red"]


@pytest.mark.parametrize("value", [["fresh", "red"], {"add": ["red"]}, {"remove": ["ripe"]}, {"add": []}])
def test_what_changes_no_element_is_identical(device: DeviceFactory, apples: Product, value: Any) -> None:
    phone = device()
    phone.pull()

    (result,) = phone.push(put(phone, apples, value if isinstance(value, list) else steps(value)))

    assert result["state"] == "identical"


def test_a_new_row_brings_its_elements_even_if_they_are_new_as_well(device: DeviceFactory) -> None:
    phone = device()
    phone.pull()
    change = phone.create(PRODUCT, new_product(tags=["ripe", "soft"]))
    later = {**change, "fields": {"tags": steps({"add": ["red"]})}, "base": {"tags": change["clocks"]["*"]}}

    results = phone.push(
        change,
        later,
        phone.create("market.tag", {"colour": "grey"}, "soft"),
        phone.create(PRODUCT, new_product()),
    )

    assert [result["state"] for result in results] == ["applied"] * 4
    assert elements(Product.objects.get(pk=change["pk"])) == ["red", "ripe", "soft"]
    phone.pull()
    assert phone.rows[PRODUCT, change["pk"]]["clocks"] == {
        "*": change["clocks"]["*"],
        "tags": results[1]["clocks"]["tags"],
    }


def test_an_element_that_is_not_there_parks_the_change(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()

    missing, fine = phone.push(
        put(phone, apples, steps({"add": ["nothing"]})), put(phone, apples, steps({"remove": ["nothing"]}))
    )

    assert (missing["state"], missing["problem"]["code"], missing["problem"]["field"]) == (
        "parked",
        "invalid_reference",
        "tags",
    )
    assert fine["state"] == "identical"
    assert elements(apples) == ["fresh", "red"]


def test_an_invisible_element_and_an_absent_one_look_the_same(
    device: DeviceFactory, apples: Product, settings: Settings
) -> None:
    settings.SYNCRESET = {
        **settings.SYNCRESET,
        "SCOPES": lambda user: [Stand.objects.filter(code="A1")],
    }
    here, away = (Stand.objects.create(code=code, name=code) for code in ("A1", "B2"))
    hidden = Trader.objects.create(stand=away, name="Hidden")
    ann = Trader.objects.create(stand=here, name="Ann")
    phone = device()
    phone.pull()
    problems = []
    for key in (str(hidden.pk), "0190a5b4-0000-7000-8000-000000000000"):
        (result,) = phone.push(phone.put("market.trader", str(ann.pk), {"knows": steps({"add": [key]})}))
        problems.append(result["problem"])

    assert problems[0] == problems[1]
    assert problems[0]["code"] == "invalid_reference"
    assert not ann.knows.exists()


def test_a_symmetrical_relation_is_written_on_both_sides(device: DeviceFactory, apples: Product) -> None:
    pears = Product.objects.create(name="Pears")
    phone, tablet = two(device)

    phone.push(phone.put(PRODUCT, str(apples.pk), {"goes_with": steps({"add": [str(pears.pk)]})}))
    tablet.pull()

    assert list(pears.goes_with.all()) == [apples]
    assert tablet.rows[PRODUCT, str(pears.pk)]["fields"]["goes_with"] == [str(apples.pk)]
    tablet.push(tablet.put(PRODUCT, str(pears.pk), {"goes_with": []}))
    assert not apples.goes_with.exists()


def test_a_set_of_a_registered_model(device: DeviceFactory, apples: Product, settings: Settings) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "SCOPES": lambda user: [Stand.objects.all()]}
    ann = Trader.objects.create(stand=Stand.objects.create(code="A1", name="Fruit"), name="Ann")
    phone = device()
    phone.pull()
    change = phone.put("market.trader", str(ann.pk), {"sells": [str(apples.pk)]})

    (result,) = phone.push(change)
    phone.pull()

    assert (result["state"], result["clocks"]) == ("applied", change["clocks"])
    row = phone.rows["market.trader", str(ann.pk)]
    assert row["fields"]["sells"] == [str(apples.pk)]
    assert row["clocks"]["sells"] == change["clocks"]["sells"]
    assert "hides" not in row["fields"]


def test_a_deleted_element_leaves_the_sets_of_clients(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()

    Tag.objects.get(name="red").delete()
    phone.pull()

    assert phone.rows[PRODUCT, str(apples.pk)]["fields"]["tags"] == ["fresh"]


def test_a_row_that_one_device_deleted_comes_back_with_its_elements_and_those_added_by_another(
    device: DeviceFactory, apples: Product
) -> None:
    phone, tablet = two(device)
    phone.push(phone.delete(PRODUCT, str(apples.pk)))

    (result,) = tablet.push(put(tablet, apples, steps({"add": ["ripe"]})))

    assert result["state"] == "applied"
    assert elements(Product.objects.get()) == ["fresh", "red", "ripe"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "red",
        {"add": "red"},
        {"add": [1]},
        {"add": None},
        [None],
        {"add": ["red"], "remove": ["red"]},
        {"steps": [{"id": "a", "add": "red"}]},
        {"steps": [{"id": "a", "add": [1]}]},
        {"steps": [{"id": "a", "add": ["red"], "remove": ["red"]}]},
        {"steps": [{"id": "a", "delta": 1}]},
        {"plus": ["red"]},
        {},
        ["x" * 41],
    ],
    ids=str,
)
def test_a_value_of_another_shape_is_rejected(device: DeviceFactory, apples: Product, value: Any) -> None:
    phone = device()
    phone.pull()

    (result,) = phone.push(put(phone, apples, value))

    assert (result["state"], result["problem"]["code"]) == (
        "rejected",
        "null" if value is None else "invalid",
    )


def test_a_new_row_has_an_array_or_steps_from_nothing_and_null_means_none(device: DeviceFactory) -> None:
    phone = device()
    phone.pull()

    empty, relative = phone.push(
        phone.create(PRODUCT, new_product(tags=None)),
        phone.create(PRODUCT, new_product(tags=steps({"add": ["red"]}))),
    )

    assert (empty["state"], relative["state"]) == ("applied", "applied")
    assert sorted(map(elements, Product.objects.all())) == [[], ["red"]]


def test_a_tracked_table_between_two_models_is_a_model_as_any_other(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    phone.pull()
    basket = phone.create("market.basket", {})
    portion = phone.create("market.portion", {"basket": basket["pk"], "product": str(apples.pk), "amount": 3})

    results = phone.push(portion, basket)

    assert [result["state"] for result in results] == ["applied", "applied"]
    assert list(Basket.objects.get().products.all()) == [apples]
    phone.pull()
    assert phone.rows["market.basket", basket["pk"]]["fields"] == {}
    assert ("market.portion", portion["pk"]) in phone.rows


def test_sets_of_a_snapshot_are_recovered(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    row = phone.rows[PRODUCT, str(apples.pk)]
    reset = forced(phone)
    apples.tags.add(Tag.objects.get(pk="green"))

    made = "0190a5b4-0000-7000-8000-000000000001"
    lines = [
        edited(row, tags=["red", "ripe"]),
        made_here(PRODUCT, made, new_product(tags=["red"], goes_with=[])),
    ]
    recovery = recover(phone, reset, lines)

    assert (recovery.totals["merged"], recovery.totals["applied"]) == (1, 1)
    assert elements(apples) == ["fresh", "green", "red", "ripe"]
    assert elements(Product.objects.get(pk=made)) == ["red"]


@pytest.mark.parametrize("deletes", [Model.delete, lambda row: Product.objects.filter(pk=row.pk).delete()])
def test_a_restored_row_has_the_elements_that_it_was_deleted_with(
    device: DeviceFactory, apples: Product, deletes: Callable[[Any], Any]
) -> None:
    phone = device()
    phone.pull()
    pk = str(apples.pk)
    edit = phone.put(PRODUCT, pk, {"name": "Red apples", "tags": steps({"add": ["ripe"], "remove": []})})
    deletes(apples)

    (result,) = phone.push(edit)

    assert result["state"] == "applied"
    assert elements(Product.objects.get(pk=pk)) == ["fresh", "red", "ripe"]
    phone.pull()
    assert phone.rows[PRODUCT, pk]["fields"]["tags"] == ["fresh", "red", "ripe"]


def test_a_restored_row_goes_without_the_elements_that_are_no_more(
    device: DeviceFactory, apples: Product
) -> None:
    phone = device()
    phone.pull()
    pk = str(apples.pk)
    edit = phone.put(PRODUCT, pk, {"name": "Red apples"})
    apples.delete()
    Tag.objects.get(pk="fresh").delete()

    (result,) = phone.push(edit)

    assert result["state"] == "applied"
    assert elements(Product.objects.get(pk=pk)) == ["red"]
