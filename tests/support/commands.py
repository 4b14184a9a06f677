"""Runs subcommands as an operator does, and reads what they print."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from syncreset.clients.client import Client
from syncreset.protocol.clock import now
from tests.support.device import Device

DAY = 24 * 60 * 60 * 1_000_000


def command(*arguments: str) -> str:
    """What a subcommand prints."""
    out = io.StringIO()
    call_command("syncreset", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def data_of(*arguments: str) -> Any:
    """What a subcommand prints with ``--json``: one object."""
    return json.loads(command(*arguments, "--json"))


def fails(*arguments: str) -> tuple[str, str]:
    """What a subcommand that must fail printed before, and its error."""
    out = io.StringIO()
    with pytest.raises(CommandError) as failure:
        call_command("syncreset", *arguments, stdout=out, stderr=io.StringIO())
    assert failure.value.returncode == 1
    return out.getvalue(), str(failure.value)


def client_of(device: Device, **told: Any) -> Client:
    """The device's client, after it was written that it told something else."""
    Client.objects.filter(pk=device.client).update(**told)
    return Client.objects.get(pk=device.client)


def days_ago(days: float) -> int:
    return now() - int(days * DAY)
