"""Every block of every page: its Python can be read, its imports lead somewhere, its commands are understood."""

import argparse
import ast
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from syncreset.management.commands.syncreset import Command
from tests.docs.scratch import commands
from tests.support.pages import ROOT, Block, blocks, page, pages

PAGES = [path for path in pages() if list(blocks(path.read_text(encoding="utf-8")))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def shown(path: Path, language: str) -> Iterator[Block]:
    return (block for block in blocks(path.read_text(encoding="utf-8")) if block.language == language)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_python_of_a_page_can_be_read_and_imports_what_there_is(path: Path) -> None:
    for block in shown(path, "python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "syncreset":
                module = import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_commands_of_a_page_are_understood(path: Path) -> None:
    parser = Command().create_parser("manage.py", "syncreset")
    example = "0190a5b4-0000-7000-8000-000000000001"
    for block in shown(path, "console"):
        for command, _ in commands(block.text):
            _, found, arguments = command.partition("manage.py syncreset ")
            if found and "<" not in arguments:
                words = [example if word in ("RECOVERY_ID", "ID") else word for word in arguments.split()]
                assert isinstance(parser.parse_args(words), argparse.Namespace)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_json_of_a_page_is_json(path: Path) -> None:
    for block in shown(path, "json"):
        json.loads(block.text)


def test_the_policy_shown_keeps_the_longer_note() -> None:
    (block,) = (block for block in blocks(page("docs/explanation/merging.md")) if block.language == "python")
    namespace: dict[str, object] = {}
    exec(block.text, namespace)
    policy = namespace["longer_note"]
    assert callable(policy)

    class Conflict:
        client, server = "calm", "calm, but not with cats"

    assert policy(Conflict) == Conflict.server
