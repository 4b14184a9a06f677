"""An upload that is terminated while one of its pieces is still coming in."""

import pytest
from django.core.files.base import ContentFile

from syncreset.clients.resets import Reset
from syncreset.recovery.uploads import Upload, UploadGone, create_upload, receive, storage, terminate
from tests.shelters.models import Shelter
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced

pytestmark = pytest.mark.django_db(transaction=True)


class TerminatedWhileRead(ContentFile):  # type: ignore[type-arg]
    """The bytes of a piece; reading them takes so long that the upload is terminated by another request."""

    def read(self, size: int = -1) -> bytes:
        for upload in Upload.objects.all():
            terminate(upload)
        return bytes(super().read(size))


def test_the_piece_is_refused_and_leaves_no_file(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    reset = Reset.objects.get(pk=forced(phone))
    upload = create_upload(reset, length=4, metadata={"sha256": "0" * 64})

    with pytest.raises(UploadGone):
        receive(upload, TerminatedWhileRead(b"data"), offset=0)

    assert not Upload.objects.exists()
    assert not storage().exists(f"syncreset/{upload.pk}/{0:020d}")
