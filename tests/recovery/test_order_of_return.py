"""After a restore it is no matter which device comes first: what they bring home ends in the same state."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.checkpoints import Checkpoint
from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.sdk import Replica, Request, Response, ServerUnavailable
from syncreset.wire.schema import published
from tests.schema_changes.older import Described, publish_older
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online, sync
from tests.support.real_server import RealServer
from tests.support.restoring import copy_database

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[[str], Replica]
BOTH_ORDERS = pytest.mark.parametrize("order", [("ada", "ben"), ("ben", "ada")])


def without_notes(models: Described) -> None:
    models[DOG]["fields"] = [field for field in models[DOG]["fields"] if field["name"] != "notes"]


@pytest.fixture
def user(user_factory: UserFactory, shelter: Shelter) -> User:
    return user_factory(shelter)


@pytest.fixture
def server(user: User) -> RealServer:
    return RealServer(user)


@pytest.fixture
def open_store(server: RealServer, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(name: str) -> Replica:
            return stack.enter_context(Replica(tmp_path / f"{name}.db", URL, "token", client=online(server)))

        yield opened


@pytest.fixture
def stores(open_store: Open) -> dict[str, Replica]:
    found = {name: open_store(name) for name in ("ada", "ben")}
    for replica in found.values():
        replica.sync()
    return found


def come_back(stores: dict[str, Replica], order: tuple[str, ...]) -> None:
    for name in order:
        report = stores[name].sync()
        assert [reset.reason for reset in report.resets] == ["history_diverged"]
    for replica in stores.values():
        replica.sync()


@BOTH_ORDERS
@pytest.mark.parametrize("pushed_by", ["ada", "ben"])
def test_a_row_made_and_deleted_after_the_backup_stays_deleted(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...], pushed_by: str
) -> None:
    restore = copy_database()
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    stores["ada"].delete(DOG, dog.pk)
    stores["ada"].sync()
    restore()

    come_back(stores, order)

    assert not Dog.objects.filter(pk=dog.pk).exists()
    assert all(replica.get(DOG, dog.pk) is None for replica in stores.values())


@BOTH_ORDERS
def test_a_deletion_that_was_pending_is_no_matter_of_order_either(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...]
) -> None:
    restore = copy_database()
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    restore()
    stores["ada"].delete(DOG, dog.pk)

    come_back(stores, order)

    assert not Dog.objects.filter(pk=dog.pk).exists()
    assert all(replica.get(DOG, dog.pk) is None for replica in stores.values())


@BOTH_ORDERS
def test_an_edit_that_a_pending_deletion_had_not_seen_outlives_it(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...]
) -> None:
    restore = copy_database()
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    stores["ben"].update(DOG, dog.pk, age=7)
    stores["ben"].sync()
    stores["ada"].delete(DOG, dog.pk)
    restore()

    come_back(stores, order)

    assert Dog.objects.get(pk=dog.pk).age == 7
    assert all((replica.get(DOG, dog.pk) or {}).get("age") == 7 for replica in stores.values())


@BOTH_ORDERS
def test_fields_that_several_devices_wrote_are_each_as_acknowledged_last(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...]
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    stores["ada"].update(DOG, dog.pk, name="Max")
    stores["ada"].sync()
    stores["ben"].update(DOG, dog.pk, age=7)
    stores["ben"].sync()
    restore()

    come_back(stores, order)

    found = Dog.objects.get(pk=dog.pk)
    assert (found.name, found.age) == ("Max", 7)


@BOTH_ORDERS
def test_a_deleted_row_that_was_edited_by_somebody_else_after_it_is_there(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...]
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    stores["ada"].delete(DOG, dog.pk)
    stores["ada"].sync()
    stores["ben"].update(DOG, dog.pk, age=7)
    stores["ben"].sync()
    assert Dog.objects.get(pk=dog.pk).age == 7
    restore()

    come_back(stores, order)

    assert Dog.objects.get(pk=dog.pk).age == 7
    assert all((replica.get(DOG, dog.pk) or {}).get("age") == 7 for replica in stores.values())


def test_what_was_parked_and_answered_is_parked_again_by_a_server_restored_before(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    """The device has given its row back by then: its own copy of the change is all that there is."""
    ada = stores["ada"]
    restore = copy_database()
    ada.create(DOG, shelter=str(shelter.pk), name="Nowhere", mother=str(uuid7()))

    def answer(request: Request) -> Response:
        if request.path == "pull":
            raise ServerUnavailable("no answer")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(ada, answer)
    assert Item.objects.get().state == "parked"
    restore()
    assert not Item.objects.exists()

    report = ada.sync()

    assert [reset.reason for reset in report.resets] == ["history_diverged"]
    item = Item.objects.get()
    assert (item.state, item.change["fields"]["name"]) == ("parked", "Nowhere")


def test_a_restore_is_noticed_by_a_client_that_bootstraps_anew_for_a_schema_that_adds(
    open_store: Open, server: RealServer, shelter: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing to push, and the release was deployed on the restored server before it came."""
    older = published(publish_older(without_notes))
    assert older is not None
    hash_before = older["hash"]

    def before_the_release(request: Request) -> Response:
        answer = server_answer(request)
        if request.path == "schema":
            return replace(answer, body=json.dumps(older).encode())
        if request.path == "":
            return replace(answer, body=json.dumps(answer.json() | {"schema": hash_before}).encode())
        return answer

    server_answer = server.answer
    monkeypatch.setattr(server, "answer", before_the_release)
    ada = open_store("ada")
    ada.sync()
    restore = copy_database()
    dog = ada.create(DOG, shelter=str(shelter.pk), name="Rex")
    ada.sync()
    assert (ada.pending(), "notes" in (ada.get(DOG, dog) or {})) == (0, False)
    restore()
    monkeypatch.setattr(server, "answer", server_answer)

    report = ada.sync()

    assert [reset.reason for reset in report.resets] == ["history_diverged"]
    assert Dog.objects.filter(pk=dog).exists()
    assert (ada.get(DOG, dog) or {})["notes"] == ""


def test_a_receipt_that_no_pull_has_followed_is_no_proof(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    ada = stores["ada"]
    restore_before_order = copy_database()
    dog = ada.create(DOG, shelter=str(shelter.pk), name="Rex")
    Reset.objects.force(Client.objects.filter(pk=ada.client_id))
    receipts: list[str] = []

    def answer(request: Request) -> Response:
        if request.path == "pull" and receipts:
            raise ServerUnavailable("killed before the pull")
        response = server.answer(request)
        if request.path.startswith("recoveries/") and response.json()["state"] == "done":
            receipts.append(request.path)
        return response

    with pytest.raises(ServerUnavailable):
        sync(ada, answer)
    assert Dog.objects.filter(pk=dog).exists()
    assert [record.given_up for record in ada._device.journal.records] == [False]
    restore_before_order()
    assert not Dog.objects.filter(pk=dog).exists()

    ada.sync()
    ada.sync()

    assert Dog.objects.filter(pk=dog).exists()
    assert ada.get(DOG, dog) is not None


def test_a_server_restored_to_between_a_push_and_the_next_pull_changes_nothing(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    """What was answered is there. Nothing is lost, so no reset is ordered."""
    ada = stores["ada"]
    dog = ada.create(DOG, shelter=str(shelter.pk), name="Rex")
    copies = []

    def answer(request: Request) -> Response:
        response = server.answer(request)
        if request.path == "push":
            copies.append(copy_database())
        return response

    sync(ada, answer)
    copies[0]()

    report = ada.sync()

    assert Dog.objects.filter(pk=dog).exists()
    assert [reset.reason for reset in report.resets] in ([], ["history_diverged"])
    assert ada.get(DOG, dog) is not None


def test_a_server_restored_to_the_last_pull_orders_nothing_and_an_idle_pull_writes_nothing(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    ada = stores["ada"]
    ada.create(DOG, shelter=str(shelter.pk), name="Rex")
    ada.sync()
    restore = copy_database()
    written = Checkpoint.objects.count()
    ada.sync()
    ada.sync()
    assert Checkpoint.objects.count() == written
    restore()

    assert ada.sync().resets == ()


@BOTH_ORDERS
def test_an_acknowledged_value_that_loses_to_one_written_without_it_is_in_the_ledger(
    stores: dict[str, Replica], shelter: Shelter, order: tuple[str, ...]
) -> None:
    """Before the restore the ledger kept the loser, or there was none: the other was written on top of it."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    for name, replica in stores.items():
        replica.update(DOG, dog.pk, name=f"by {name}")
    for replica in stores.values():
        replica.sync()
    restore()

    come_back(stores, order)

    stands = Dog.objects.get(pk=dog.pk).name
    (loser,) = {"by ada", "by ben"} - {stands}
    kept = [item.fields["name"] for item in Item.objects.all() if "name" in item.fields]
    assert any(loser in (field["client"], field["server"]) for field in kept)


def test_a_value_written_on_a_restored_server_without_an_acknowledged_one_supersedes_it_in_the_ledger(
    stores: dict[str, Replica], shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    stores["ada"].update(DOG, dog.pk, name="acknowledged")
    stores["ada"].sync()
    restore()
    stores["ben"].update(DOG, dog.pk, name="written since")
    stores["ben"].sync()

    stores["ada"].sync()
    stores["ada"].sync()

    assert Dog.objects.get(pk=dog.pk).name == "written since"
    (item,) = Item.objects.filter(state="superseded")
    assert (item.fields["name"]["client"], item.fields["name"]["server"]) == ("acknowledged", "written since")


def test_a_device_cut_off_before_it_heals_heals_with_its_next_reset(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    """The next one is an ordinary one: what it brings of the first heals all the same."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    ada = stores["ada"]
    ada.sync()
    restore = copy_database()
    ada.update(DOG, dog.pk, name="acknowledged")
    ada.sync()
    restore()

    server.lose(ada, "snapshot", seen=False)
    Reset.objects.force(Client.objects.filter(pk=ada.client_id))

    for _ in range(3):
        ada.sync()

    assert Dog.objects.get(pk=dog.pk).name == "acknowledged"
    assert (ada.get(DOG, dog.pk) or {})["name"] == "acknowledged"


def test_what_was_parked_long_ago_and_is_shown_still_is_parked_again_by_a_server_restored_before(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter
) -> None:
    """Twice: the store of the first reset knows it as well. What the app has acknowledged is the server's alone."""
    ada = stores["ada"]
    restore = copy_database()
    for name in ("Shown", "Seen"):
        ada.create(DOG, shelter=str(shelter.pk), name=name, mother=str(uuid7()))
    ada.sync()
    ada.acknowledge(*(item for item in ada.unresolved() if item.fields["name"] == "Seen"))
    ada.sync()
    for _ in range(2):
        restore()
        for _ in range(2):
            ada.sync()

        (item,) = Item.objects.all()
        assert (item.state, item.change["fields"]["name"]) == ("parked", "Shown")
    assert len(ada.unresolved()) == 1
    assert ada.pending() == 0


@pytest.mark.parametrize("after", ["an edit", "a deletion"])
def test_a_device_cut_off_before_it_heals_tells_of_what_it_had_whatever_was_written_since(
    stores: dict[str, Replica], server: RealServer, shelter: Shelter, after: str
) -> None:
    """Its new store has the row of the restored server, which is later, and holds nothing of the lost one."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    ada, ben = stores["ada"], stores["ben"]
    for replica in stores.values():
        replica.sync()
    restore = copy_database()
    ada.update(DOG, dog.pk, name="acknowledged")
    ada.sync()
    restore()
    if after == "an edit":
        ben.update(DOG, dog.pk, name="written since")
    else:
        ben.delete(DOG, dog.pk)
    ben.sync()

    server.lose(ada, "snapshot", seen=False)
    Reset.objects.force(Client.objects.filter(pk=ada.client_id))

    for _ in range(3):
        ada.sync()

    if after == "an edit":
        (item,) = Item.objects.filter(state="superseded")
        assert (item.fields["name"]["client"], item.fields["name"]["server"]) == (
            "acknowledged",
            "written since",
        )
    else:
        assert Dog.objects.get(pk=dog.pk).name == "acknowledged"
