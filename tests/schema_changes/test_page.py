"""The page about schema changes: its blocks are Python, its functions do what their docstrings say."""

import ast

from syncreset.recovery.upcast.register import upcasters
from tests.support.pages import blocks, page

PAGE = "docs/how-to/schema-change.md"


def test_every_block_of_python_can_be_read() -> None:
    read = [ast.parse(block.text) for block in blocks(page(PAGE)) if block.language == "python"]

    assert len(read) == 3


def test_the_functions_shown_are_registered_and_convert() -> None:
    (shown,) = (block for block in blocks(page(PAGE)) if block.path == "shelters/upcasters.py")
    exec(compile(shown.text, PAGE, "exec"), {})

    functions = {(entry.model, entry.field, entry.source): entry.function for entry in upcasters()}
    assert functions.keys() == {
        ("shelters.dog", "weight", None),
        ("shelters.dog", "first_name", "name"),
    }
    assert functions["shelters.dog", "weight", None](20, {}) == "20 kg"
    assert functions["shelters.dog", "first_name", "name"]("Rex of Oslo", {}) == "Rex"
