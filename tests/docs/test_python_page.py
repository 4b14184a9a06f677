"""The page of Python names: it has the public names and no other, and no page imports from elsewhere."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, page, pages, section

PAGE = "docs/reference/python.md"
MODULES = (
    "syncreset",
    "syncreset.models",
    "syncreset.admin",
    "syncreset.signals",
    "syncreset.sdk",
    "syncreset.protocol",
    "syncreset.api.cors",
)
#: Named by a project's settings, URLs and migrations, and imported by none of its code.
NAMED = ("syncreset.api.urls",)


def exported(module: str) -> set[str]:
    return set(import_module(module).__all__)


@pytest.mark.parametrize("module", MODULES)
def test_the_page_has_the_public_names_and_no_other(module: str) -> None:
    text = section(page(PAGE), f"## `{module}`")
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows) if rows else text))

    assert named == exported(module)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_there(module: str) -> None:
    found = import_module(module)

    assert [name for name in exported(module) if not hasattr(found, name)] == []


def test_no_other_module_says_what_is_public() -> None:
    saying = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "syncreset").rglob("*.py")
        if re.search(r"^__all__ =", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert saying == set(MODULES)


def imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_imports_from_a_module_that_is_not_public(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = [name for block in blocks(text) if block.language == "python" for name in imports(block.text)]

    assert [name for name in used if name.startswith("syncreset") and name not in MODULES] == []


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_names_a_module_that_is_not_public(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    dotted = set(re.findall(r"\bsyncreset(?:\.[a-z_]+)+\b", text))
    hidden = {name for name in dotted if _is_module(name) and name not in (*MODULES, *NAMED)}

    assert hidden == set()


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()
