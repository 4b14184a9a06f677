"""What the device and the real server must agree on: refusals that the operator mends, and the documented app."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.errors import ProtocolError
from syncreset.recovery.intake import finish_upload
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from syncreset.sdk import RecoveryFailed, Replica, Request, Response, ServerUnavailable
from syncreset.wire.schema import published
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory
from tests.support.fleet import URL, online, sync
from tests.support.pages import page
from tests.support.real_server import RealServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(user_factory: UserFactory, shelter: Shelter) -> RealServer:
    return RealServer(user_factory(shelter))


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


@pytest.fixture
def phone(server: RealServer, dog: Dog, tmp_path: Path) -> Iterator[Replica]:
    """A replica with an unsent edit of the dog, and an order to reset."""
    with ExitStack() as stack:
        replica = stack.enter_context(Replica(tmp_path / "field.db", URL, "token", client=online(server)))
        replica.sync()
        replica.update("shelters.dog", dog.pk, age=9)
        Reset.objects.force(Client.objects.all())
        yield replica


def age_of(dog: Dog) -> int | None:
    return Dog.objects.get(pk=dog.pk).age


def test_a_refused_upload_that_the_operator_checks_again_is_receipted(
    server: RealServer, phone: Replica, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncreset.recovery.intake.published", lambda schema: None)
    with pytest.raises(RecoveryFailed, match="never published"):
        phone.sync()
    phone.sync()
    assert Upload.objects.count() == 1

    monkeypatch.setattr("syncreset.recovery.intake.published", published)
    finish_upload(Upload.objects.get(), by_operator=True)
    phone.sync()

    assert age_of(dog) == 9
    assert [backup.state for backup in phone.backups()] == ["receipted"]
    assert Upload.objects.count() == 1


def test_a_failed_recovery_that_the_operator_runs_again_is_receipted(
    server: RealServer, phone: Replica, dog: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(recovery: Recovery) -> None:
        raise ProtocolError("a fault of the worker", code="crashed", status=500)

    with monkeypatch.context() as patch:
        patch.setattr("syncreset.recovery.run.merge_snapshot", crash)
        patch.setattr(server, "recovers", False)
        phone.sync(wait=False)
        with pytest.raises(ProtocolError):
            run(Recovery.objects.get().pk)
        with pytest.raises(RecoveryFailed, match="its operator can see why"):
            phone.sync(wait=False)

    recover_again(Recovery.objects.get())
    phone.sync()
    phone.sync()

    assert age_of(dog) == 9
    assert [backup.state for backup in phone.backups()] == ["receipted"]
    assert Upload.objects.count() == 1


def test_the_documented_app_shows_a_reset_to_its_user(
    phone: Replica, dog: Dog, tmp_path: Path, server: RealServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page("docs/reference/sdk.md"), re.DOTALL)
        if "show_progress" in block
    ]
    app: dict[str, Any] = {}
    exec(example.partition("with Replica(")[0], app)
    phone.close()
    Dog.objects.create(shelter=dog.shelter, name="Gone")
    with Replica(tmp_path / "other.db", URL, "token", client=online(server)) as other:
        other.sync()
    options: dict[str, Any] = {"on_reset": app["show_progress"], "on_after": app["show_difference"]}
    with Replica(tmp_path / "other.db", URL, "token", client=online(server), **options) as other:
        Dog.objects.filter(name="Gone").delete()
        Reset.objects.force(Client.objects.all())
        app["sync"](other)

    told = capsys.readouterr().out.splitlines()
    assert told[:3] == list(app["WORDS"].values())[:3]
    assert any(line.startswith("Sending your work: ") for line in told)
    assert "Gone was deleted meanwhile." in told
    assert told[-1].startswith("Sent 0, received ")


def test_a_store_put_back_to_before_a_reset_goes_on(server: RealServer, dog: Dog, tmp_path: Path) -> None:
    path = tmp_path / "field.db"
    with Replica(path, URL, "token", client=online(server)) as replica:
        replica.sync()
    older = path.read_bytes()
    with Replica(path, URL, "token", client=online(server)) as replica:
        Dog.objects.filter(pk=dog.pk).update(name="Luna")
        Reset.objects.force(Client.objects.all())
        replica.sync()
    path.write_bytes(older)

    with Replica(path, URL, "token", client=online(server)) as replica:
        replica.update("shelters.dog", dog.pk, age=9)
        report = replica.sync()

        assert report.pending == 0
    assert age_of(dog) == 9


@pytest.mark.parametrize("passed_before", ["pull", "resets/"])
def test_a_device_that_comes_back_after_the_deadline_is_recovered(
    server: RealServer, phone: Replica, dog: Dog, passed_before: str
) -> None:
    """It was cut off before its bootstrap, or between that and the upload."""

    def cut_off(request: Request) -> Response:
        named = Reset.objects.exists() and phone.reset_state() is not None
        if named and (request.path == passed_before or passed_before in request.path):
            raise ServerUnavailable("out of reach")
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(phone, cut_off)
    Reset.objects.update(deadline=1)

    for _ in range(3):
        phone.sync()

    assert age_of(dog) == 9
    assert [backup.state for backup in phone.backups()] == ["receipted"]
    assert phone.reset_state() is None


def test_a_salvaged_store_goes_on_as_a_client_of_its_own(
    server: RealServer, dog: Dog, tmp_path: Path
) -> None:
    path = tmp_path / "field.db"
    with Replica(path, URL, "token", client=online(server)) as replica:
        replica.sync()
        for age in (6, 7, 8):
            replica.update("shelters.dog", dog.pk, age=age)
            replica.sync()
        replica.update("shelters.dog", dog.pk, age=9)
        (page,) = replica.connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = '_syncreset_staging'"
        ).fetchone()
        before = replica.client_id
    with path.open("rb+") as content:
        content.seek((page - 1) * 4096)
        content.write(b"\xff" * 4096)

    with Replica(path, URL, "token", client=online(server), salvage=True) as replica:
        replica.sync()

        assert age_of(dog) == 9
        assert (replica.pending(), replica.unresolved()) == (0, [])
        assert replica.client_id != before
        assert str(Client.objects.get(pk=replica.client_id).copy_of_id) == before
        assert [(backup.state, backup.damaged) for backup in replica.backups()] == [("salvaged", ())]
