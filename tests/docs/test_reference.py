"""The reference pages against the code: everything public is on its page, under the name that the code has."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.dispatch import Signal

from syncreset import conf, sdk, signals
from syncreset.apply import refusals
from syncreset.clients.resets import ResetReason
from syncreset.ledger.item import ItemState
from syncreset.rules.strategies import STRATEGIES
from syncreset.tracking.options import POLICIES, SyncOptions
from tests.support.pages import ROOT, code_spans, page, pages

CODE = sorted((ROOT / "syncreset").rglob("*.py"))

#: Where the code names the code of a problem, of a change or of a request.
_CODES = re.compile(
    r"""(?:\bcode\s*=\s*|Problem\(\s*|ValueFault\(\s*|_rejected\(\s*|_stopped\(\s*change,\s*|_problem\(\d+,\s*)"""
    r'"([a-z_]+)"'
)


def missing(names: Iterable[str], *documents: str) -> list[str]:
    """Which names have no code span of their own on the pages."""
    spans = {span for document in documents for span in code_spans(page(document))}
    words = spans | {word for span in spans for word in re.split(r"[(,]", span)[:1]}
    return sorted(set(names) - words)


def source(folder: str = "") -> Iterator[str]:
    for path in CODE:
        if path.is_relative_to(ROOT / "syncreset" / folder):
            yield path.read_text(encoding="utf-8")


def test_every_setting_is_documented() -> None:
    assert missing(conf.DEFAULTS, "docs/reference/settings.md") == []


@pytest.mark.parametrize("name", conf.DEFAULTS)
def test_the_defaults_of_settings_are_the_codes(name: str) -> None:
    """The second column begins with the default as Python writes it."""
    (row,) = re.findall(rf"^\| `{name}` \| `(.*?)`", page("docs/reference/settings.md"), re.MULTILINE)

    assert row.replace('"', "'") == repr(conf.DEFAULTS[name]).replace('"', "'")


def test_no_page_shows_a_setting_that_there_is_not() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", page("docs/reference/settings.md"), re.MULTILINE)

    assert sorted(documented) == sorted(conf.DEFAULTS)


def test_every_check_is_documented_and_no_other() -> None:
    ids = {found for text in source() for found in re.findall(r'id="(syncreset\.[EW]\d{3})"', text)}
    documented = re.findall(
        r"^\| `(syncreset\.[EW]\d{3})` \|", page("docs/reference/checks.md"), re.MULTILINE
    )

    assert len(ids) > 10
    assert sorted(documented) == sorted(ids)


def test_every_option_of_sync_meta_and_every_policy_is_documented() -> None:
    options = SyncOptions.__dataclass_fields__

    assert missing([*options, *POLICIES], "docs/reference/sync_meta.md") == []


def test_the_defaults_of_sync_meta_are_the_codes() -> None:
    text = page("docs/reference/sync_meta.md")
    for name in SyncOptions.__dataclass_fields__:
        (row,) = re.findall(rf"^\| `{name}` \| `(.*?)` \|", text, re.MULTILINE)
        assert row.replace('"', "'") == repr(getattr(SyncOptions(), name)), name


def test_every_signal_is_documented() -> None:
    names = [name for name in signals.__all__ if isinstance(getattr(signals, name), Signal)]

    assert len(names) == len(signals.__all__)
    assert missing(names, "docs/reference/signals.md") == []


def test_every_public_name_of_the_sdk_is_documented() -> None:
    assert missing(sdk.__all__, "docs/reference/sdk.md") == []


@pytest.mark.parametrize("name", ["Replica", "BackupView"])
def test_every_public_member_of_the_sdks_classes_is_documented(name: str) -> None:
    members = [member for member in dir(getattr(sdk, name)) if not member.startswith("_")]

    assert missing(members, "docs/reference/sdk.md") == []


@pytest.mark.parametrize(
    "name",
    ["SyncReport", "ResetOutcome", "ResetEvent", "Backup", "LedgerItem", "Unresolved", "PendingChange"],
)
def test_every_member_of_the_sdks_data_is_documented(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", page("docs/reference/sdk.md"), re.MULTILINE)

    assert set(getattr(sdk, name).__dataclass_fields__) <= set(re.findall(r"`(\w+)`", row))


def test_every_state_and_every_mode_is_in_the_glossary() -> None:
    text = page("docs/reference/glossary.md")
    words = {word for row in re.findall(r"^\| (.*?) \|", text, re.MULTILINE) for word in row.split(", ")}

    assert set(ItemState.values) <= words
    assert {*conf.DEFAULTS["MODES"], *POLICIES} <= code_spans(text)


def test_every_strategy_and_every_reset_reason_is_in_the_protocol() -> None:
    text = page("docs/reference/protocol.md")

    assert set(STRATEGIES) <= set(re.findall(r"^\| `(by_\w+|overwrite)` \|", text, re.MULTILINE))
    assert set(ResetReason.values) <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_every_code_of_a_problem_is_in_the_protocol() -> None:
    server = {code for text in source() for code in _CODES.findall(text)} | refusals._DETAILS.keys()
    own_to_the_device = {"receipt_mismatch", "removed"}
    inside_recoveries = {"crashed", "ledger_mismatch"}

    assert {"unique", "invalid_text", "client_reset", "client_copied"} <= server
    assert missing(server - own_to_the_device - inside_recoveries, "docs/reference/protocol.md") == []


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_a_page_lead_to_a_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
        if not target.startswith(("http:", "https:")):
            linked = path if not target else path.parent / target
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, f"{path.name} links to {target}#{anchor}"


def test_pages_are_reached_from_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w/.-]+\.md)\)", page("docs/index.md")))
    found = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}

    assert found - {"index.md"} <= linked
