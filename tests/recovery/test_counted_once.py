"""A step of a counter or a set counts once, whatever road it takes; and a restore loses none that was acknowledged."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import purge
from syncreset.ledger.item import Item
from syncreset.operations.retention import purge as purge_all
from syncreset.protocol import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again, undo
from syncreset.recovery.run import run
from syncreset.sdk import Replica
from tests.market.models import Product, Tag
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.restoring import copy_database

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCT = "market.product"

Open = Callable[[str], Replica]


@pytest.fixture
def user(user_factory: UserFactory) -> User:
    return user_factory()


@pytest.fixture
def server(user: User) -> RealServer:
    return RealServer(user)


@pytest.fixture
def figs() -> Product:
    dried, *_ = (Tag.objects.create(name=name) for name in ("dried", "fresh", "ripe"))
    product = Product.objects.create(name="Figs", stock=10)
    product.tags.add(dried)
    return product


@pytest.fixture
def open_store(server: RealServer, figs: Product, tmp_path: Path) -> Iterator[Open]:
    """Open the store of a name, or go on with the one that is open."""
    with ExitStack() as stack:

        def opened(name: str) -> Replica:
            replica = Replica(tmp_path / f"{name}.db", URL, "token", client=online(server))
            return stack.enter_context(replica)

        yield opened


def count(replica: Replica, figs: Product, step: int) -> None:
    replica.connection.execute(
        "UPDATE market_product SET stock = stock + ? WHERE id = ?", (step, str(figs.pk))
    )


def stock(figs: Product) -> int:
    return Product.objects.get(pk=figs.pk).stock


def shown(replica: Replica, figs: Product) -> int:
    found = replica.get(PRODUCT, figs.pk)
    assert found is not None
    return int(found["stock"])


def tags(figs: Product) -> list[str]:
    return sorted(figs.tags.values_list("pk", flat=True))


def two_synced(open_store: Open) -> dict[str, Replica]:
    stores = {name: open_store(name) for name in ("ada", "ben")}
    for replica in stores.values():
        replica.sync()
    return stores


def work(server: RealServer) -> None:
    """Let the worker run what is queued."""
    for recovery in Recovery.objects.filter(state="queued").order_by("created").values_list("pk", flat=True):
        run(recovery)


def test_the_snapshots_of_two_resets_hold_one_step(
    server: RealServer, open_store: Open, figs: Product
) -> None:
    phone = open_store("phone")
    phone.sync()
    count(phone, figs, 3)
    server.recovers = False
    for _ in range(2):
        Reset.objects.force(Client.objects.all())
        phone.sync(wait=False)
    assert Recovery.objects.count() == 2

    work(server)
    server.recovers = True
    phone.sync()

    assert stock(figs) == shown(phone, figs) == 13
    assert phone.pending() == 0


@pytest.mark.parametrize("seen", [True, False])
def test_a_step_whose_answer_was_lost_is_in_the_snapshot_as_well(
    server: RealServer, open_store: Open, figs: Product, seen: bool
) -> None:
    phone = open_store("phone")
    phone.sync()
    count(phone, figs, 3)
    server.lose(phone, "push", seen=seen)
    count(phone, figs, 4)
    Product.objects.filter(pk=figs.pk).update(stock=stock(figs) + 100)
    Reset.objects.force(Client.objects.all())

    phone.sync()
    phone.sync()

    assert stock(figs) == shown(phone, figs) == 117
    assert phone.unresolved() == []


def test_recovering_a_snapshot_twice_counts_once_and_after_an_undo_once_more(
    server: RealServer, open_store: Open, figs: Product
) -> None:
    phone = open_store("phone")
    phone.sync()
    count(phone, figs, 3)
    Reset.objects.force(Client.objects.all())
    phone.sync()
    recovery = Recovery.objects.get()

    run(recover_again(recovery).pk)
    assert stock(figs) == 13
    run(undo(recovery).pk)
    assert stock(figs) == 10
    run(recover_again(recovery).pk)
    assert stock(figs) == 13
    run(recover_again(recovery).pk)

    assert stock(figs) == 13


def test_a_purge_forgets_no_step_that_may_still_come_again(
    server: RealServer, open_store: Open, figs: Product
) -> None:
    phone = open_store("phone")
    phone.sync()
    count(phone, figs, 3)
    Reset.objects.force(Client.objects.all())
    phone.sync()
    assert stock(figs) == 13

    purge_all()
    run(recover_again(Recovery.objects.get()).pk)

    assert stock(figs) == 13
    assert not Item.objects.filter(state="parked").exists()


def test_a_store_put_back_to_its_backup_counts_in_a_reset_what_its_other_life_never_had(
    server: RealServer, open_store: Open, figs: Product, tmp_path: Path
) -> None:
    phone = open_store("phone")
    phone.sync()
    phone.close()
    backup = (tmp_path / "phone.db").read_bytes()
    phone = open_store("phone")
    count(phone, figs, 1)
    phone.sync()
    phone.close()
    (tmp_path / "phone.db").write_bytes(backup)
    phone = open_store("phone")
    count(phone, figs, 5)
    Reset.objects.force(Client.objects.all())

    phone.sync()
    phone.sync()

    assert stock(figs) == shown(phone, figs) == 16


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["one", "other"] * 2))))
def test_two_stores_that_live_on_from_one_copy_lose_no_step_and_double_none(
    server: RealServer, open_store: Open, figs: Product, tmp_path: Path, order: tuple[str, ...]
) -> None:
    first = open_store("one")
    first.sync()
    count(first, figs, 3)
    first.close()
    (tmp_path / "other.db").write_bytes((tmp_path / "one.db").read_bytes())
    stores = {name: open_store(name) for name in ("one", "other")}
    stores["one"].update(PRODUCT, figs.pk, tags=["dried", "fresh"])
    stores["other"].update(PRODUCT, figs.pk, tags=["dried", "ripe"])

    for number, name in enumerate(order):
        count(stores[name], figs, 10**number)
        stores[name].sync()
    for name in (*stores, *stores):
        stores[name].sync()

    assert stock(figs) == 10 + 3 + 1111
    assert tags(figs) == ["dried", "fresh", "ripe"]
    for replica in stores.values():
        assert shown(replica, figs) == stock(figs)
        assert (replica.pending(), replica.unresolved()) == (0, [])
    assert len({replica.client_id for replica in stores.values()}) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(("ada", "ben", "cleo"))))
@pytest.mark.parametrize("unsent", [False, True])
def test_after_a_restore_all_that_was_counted_is_there_in_whatever_order_the_devices_come(
    server: RealServer, open_store: Open, figs: Product, order: tuple[str, ...], unsent: bool
) -> None:
    stores = {name: open_store(name) for name in ("ada", "ben", "cleo")}
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    for number, replica in enumerate(stores.values()):
        count(replica, figs, 10**number)
        replica.sync()
    stores["ada"].sync()
    count(stores["cleo"], figs, 1000)
    stores["cleo"].sync()
    if unsent:
        for replica in stores.values():
            count(replica, figs, 2)
    restore()
    assert stock(figs) == 10

    for name in order:
        report = stores[name].sync()
        assert [reset.reason for reset in report.resets] == ["history_diverged"]
    for replica in stores.values():
        replica.sync()

    assert stock(figs) == 10 + 111 + 1000 + (6 if unsent else 0)
    assert not Item.objects.filter(state="parked").exists()
    for replica in stores.values():
        assert shown(replica, figs) == stock(figs)


@pytest.mark.parametrize("order", list(itertools.permutations(("ada", "ben"))))
def test_what_a_recovery_counted_is_counted_again_by_a_server_restored_before(
    server: RealServer, open_store: Open, figs: Product, order: tuple[str, str]
) -> None:
    stores = two_synced(open_store)
    restore = copy_database()
    count(stores["ada"], figs, 3)
    Reset.objects.force(Client.objects.filter(pk=stores["ada"].client_id))
    for replica in (*stores.values(), *stores.values()):
        replica.sync()
    assert shown(stores["ben"], figs) == 13
    restore()

    for name in (*order, *order):
        stores[name].sync()

    assert stock(figs) == 13
    assert [shown(replica, figs) for replica in stores.values()] == [13, 13]
    assert not Item.objects.filter(state="parked").exists()


def test_what_a_third_device_counted_offline_on_a_row_that_came_home_as_a_whole_is_no_question(
    open_store: Open,
) -> None:
    """It was never sent: not even by the push that its own reset answered."""
    stores = two_synced(open_store)
    cleo = open_store("cleo")
    restore = copy_database()
    made = stores["ada"].create(PRODUCT, name="Dates", stock=10)
    stores["ada"].sync()
    cleo.sync()
    figs = Product.objects.get(pk=made)
    count(cleo, figs, 5)
    count(stores["ada"], figs, 3)
    stores["ada"].sync()
    stores["ben"].sync()
    restore()

    for replica in (stores["ben"], cleo, stores["ada"], cleo):
        replica.sync()

    assert stock(figs) == shown(cleo, figs) == 18
    assert not Item.objects.filter(state="parked").exists()


@pytest.mark.parametrize("copied", [False, True])
def test_a_step_of_two_copies_counts_once_beside_a_row_that_came_home_as_a_whole(
    server: RealServer, open_store: Open, tmp_path: Path, copied: bool
) -> None:
    """The row was made after the backup. Ben holds its value, with the step that only one of Ada's copies sent."""
    ada, ben = open_store("ada"), open_store("ben")
    ada.sync()
    ben.sync()
    restore = copy_database()
    made = ada.create(PRODUCT, name="Dates", stock=10)
    ada.sync()
    figs = Product.objects.get(pk=made)
    count(ada, figs, 3)
    if copied:
        ada.close()
        for path in list(tmp_path.glob("ada.db*")):
            path.with_name(path.name.replace("ada", "eve", 1)).write_bytes(path.read_bytes())
        eve, ada = open_store("eve"), open_store("ada")
        ada.sync()
    ben.sync()
    restore()

    for replica in (ben, eve if copied else ada, ben):
        replica.sync()

    if copied:
        assert stock(figs) == 13
        assert Item.objects.get(state="parked").code == "step_unclear"
        ada.sync()
    assert stock(figs) == 13
    assert not Item.objects.filter(state="parked").exists()


@pytest.mark.parametrize("order", [("ada", "ben"), ("ben", "ada")])
def test_what_was_answered_and_not_pulled_is_home_once_though_another_device_brings_it_too(
    server: RealServer, open_store: Open, figs: Product, order: tuple[str, ...]
) -> None:
    stores = two_synced(open_store)
    restore = copy_database()
    count(stores["ada"], figs, 3)
    server.lose(stores["ada"], "pull", seen=False)
    stores["ben"].sync()
    assert shown(stores["ben"], figs) == 13
    restore()

    for name in order:
        stores[name].sync()
    for replica in stores.values():
        replica.sync()

    assert stock(figs) == 13
    assert [shown(replica, figs) for replica in stores.values()] == [13, 13]


def test_a_step_that_was_sent_counts_once_though_another_device_holds_a_value_with_it(
    server: RealServer, open_store: Open, figs: Product
) -> None:
    ada, ben = open_store("ada"), open_store("ben")
    ada.sync()
    ben.sync()
    restore = copy_database()
    count(ada, figs, 3)
    server.lose(ada, "push", seen=True)
    ben.sync()
    restore()

    ben.sync()
    ada.sync()
    ada.sync()

    assert stock(figs) == 13
    (item,) = Item.objects.filter(state="parked")
    assert (item.code, item.fields["stock"]["client"]) == ("unexplained", 13)
    ada.resolve(str(item.pk), "client")
    assert stock(figs) == 13


def test_a_step_older_than_what_was_purged_waits_for_a_person(
    server: RealServer, open_store: Open, figs: Product
) -> None:
    """Nobody can tell any more whether another copy of the store had it counted."""
    phone = open_store("phone")
    phone.sync()
    count(phone, figs, 3)
    phone.connection.execute("UPDATE _syncreset_row SET local = '{\"stock\": 1}' WHERE local LIKE '%stock%'")
    purge(now() + 1)

    phone.sync()

    assert stock(figs) == shown(phone, figs) == 10
    assert Item.objects.get(state="parked").code == "step_unclear"
