"""Deletions that a snapshot tells by absence: only of what the client is known to have held as it is."""

import gzip
import json
import time
from dataclasses import replace

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.snapshot.lines import Line
from syncreset.recovery.run import run
from syncreset.tracking import registry
from syncreset.tracking.registry import options_for
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rex(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


def lines_of(device: Device, *, without: str = "") -> list[Line]:
    return [row_line(row, {}) for (_, pk), row in device.rows.items() if pk != without]


def pulled_later(device: Device, shelter: Shelter) -> None:
    """Pull to a checkpoint that is certainly later than what was done before."""
    time.sleep(0.01)
    Dog.objects.create(shelter=shelter, name="Another")
    device.pull()


@pytest.mark.parametrize("strategy", ["by_object", "by_field"])
def test_a_row_made_early_and_pushed_late_was_never_held(
    device: DeviceFactory, shelter: Shelter, rex: Dog, strategy: str
) -> None:
    phone, tablet = device(shelter), device(shelter)
    tablet.pull()
    made = tablet.create(DOG, dog_fields(shelter, name="Late"))
    pulled_later(phone, shelter)
    tablet.push(made)

    recover(phone, forced(phone), lines_of(phone), strategy=strategy)

    assert Dog.objects.filter(pk=made["pk"]).exists()


def test_an_edit_made_early_and_pushed_late_keeps_its_row(
    device: DeviceFactory, shelter: Shelter, rex: Dog
) -> None:
    phone, tablet = device(shelter), device(shelter)
    tablet.pull()
    edit = tablet.put(DOG, str(rex.pk), {"age": 7})
    pulled_later(phone, shelter)
    tablet.push(edit)

    recover(phone, forced(phone), lines_of(phone, without=str(rex.pk)), strategy="by_object")

    assert Dog.objects.get(pk=rex.pk).age == 7
    item = Item.objects.get(pk_text=str(rex.pk))
    assert (item.op, item.state, item.code) == ("delete", "superseded", "changed_since")


def test_a_row_moved_into_the_scope_was_not_held_whatever_the_policy(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, rex: Dog, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Dog.objects.create(shelter=other_shelter, name="Moved")
    phone = device(shelter)
    phone.pull()
    Dog.objects.filter(pk=moved.pk).update(shelter=shelter)
    monkeypatch.setattr(
        registry, "options_for", lambda model: replace(options_for(model), on_delete="delete")
    )

    recover(phone, forced(phone), lines_of(phone), strategy="by_object")

    assert Dog.objects.filter(pk=moved.pk).exists()


def test_beside_a_line_that_cannot_be_read_absence_says_nothing(
    device: DeviceFactory, shelter: Shelter, rex: Dog
) -> None:
    phone = device(shelter)
    phone.pull()
    reset = forced(phone)
    lines = gzip.decompress(phone.snapshot(reset, lines_of(phone), strategy="by_object")).splitlines()
    documents = [json.loads(line) for line in lines]
    for document in documents:
        if document.get("row", [""])[0] == DOG:
            document["row"][3] = "no time"
    content = b"\n".join(json.dumps(document).encode() for document in documents) + b"\n"

    run(phone.upload(reset, gzip.compress(content)))

    assert Dog.objects.filter(pk=rex.pk).exists()
    assert [item.code for item in Item.objects.all()] == ["malformed_line"]
