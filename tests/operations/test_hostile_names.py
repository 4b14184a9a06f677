"""A terminal obeys some characters: whatever clients and users call themselves, commands print its escape."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from syncreset.clients.client import Client
from syncreset.recovery.job import Recovery
from tests.shelters.models import Shelter
from tests.support.commands import command, fails
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.hostile_values import KEYS, TEXTS
from tests.support.snapshots import forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

KEYED = "zoo.charkeyed"
STORED = [name for name in TEXTS if name not in ("nul", "surrogate")]


def harmless(printed: str) -> None:
    assert printed.replace("\n", "").isprintable(), printed.encode("ascii", "backslashreplace")


@pytest.mark.parametrize("name", STORED)
def test_commands_print_names_as_text(name: str, device: DeviceFactory, shelter: Shelter) -> None:
    text = TEXTS[name]
    phone = device(shelter)
    phone.pull()
    phone.push(*(phone.create(KEYED, {"note": "", "code": 1}, pk=key) for key in KEYS))
    phone.push(phone.create(DOG, dog_fields(shelter, **{text: text})))
    recovery = recover(phone, forced(phone), [made_here(DOG, text, dog_fields(shelter, name=text))])
    Client.objects.update(name=text[:200], platform=text[:200], pending=3)
    User.objects.filter(syncreset_clients__isnull=False).update(username=text[:150])
    Recovery.objects.update(state="failed", problem={"code": "crashed", "detail": text})

    for arguments in (
        ["status"],
        ["items", "--limit", "1000"],
        ["items", "--model", text],
        ["items", "--object", text],
        ["reset", "--all", "--dry-run"],
        ["audit"],
        ["recover", str(recovery.pk), "--preview", "--wait"],
    ):
        harmless(command(*arguments))
        json.loads(command(*arguments, "--json"))
    for arguments in (
        ["reset", "--user", f"{text}x"],
        ["recover", str(recovery.pk), "--strategy", f"{text}x"],
    ):
        _, error = fails(*arguments)
        harmless(error)


def test_a_failure_tells_its_detail_as_text(
    device: DeviceFactory, shelter: Shelter, monkeypatch: Any
) -> None:
    phone = device(shelter)
    phone.pull()
    recovery = recover(phone, forced(phone), [])

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError(TEXTS["terminal"])

    monkeypatch.setattr("syncreset.management.subcommands.recover.run_recovery", crash)
    _, error = fails("recover", str(recovery.pk), "--wait")

    assert "\\u001b[2J" in error
    harmless(error)
