"""The upload of a snapshot: checksums of its pieces, damage on the way, and answers that get lost."""

import base64
import hashlib
from dataclasses import replace

import pytest

from syncreset.sdk import ProtocolViolation, RecoveryFailed, Replica, Request, Response, ServerUnavailable
from tests.support.farm import assert_the_work_arrived, work_offline
from tests.support.fleet import Fleet, sync
from tests.support.simulated_server import SimulatedServer, refusal


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncreset.sdk.reset.upload.CHUNK", 200)


@pytest.fixture
def at_work(server: SimulatedServer, replica: Replica) -> Replica:
    """A replica with unsent work and a reset that it has yet to hear of."""
    work_offline(replica)
    server.force_reset(replica.client_id)
    return replica


def pieces(server: SimulatedServer) -> list[Request]:
    return [request for request in server.requests if request.method == "PATCH"]


@pytest.mark.parametrize(
    ("offered", "algorithm"), [("sha1,sha256", "sha256"), ("md5, sha1", "sha1"), ("crc32", None), ("", None)]
)
def test_pieces_carry_the_best_checksum_that_the_server_offers(
    server: SimulatedServer, fleet: Fleet, at_work: Replica, offered: str, algorithm: str | None
) -> None:
    server.checksums = offered

    fleet.sync(at_work)

    sent = pieces(server)
    assert len(sent) > 1
    for piece in sent:
        if algorithm is None:
            assert "upload-checksum" not in piece.headers
        else:
            digest = base64.b64encode(hashlib.new(algorithm, piece.body).digest()).decode()
            assert piece.headers["upload-checksum"] == f"{algorithm} {digest}"
    assert_the_work_arrived(server)


def test_a_piece_damaged_on_its_way_is_sent_again(server: SimulatedServer, at_work: Replica) -> None:
    damages = iter([True, True])

    def answer(request: Request) -> Response:
        if request.method == "PATCH" and next(damages, False):
            damaged = bytes([request.body[0] ^ 1]) + request.body[1:]
            response = server.answer(
                Request(method="PATCH", path=request.path, headers=request.headers, body=damaged)
            )
            assert response.status == 460
            return response
        return server.answer(request)

    sync(at_work, answer)

    assert_the_work_arrived(server)
    assert len(server.state.uploads) == 1


def test_pieces_that_are_always_damaged_end_the_sync_and_not_the_upload(
    server: SimulatedServer, fleet: Fleet, at_work: Replica
) -> None:
    def damaging(request: Request) -> Response:
        if request.method == "PATCH":
            server.requests.append(request)
            return refusal(460, "checksum_mismatch")
        return server.answer(request)

    with pytest.raises(ServerUnavailable, match="interrupted again and again"):
        sync(at_work, damaging)
    assert len(pieces(server)) == 5

    fleet.sync(at_work)

    assert_the_work_arrived(server)
    assert len(server.state.uploads) == 1


def test_an_upload_that_is_whole_without_a_recovery_is_not_sent_again(
    server: SimulatedServer, fleet: Fleet, at_work: Replica
) -> None:
    def crashing(request: Request) -> Response:
        if request.method == "PATCH":
            (upload,) = server.state.uploads.values()
            upload.data += request.body
            server.requests.append(request)
            status = 500 if len(upload.data) == upload.length else 204
            return Response(status=status, headers={"upload-offset": str(len(upload.data))})
        return server.answer(request)

    with pytest.raises(ServerUnavailable):
        sync(at_work, crashing)
    sent = len(pieces(server))
    fleet.sync(at_work)

    assert [len(piece.body) for piece in pieces(server)[sent:]] == [0]
    assert_the_work_arrived(server)


def test_a_server_that_makes_no_recovery_of_a_whole_upload_is_told_apart(
    server: SimulatedServer, at_work: Replica
) -> None:
    def idle(request: Request) -> Response:
        response = server.answer(request)
        for reset in server.state.resets.values():
            reset.recovery = None
        headers = {name: value for name, value in response.headers.items() if name != "syncreset-recovery"}
        return replace(response, headers=headers)

    for _ in range(2):
        with pytest.raises(ProtocolViolation, match="makes no recovery"):
            sync(at_work, idle)

    assert len(server.state.uploads) == 1


def test_another_users_snapshot_is_refused_once_and_for_all(
    server: SimulatedServer, at_work: Replica
) -> None:
    def answer(request: Request) -> Response:
        response = server.answer(request)
        if "syncreset-recovery" in response.headers:
            return refusal(403, "client_forbidden", detail="not yours")
        return response

    with pytest.raises(RecoveryFailed, match="not yours"):
        sync(at_work, answer)

    assert [backup.state for backup in at_work.backups()] == ["kept"]
