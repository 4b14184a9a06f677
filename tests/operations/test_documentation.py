"""The page of the commands is held to the commands: every subcommand, option, member of JSON and fault is on it."""

import argparse
import json
import re
from typing import Any

import pytest

from syncreset.management.commands.syncreset import Command
from syncreset.management.subcommands import SUBCOMMANDS
from syncreset.operations.audit import FAULTS
from syncreset.operations.states import CLIENT_STATES
from syncreset.protocol.clock import now
from syncreset.recovery.job import RecoveryState
from tests.shelters.models import Dog, Shelter
from tests.support.commands import command, data_of, fails
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.pages import blocks, code_spans, headings, page, section
from tests.support.snapshots import forced, made_here, recover

PAGE = "docs/reference/commands.md"
#: What Django gives every command; it is not ours to document.
OF_DJANGO = {"-h", "--help"}
#: What the page says of all subcommands at its beginning.
OF_ALL = {"--json"}


def parsers() -> dict[str, argparse.ArgumentParser]:
    parser = Command().create_parser("manage.py", "syncreset")
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


def part(name: str) -> str:
    return section(page(PAGE), f"## `{name}`")


def documented(name: str) -> Any:
    (example,) = (block for block in blocks(part(name)) if block.language == "json")
    return json.loads(example.text)


def test_every_subcommand_has_its_section_and_every_section_its_subcommand() -> None:
    assert list(parsers()) == list(SUBCOMMANDS)
    assert headings(page(PAGE)) == ["Commands", *(f"`{name}`" for name in SUBCOMMANDS)]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_prints_json_on_request(name: str) -> None:
    assert all(parsers()[name]._option_string_actions[option].nargs == 0 for option in OF_ALL)
    assert documented(name).keys()


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_option_is_documented_with_its_value(name: str) -> None:
    known = OF_DJANGO | OF_ALL
    actions = [action for action in parsers()[name]._actions if not known & set(action.option_strings)]
    listed = [
        " ".join(found).strip()
        for found in re.findall(r"^- `(--[\w-]+|[A-Z_]{3,})`(?: ([A-Z]+))?: ", part(name), re.MULTILINE)
    ]

    expected = []
    for action in actions:
        option = action.option_strings[-1] if action.option_strings else ""
        metavar = "" if action.nargs == 0 else str(action.metavar)
        expected.append(f"{option} {metavar}".strip())
        assert action.help, option

    assert sorted(listed) == sorted(expected)


def test_every_fault_state_and_setting_is_named() -> None:
    assert {f"`{fault}`" for fault in FAULTS} <= set(re.findall(r"^\| (`\w+`)", part("audit"), re.MULTILINE))
    assert set(documented("status")["clients"]["states"]) == set(CLIENT_STATES)
    assert set(documented("status")["recoveries"]["states"]) == set(RecoveryState.values)
    assert {"RETENTION", "UPLOAD_EXPIRY", "SNAPSHOT_RETENTION", "syncreset.purge"} <= code_spans(
        part("purge")
    )


@pytest.mark.django_db(transaction=True)
def test_the_json_shown_has_the_members_that_there_are(device: DeviceFactory, shelter: Shelter) -> None:
    Dog.objects.create(shelter=shelter, name="Old", chip="1")
    phone = device(shelter)
    phone.pull(pending=2)
    clash = made_here(DOG, f"0190a5b4-0000-7000-8000-{1:012}", dog_fields(shelter, chip="1"))
    recovery = recover(phone, forced(phone), [clash])
    assert recovery.created < now()
    told = {
        "status": data_of("status"),
        "reset": data_of("reset", "--all", "--dry-run") | {"waves": documented("reset")["waves"]},
        "recover": data_of("recover", str(recovery.pk), "--wait"),
        "items": data_of("items", "--limit", "1"),
        "purge": data_of("purge", "--dry-run"),
        "new_epoch": data_of("new_epoch", "--yes"),
    }

    for name, data in told.items():
        assert _members(data) == _members(documented(name)), name


@pytest.mark.django_db(transaction=True)
def test_every_subcommand_prints_text_too_and_refuses_what_it_does_not_know() -> None:
    for name in set(SUBCOMMANDS) - {"recover", "reset", "new_epoch"}:
        assert command(name).strip()
        assert "unrecognized arguments: --nothing" in fails(name, "--nothing")[1]


def _members(value: Any, path: str = "") -> set[str]:
    """The paths of all members, but for what names states, reasons, fields and whole rows, which differ by case."""
    if path in {".resets", ".problem", ".totals", ".items[].problem", ".items[].fields", ".items[].change"}:
        return {path}
    if path in {".items[].before", ".recoveries.attention[].totals", ".recoveries.attention[].problem"}:
        return {path}
    if isinstance(value, dict):
        return {path}.union(*(_members(member, f"{path}.{name}") for name, member in value.items()))
    if isinstance(value, list):
        return {path}.union(*(_members(member, f"{path}[]") for member in value[:1]))
    return {path}
