"""Numbers that two copies of one store use crosswise: what is new is never taken for what was there before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from syncreset.ledger.item import Item
from syncreset.sdk import Replica
from tests.market.models import Product, Tag
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.fleet import URL, online
from tests.support.market import PRODUCT
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[[str], Replica]

#: More than any number of answers that a server might keep.
PUSHED_SINCE = 2_100


def test_a_number_that_was_skipped_is_not_answered_as_a_repetition(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    for seq in (1, 5):
        phone.seq = seq - 1
        phone.push(phone.create(DOG, dog_fields(shelter, name=f"Number {seq}")))
    phone.seq = 2
    change = phone.create(DOG, dog_fields(shelter, name="Number 3"))

    problem = phone.push(change, status=409)

    assert problem["code"] == "client_copied"
    phone.client, phone.checkpoint, phone.receipt, phone.seq = problem["client"], problem["checkpoint"], "", 0
    assert [result["state"] for result in phone.push(change)] == ["applied"]
    assert set(Dog.objects.values_list("name", flat=True)) == {"Number 1", "Number 3", "Number 5"}
    assert not Item.objects.exists()


@pytest.fixture
def open_store(user_factory: UserFactory, tmp_path: Path) -> Iterator[Open]:
    server = RealServer(user_factory())
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(
            Replica(tmp_path / f"{name}.db", URL, "token", client=online(server))
        )


def test_a_copy_older_than_thousands_of_changes_is_told_of_its_own_changes_alone(
    open_store: Open, apples: Product, tmp_path: Path
) -> None:
    """The first change of the one life waits for a person; that of the copy has the same number, and another row."""
    pears = Product.objects.create(name="Pears", stock=1)
    Tag.objects.create(name="fresh")
    phone = open_store("phone")
    phone.sync()
    phone.close()
    (tmp_path / "copy.db").write_bytes((tmp_path / "phone.db").read_bytes())
    phone, copy = open_store("phone"), open_store("copy")
    phone.update(PRODUCT, apples.pk, stock=99_999)
    phone.sync()
    with phone.transaction():
        for number in range(PUSHED_SINCE):
            phone.create("market.tag", name=f"tag {number}")
    phone.sync()
    assert Tag.objects.count() == PUSHED_SINCE + 1
    parked = Item.objects.get(state="parked")

    copy.update(PRODUCT, pears.pk, name="Ripe pears", tags=["fresh"])
    copy.connection.execute("UPDATE market_product SET stock = stock + 5 WHERE id = ?", (str(pears.pk),))
    copy.sync()

    pears.refresh_from_db()
    assert (pears.name, pears.stock, list(pears.tags.values_list("pk", flat=True))) == (
        "Ripe pears",
        6,
        ["fresh"],
    )
    assert (copy.pending(), copy.unresolved()) == (0, [])
    assert copy.client_id != phone.client_id
    assert [item.item for item in phone.unresolved()] == [str(parked.pk)]
    assert Item.objects.get() == parked
