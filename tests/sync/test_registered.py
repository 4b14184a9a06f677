"""Registered models over the wire: the clocks of their entries merge as others' columns do."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import NOT_PROVIDED
from pytest_django import Settings

from syncreset.feed.entries import Entry, EntryKind
from syncreset.ledger.item import Item
from tests.market.models import Product, Stand, Trader
from tests.support.device import Device, steps
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

TRADER = "market.trader"


@pytest.fixture(autouse=True)
def stand(db: None, settings: Settings) -> Stand:
    """The stand of users whose first name is its code."""
    settings.SYNCRESET = {
        **settings.SYNCRESET,
        "SCOPES": lambda user: [Stand.objects.filter(code=user.first_name)],
    }
    return Stand.objects.create(code="A1", name="Fruit")


@pytest.fixture
def keeper(user_factory: Any) -> User:
    user: User = user_factory(first_name="A1")
    return user


@pytest.fixture
def ann(stand: Stand) -> Trader:
    return Trader.objects.create(stand=stand, name="Ann", pin="1234")


def clocks_of(trader: Trader) -> tuple[int | None, Any]:
    entry = Entry.objects.get(model=TRADER, pk_text=str(trader.pk), kind=EntryKind.ROW)
    return entry.updated, entry.clocks


def fields(**more: Any) -> dict[str, Any]:
    return {"stand": "A1", "name": "Cleo", "phone": None, "debts": 0, "notes": {}, **more}


def pulled(device: Device, trader: Trader) -> dict[str, Any]:
    device.pull()
    return device.rows[TRADER, str(trader.pk)]


def test_a_pull_brings_the_named_fields_with_the_clocks_of_the_entry(
    device: DeviceFactory, keeper: User, ann: Trader
) -> None:
    Trader.objects.update(phone="1", pin="4321")

    row = pulled(device(user=keeper), ann)

    assert row["fields"] == fields(name="Ann", phone="1", sells=[], knows=[])
    assert (row["updated"], row["clocks"]) == clocks_of(ann)
    assert row["clocks"].keys() == {"*", "phone"}


def test_the_schema_has_the_named_fields_only(device: DeviceFactory, keeper: User) -> None:
    models = {model["name"]: model for model in device(user=keeper).get("/schema")["models"]}

    assert [field["name"] for field in models[TRADER]["fields"]] == [
        "stand",
        "name",
        "phone",
        "debts",
        "notes",
        "sells",
        "knows",
    ]
    assert models["market.stand"]["primary_key"] == "code"


def test_a_pushed_change_keeps_its_own_clock_and_what_is_not_synced(
    device: DeviceFactory, keeper: User, ann: Trader
) -> None:
    phone, tablet = device(user=keeper), device(user=keeper)
    phone.pull()
    tablet.pull()
    change = phone.put(TRADER, str(ann.pk), {"name": "Bea", "notes": {"x": 1}})

    (result,) = phone.push(change)

    assert (result["state"], result["clocks"]) == ("applied", change["clocks"])
    assert pulled(tablet, ann)["clocks"]["name"] == change["clocks"]["name"]
    ann.refresh_from_db()
    assert (ann.name, ann.notes, ann.pin) == ("Bea", {"x": 1}, "1234")


def test_different_fields_merge_and_the_later_write_of_one_wins(
    device: DeviceFactory, keeper: User, ann: Trader
) -> None:
    phone, tablet = device(user=keeper), device(user=keeper)
    phone.pull()
    tablet.pull()
    early = phone.put(TRADER, str(ann.pk), {"name": "Early", "phone": "1"})
    late = tablet.put(TRADER, str(ann.pk), {"name": "Late"})
    tablet.push(late)

    (result,) = phone.push(early)

    assert result["state"] == "merged"
    assert result["row"]["fields"] == fields(name="Late", phone="1", sells=[], knows=[])
    updated, clocks = clocks_of(ann)
    assert (clocks["name"], clocks["phone"]) == (late["clocks"]["name"], early["clocks"]["phone"])
    assert (result["row"]["updated"], result["row"]["clocks"]) == (updated, clocks)


def test_counters_of_a_registered_model_add_up(device: DeviceFactory, keeper: User, ann: Trader) -> None:
    phone, tablet = device(user=keeper), device(user=keeper)
    phone.pull()
    tablet.pull()

    for one in (phone, tablet):
        one.push(one.put(TRADER, str(ann.pk), {"debts": steps({"delta": 5})}))

    ann.refresh_from_db()
    assert ann.debts == 10


def test_a_new_row_takes_the_defaults_of_what_is_not_synced(device: DeviceFactory, keeper: User) -> None:
    phone = device(user=keeper)
    phone.pull()
    change = phone.create(TRADER, fields())

    (result,) = phone.push(change)

    assert (result["state"], result["clocks"]) == ("applied", change["clocks"])
    cleo = Trader.objects.get(pk=change["pk"])
    assert (cleo.name, cleo.pin) == ("Cleo", "0000")
    assert clocks_of(cleo) == (change["clocks"]["*"], change["clocks"])


def test_no_row_is_made_where_the_server_alone_has_the_values_it_needs(
    device: DeviceFactory, keeper: User, ann: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trader._meta.get_field("pin"), "default", NOT_PROVIDED)
    phone = device(user=keeper)
    phone.pull()
    gone = phone.put(TRADER, str(ann.pk), {"name": "Restored"})
    ann.delete()

    for result in phone.push(phone.create(TRADER, fields()), gone):
        assert (result["state"], result["problem"]["code"]) == ("rejected", "row_missing")
        assert "pin" not in result["problem"]["detail"]
    assert not Trader.objects.exists()


@pytest.mark.parametrize("name", ["pin", "rank", "id", "last_updated", "clocks"])
def test_a_field_that_is_not_named_is_not_accepted(
    device: DeviceFactory, keeper: User, ann: Trader, name: str
) -> None:
    phone = device(user=keeper)
    phone.pull()
    phone.rows[TRADER, str(ann.pk)]["clocks"][name] = 1

    put, made = phone.push(
        phone.put(TRADER, str(ann.pk), {name: "1"}), phone.create(TRADER, fields(**{name: "1"}))
    )

    assert {put["problem"]["code"], made["problem"]["code"]} == {"unknown_field"}
    ann.refresh_from_db()
    assert ann.pin == "1234"


def test_a_delete_and_an_edit_of_it_restore_the_row(device: DeviceFactory, keeper: User, ann: Trader) -> None:
    phone, tablet = device(user=keeper), device(user=keeper)
    phone.pull()
    tablet.pull()

    (deleted,) = phone.push(phone.delete(TRADER, str(ann.pk)))
    (edited,) = tablet.push(tablet.put(TRADER, str(ann.pk), {"phone": "2"}))

    assert (deleted["state"], edited["state"]) == ("applied", "applied")
    restored = Trader.objects.get()
    assert (restored.pk, restored.name, restored.phone) == (ann.pk, "Ann", "2")
    assert pulled(phone, ann)["clocks"].keys() == {"*", "phone"}


def test_a_delete_of_what_changed_meanwhile_is_superseded(
    device: DeviceFactory, keeper: User, ann: Trader
) -> None:
    phone = device(user=keeper)
    phone.pull()
    Trader.objects.update(name="Bea")

    (result,) = phone.push(phone.delete(TRADER, str(ann.pk)))

    assert result["state"] == "superseded"
    assert Trader.objects.exists()


def test_a_move_departs_and_the_clocks_go_along(
    device: DeviceFactory, keeper: User, ann: Trader, user_factory: Any
) -> None:
    other = Stand.objects.create(code="B2", name="Fish")
    phone, fish = device(user=keeper), device(user=user_factory(first_name="B2"))
    first = pulled(phone, ann)
    fish.pull()

    Trader.objects.update(stand=other)

    phone.pull()
    assert [set(change) for change in phone.told] == [{"model", "pk", "removed"}]
    assert pulled(fish, ann)["clocks"]["*"] == first["clocks"]["*"]


def test_a_merge_of_several_rows_gives_each_its_clocks(
    device: DeviceFactory, keeper: User, stand: Stand
) -> None:
    traders = [Trader.objects.create(stand=stand, name=f"T{number}") for number in range(5)]
    phone = device(user=keeper)
    phone.pull()
    changes = [phone.put(TRADER, str(trader.pk), {"name": f"New {trader.name}"}) for trader in traders]
    for number, change in enumerate(changes):
        change["clocks"] = {"name": change["clocks"]["name"] - number}

    results = phone.push(*changes)

    for trader, change, result in zip(traders, changes, results, strict=True):
        assert result["state"] == "applied"
        assert clocks_of(trader)[1]["name"] == change["clocks"]["name"] == result["clocks"]["name"]


def test_a_refused_write_leaves_the_clocks_alone(ann: Trader) -> None:
    before = clocks_of(ann)

    with transaction.atomic():
        Trader.objects.update(name="Bea")
        transaction.set_rollback(True)

    assert clocks_of(ann) == before


def test_a_snapshot_of_registered_rows_is_recovered(device: DeviceFactory, keeper: User, ann: Trader) -> None:
    phone = device(user=keeper)
    row = pulled(phone, ann)
    reset = forced(phone)
    Trader.objects.update(phone="from the server")

    recovery = recover(phone, reset, [edited(row, name="From the backup")])

    assert recovery.totals["applied"] == 1
    ann.refresh_from_db()
    assert (ann.name, ann.phone, ann.pin) == ("From the backup", "from the server", "1234")
    item = Item.objects.get(recovery=recovery)
    assert "pin" not in item.change["whole"]["fields"]


def test_own_columns_and_entries_are_written_in_one_push(
    device: DeviceFactory, keeper: User, ann: Trader
) -> None:
    product = Product.objects.create(name="Apples")
    phone = device(user=keeper)
    phone.pull()

    results = phone.push(
        phone.put(TRADER, str(ann.pk), {"name": "Bea"}),
        phone.put("market.product", str(product.pk), {"name": "Pears"}),
        phone.put("market.stand", "A1", {"name": "Fruit and more"}),
    )

    assert [result["state"] for result in results] == ["applied"] * 3
    phone.pull()
    assert {change["model"] for change in phone.told} == {TRADER, "market.product", "market.stand"}
