"""A new row that the server refuses is pushed once, and adds one item to the ledger, however often the device syncs."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from syncreset.ledger.item import Item
from syncreset.sdk import Replica
from tests.market.models import Product
from tests.shelters.models import Shelter
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.market import PRODUCT
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

#: What is given of a product, whose counters and sets are left unset, and what becomes of it.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "parked": ({"name": "Figs"}, "forbidden"),
    "rejected": ({"name": "x" * 101}, "too_long"),
}


@pytest.mark.parametrize("state", REFUSED)
def test_a_refused_row_with_unset_counters_and_sets_is_told_once(
    user_factory: UserFactory, shelter: Shelter, tmp_path: Path, state: str
) -> None:
    fields, code = REFUSED[state]
    user = user_factory(shelter)
    if state == "parked":
        user.user_permissions.remove(Permission.objects.get(codename="add_product"))
    server = RealServer(user)
    with Replica(tmp_path / "field.db", URL, "token", client=online(server)) as replica:
        replica.sync()
        pk = replica.create(PRODUCT, **fields)
        for _ in range(4):
            replica.sync()

        item = Item.objects.get()
        assert (item.state, item.code) == (state, code)
        assert [request.path for request in server.requests].count("push") == 1
        assert (replica.pending(), len(replica.unresolved())) == (0, 1)
        assert replica.get(PRODUCT, pk) is None
        replica.acknowledge(*replica.unresolved())
        replica.safe_logout()
    assert not Product.objects.exists()
