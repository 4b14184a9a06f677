"""What recoveries have parked is listed on the device for as long as it waits, whatever became of their backups."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.sdk import ProtocolViolation, Replica, Request, Response
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online
from tests.support.real_server import RealServer
from tests.support.simulated_server import refusal

pytestmark = pytest.mark.django_db(transaction=True)

DOG = "shelters.dog"


class Phone:
    """A replica that talks to the real server over HTTP. ``answers`` replaces its answers, by a part of the path."""

    def __init__(self, server: RealServer, path: Path) -> None:
        self.server, self.path = server, path
        self.answers: dict[str, Response] = {}
        self.replica = self.open()

    def open(self, **options: Any) -> Replica:
        self.replica = Replica(self.path, URL, "token", client=online(self), **options)
        return self.replica

    def answer(self, request: Request) -> Response:
        for part, answer in self.answers.items():
            if part in request.path:
                return answer
        return self.server.answer(request)


@pytest.fixture
def phone(user_factory: UserFactory, shelter: Shelter, tmp_path: Path) -> Iterator[Phone]:
    phone = Phone(RealServer(user_factory(shelter)), tmp_path / "field.db")
    yield phone
    phone.replica.close()


def park(replica: Replica, dog: Dog, note: str) -> str:
    """Let a reset park a change of the dog's notes; gives the recovery."""
    replica.sync()
    replica.update(DOG, dog.pk, notes=note)
    Dog.objects.filter(pk=dog.pk).update(notes=f"not {note}")
    Reset.objects.force(Client.objects.all())
    outcome = replica.sync().reset
    assert outcome is not None
    assert outcome.totals["parked"] == 1
    assert outcome.recovery is not None
    return outcome.recovery


def parked(replica: Replica) -> list[str]:
    return [item.fields["notes"]["client"] for item in replica.items()]


@pytest.mark.parametrize("how", ["kept for no time", "deleted by the app"])
def test_parked_items_are_listed_after_their_backup_is_gone(phone: Phone, shelter: Shelter, how: str) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    replica = phone.replica
    park(replica, dog, "mine")
    if how == "deleted by the app":
        replica.delete_backup(replica.backups()[0])
    else:
        replica.close()
        replica = phone.open(keep_backups=0)
        replica.sync()
    assert replica.backups() == []

    replica.close()
    replica = phone.open()
    (item,) = replica.items()
    replica.resolve(item, "client")
    replica.sync()

    assert Dog.objects.get(pk=dog.pk).notes == "mine"
    assert replica.items() == []


def test_a_recovery_that_the_server_has_lost_hides_no_items_of_others(phone: Phone, shelter: Shelter) -> None:
    rex, luna = (Dog.objects.create(shelter=shelter, name=name, notes="old") for name in ("Rex", "Luna"))
    lost = park(phone.replica, rex, "lost")
    park(phone.replica, luna, "found")
    assert parked(phone.replica) == ["lost", "found"]

    phone.answers[lost] = refusal(404, "not_found")

    assert parked(phone.replica) == ["found"]


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"items": [{}], "next": null}', b'{"items": [], "next": "x"}']
)
def test_items_of_another_shape_are_a_violation(phone: Phone, shelter: Shelter, body: bytes) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    park(phone.replica, dog, "mine")
    phone.answers["/items"] = Response(status=200, body=body)

    with pytest.raises(ProtocolViolation):
        phone.replica.items()
