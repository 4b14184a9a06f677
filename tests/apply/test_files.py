"""Files in snapshots: no client can bring one, so what it says of one is never written, and never dropped silently."""

from typing import Any

import pytest

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, made_here, recover, row_line
from tests.zoo.models import Specimen

pytestmark = pytest.mark.django_db(transaction=True)

SPECIMEN = "zoo.specimen"
FILE = {"name": "specimens/x.txt", "size": 1, "sha256": "0" * 64, "url": "/x.txt"}


def told() -> list[tuple[str, str, list[str]]]:
    return [(item.state, item.code, sorted(item.change["fields"])) for item in Item.objects.order_by("part")]


@pytest.fixture
def specimen() -> Specimen:
    return Specimen.objects.create(label="kept")


def reset_of(device: Any, **kwargs: Any) -> str:
    (reset,) = Reset.objects.force([Client.objects.get(pk=device.client)], **kwargs)
    return str(reset.pk)


def test_a_file_that_the_device_changed_is_refused_beside_the_rest(
    device: DeviceFactory, specimen: Specimen
) -> None:
    phone = device()
    phone.pull()
    line = edited(phone.rows[SPECIMEN, str(specimen.pk)], file=FILE, label="edited")

    recover(phone, reset_of(phone), [line])

    assert told() == [("applied", "", ["label"]), ("rejected", "forbidden_field", ["file"])]
    specimen.refresh_from_db()
    assert (specimen.label, bool(specimen.file)) == ("edited", False)
    assert Item.objects.get(state="rejected").change["fields"]["file"] == FILE


def test_a_file_of_a_row_made_on_the_device_is_refused_beside_the_row(
    device: DeviceFactory, specimen: Specimen
) -> None:
    phone = device()
    phone.pull()
    fields = {**phone.rows[SPECIMEN, str(specimen.pk)]["fields"], "file": FILE, "label": "new"}
    key = "0190a5b4-0000-7000-8000-000000000001"

    recover(phone, reset_of(phone), [made_here(SPECIMEN, key, fields)])

    assert [state for state, _, _ in told()] == ["applied", "rejected"]
    assert told()[1] == ("rejected", "forbidden_field", ["file"])
    assert not Specimen.objects.get(pk=key).file


def test_a_file_that_a_restored_server_lacks_waits_for_the_operator(
    device: DeviceFactory, specimen: Specimen
) -> None:
    phone = device()
    phone.pull()
    line = row_line(phone.rows[SPECIMEN, str(specimen.pk)], {}, file=FILE, label="acknowledged")

    recover(phone, reset_of(phone, full=True), [line])

    assert told() == [("parked", "forbidden_field", ["file"]), ("applied", "", ["label"])]
    specimen.refresh_from_db()
    assert (specimen.label, bool(specimen.file)) == ("acknowledged", False)
