"""Values that are too large for a statement or an index stop nothing but their own change."""

import random
import string
from typing import Any

import pytest
from django.db import OperationalError, connection

from syncreset.apply.refusals import is_refusal
from syncreset.ledger.item import Item
from tests.market.models import Locker, Product, Tag
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.market import PRODUCT, new_product
from tests.support.snapshots import forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

LOCKER = "market.locker"
ABSENT = "0190a5b4-0000-7000-8000-000000000001"


@pytest.fixture
def phone(device: DeviceFactory) -> Device:
    made: Device = device()
    made.pull()
    return made


def locker(phone: Device, number: int, corridor: str) -> dict[str, Any]:
    product = Product.objects.create(name=f"Product {number}")
    fields = {
        "number": number,
        "letter": "ABC"[number],
        "weight": f"{number}.0",
        "rented": f"2026-01-0{number + 1}",
        "checked": f"2026-01-0{number + 1}T00:00:00Z",
        "corridor": corridor,
        "shelf": "1",
        "product": str(product.pk),
    }
    return phone.create(LOCKER, fields)


def test_a_text_that_no_index_takes_is_parked_alone(phone: Device) -> None:
    """PostgreSQL's b-trees hold a third of a page; those of SQLite hold any text."""
    letters = random.Random(1).choices(string.printable[:90], k=20_000)
    changes = [locker(phone, number, "".join(letters) if number == 1 else "short") for number in range(3)]
    changes[2]["fields"]["shelf"] = "2"

    told = phone.push(*changes)

    if connection.vendor == "postgresql":
        assert [result["state"] for result in told] == ["applied", "parked", "applied"]
        assert told[1]["problem"]["code"] == "too_large"
        assert Locker.objects.count() == 2
    else:
        assert [result["state"] for result in told] == ["applied"] * 3


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL takes as many parameters as there are")
def test_a_set_of_more_elements_than_a_statement_takes_is_parked_alone(phone: Device) -> None:
    Tag.objects.create(name="fresh")
    tags = [f"{number}" for number in range(260_000)]

    told = phone.push(
        phone.create(PRODUCT, new_product(tags=["fresh"])), phone.create(PRODUCT, new_product(tags=tags))
    )

    assert [result["state"] for result in told] == ["applied", "parked"]
    assert told[1]["problem"]["code"] == "too_large"


@pytest.mark.parametrize("message", ["database is locked", "disk I/O error", "server closed the connection"])
def test_an_error_that_will_pass_is_no_refusal(message: str) -> None:
    assert not is_refusal(OperationalError(message))


def test_a_recovery_parks_what_is_too_large_alone_and_says_nothing_of_the_database(phone: Device) -> None:
    letters = "".join(random.Random(1).choices(string.printable[:90], k=6_000))
    changes = [locker(phone, number, letters if number == 1 else "short") for number in range(3)]
    changes[2]["fields"]["shelf"] = "2"
    tags = [f"{number}" for number in range(260_000)] if connection.vendor == "sqlite" else []
    lines = [made_here(LOCKER, change["pk"], change["fields"]) for change in changes]
    lines.append(made_here(PRODUCT, ABSENT, new_product(tags=tags)))
    phone.pull()

    recovery = recover(phone, forced(phone), lines, full=False)

    large = LOCKER if connection.vendor == "postgresql" else PRODUCT
    assert (recovery.state, recovery.attempts) == ("review", 1)
    (item,) = Item.objects.filter(state="parked")
    assert (item.model, item.code) == (large, "too_large")
    assert Item.objects.filter(state="applied").count() == 3
    told = [
        entry["problem"]
        for entry in phone.get(f"/recoveries/{recovery.pk}/items")["items"]
        if entry.get("problem")
    ]
    assert [problem["code"] for problem in told] == ["too_large"]
    assert not any(word in repr(told).lower() for word in ("sql", "index", "btree", "variables"))
