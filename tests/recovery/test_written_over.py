"""What a device wrote before a reset, and wrote over during it without having it before its eyes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.sdk import Replica
from tests.market.models import Product, Tag
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCT, TAG = "market.product", "market.tag"


@pytest.fixture
def server(user_factory: UserFactory) -> RealServer:
    return RealServer(user_factory())


@pytest.fixture
def ada(server: RealServer, tmp_path: Path, apples: Product) -> Iterator[Replica]:
    with Replica(tmp_path / "ada.db", URL, "token", client=online(server)) as replica:
        replica.sync()
        yield replica


def order(replica: Replica) -> None:
    Reset.objects.force(Client.objects.filter(pk=replica.client_id))


def stop_before_the_upload(server: RealServer, replica: Replica) -> None:
    """A reset that comes as far as its bootstrap."""
    order(replica)
    server.lose(replica, "/snapshot", seen=False)


def told() -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(item.state, item.code, item.change["fields"]) for item in Item.objects.order_by("pk")]


def test_a_field_that_is_written_over_is_kept_as_an_item(
    server: RealServer, ada: Replica, apples: Product
) -> None:
    ada.update(PRODUCT, apples.pk, name="Pears")
    stop_before_the_upload(server, ada)
    assert ada.get(PRODUCT, apples.pk)["name"] == "Apples"  # type: ignore[index]
    ada.update(PRODUCT, apples.pk, name="Plums")
    order(ada)

    ada.sync()

    apples.refresh_from_db()
    assert apples.name == "Plums"
    assert ("superseded", "replaced", {"name": "Pears"}) in told()


def test_a_row_that_is_made_again_under_its_key_keeps_the_first_one_as_an_item(
    server: RealServer, ada: Replica
) -> None:
    ada.create(TAG, name="ripe", colour="green")
    stop_before_the_upload(server, ada)
    assert ada.get(TAG, "ripe") is None
    ada.create(TAG, name="ripe", colour="red")
    order(ada)

    ada.sync()

    assert Tag.objects.get(pk="ripe").colour == "red"
    assert ("superseded", "replaced", {"colour": "green"}) in told()


def test_the_same_value_written_twice_is_no_item(server: RealServer, ada: Replica, apples: Product) -> None:
    ada.update(PRODUCT, apples.pk, name="Pears")
    stop_before_the_upload(server, ada)
    ada.update(PRODUCT, apples.pk, name="Pears")
    order(ada)

    ada.sync()

    assert "replaced" not in [code for _, code, _ in told()]


def test_what_is_counted_in_both_stores_adds_up_and_is_no_item(
    server: RealServer, ada: Replica, apples: Product
) -> None:
    ada.update(PRODUCT, apples.pk, stock=13)
    stop_before_the_upload(server, ada)
    ada.update(PRODUCT, apples.pk, stock=15)
    order(ada)

    ada.sync()

    apples.refresh_from_db()
    assert apples.stock == 18
    assert "replaced" not in [code for _, code, _ in told()]
