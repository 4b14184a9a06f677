"""Two recoveries of one snapshot that run through each other: what is in it counts once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.merge import snapshot as merging
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from syncreset.sdk import Replica
from tests.market.models import Product
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.market import PRODUCT
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)

#: Chunks of the snapshot below: one for each of its two lines.
CHUNKS = 2


@pytest.fixture
def server(user_factory: UserFactory) -> RealServer:
    return RealServer(user_factory())


@pytest.fixture
def apples_counted(apples: Product, server: RealServer, tmp_path: Path, settings: Any) -> Iterator[Replica]:
    """A store whose backup waits for a worker: +3 on a row that needs another one, which stands in a later chunk."""
    settings.SYNCRESET = {**settings.SYNCRESET, "RECOVERY_CHUNK": 1}
    with Replica(tmp_path / "phone.db", URL, "token", client=online(server)) as phone:
        phone.sync()
        made = phone.create(PRODUCT, name="Cider", stock=0)
        phone.update(PRODUCT, apples.pk, goes_with=[made])
        phone.connection.execute(
            "UPDATE market_product SET stock = stock + 3 WHERE id = ?", (str(apples.pk),)
        )
        server.recovers = False
        Reset.objects.force(Client.objects.all())
        phone.sync(wait=False)
        yield phone


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))
def test_a_recovery_that_is_run_again_while_the_first_is_under_way_counts_once(
    apples_counted: Replica,
    server: RealServer,
    apples: Product,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    place: str,
) -> None:
    first = Recovery.objects.get()
    merge_chunk, calls, again = merging._merge_chunk, [], []

    def interrupted(recovery: Recovery, *arguments: Any, **more: Any) -> None:
        mine = recovery.pk == first.pk
        calls.extend([recovery.pk] * mine)
        if mine and len(calls) == chunk and place == "before":
            again.append(run(recover_again(first).pk))
        merge_chunk(recovery, *arguments, **more)
        if mine and len(calls) == chunk and place == "after":
            again.append(run(recover_again(first).pk))

    monkeypatch.setattr(merging, "_merge_chunk", interrupted)

    assert run(first.pk) == "done"

    assert len(calls) >= CHUNKS
    assert again == ["done"]
    apples.refresh_from_db()
    assert apples.stock == 13
    assert [product.name for product in apples.goes_with.all()] == ["Cider"]
    assert not Item.objects.filter(state="parked").exists()
    server.recovers = True
    apples_counted.sync()
    assert (apples_counted.get(PRODUCT, apples.pk) or {})["stock"] == 13
