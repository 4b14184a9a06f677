"""A tus client that knows nothing of syncreset uploads a snapshot, and is interrupted."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from rest_framework.authtoken.models import Token
from tusclient.client import TusClient

from syncreset.clients.client import Client
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, made_here

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


def test_an_upload_in_pieces_goes_on_after_an_interruption(
    device: DeviceFactory, shelter: Shelter, live_server: Any, tmp_path: Path
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    lines = [
        made_here(DOG, f"0190a5b4-0000-7000-8000-{number:012d}", dog_fields(shelter, name=f"Dog {number}"))
        for number in range(200)
    ]
    snapshot = tmp_path / "snapshot.ndjson.gz"
    snapshot.write_bytes(phone.snapshot(reset, lines))
    token = Token.objects.get(user=Client.objects.get(pk=phone.client).user)
    tus = TusClient(
        f"{live_server.url}/sync/v1/resets/{reset}/snapshot", {"Authorization": f"Token {token.key}"}
    )
    metadata = {
        "sha256": hashlib.sha256(snapshot.read_bytes()).hexdigest(),
        "strategy": "by_base",
        "mode": "recover",
    }
    size = snapshot.stat().st_size

    with snapshot.open("rb") as stream:
        first = tus.uploader(
            file_stream=stream, chunk_size=size // 7, metadata=metadata, upload_checksum=True
        )
        first.upload(stop_at=size // 2)
    assert 0 < Upload.objects.get().offset < size
    with snapshot.open("rb") as stream:
        second = tus.uploader(file_stream=stream, chunk_size=size // 5, url=first.url, metadata=metadata)
        assert second.offset == Upload.objects.get().offset
        second.upload()

    recovery = Recovery.objects.get()
    last: Any = second.request
    assert last.response_headers["syncreset-recovery"] == str(recovery.pk)
    assert run(recovery.pk) == "done"
    assert Dog.objects.count() == 200
