"""The quick start and the tutorial, carried out block by block in a scratch project."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.scratch import ScratchProject, shown
from tests.support.pages import blocks, page, section

pytestmark = pytest.mark.acceptance


@pytest.fixture
def scratch(tmp_path: Path, redis_url: str) -> Iterator[ScratchProject]:
    with ExitStack() as stack:
        yield ScratchProject(tmp_path, stack, redis_url)


def test_the_quick_start_syncs_a_dog(scratch: ScratchProject) -> None:
    scratch.run("django-admin startproject project . && python manage.py startapp dogs")
    written: dict[str, str] = {}
    commands: list[str] = []
    for block in blocks(section(page("README.md"), "## Quick start")):
        if block.path is None:
            commands += re.findall(r"^\$ (.*)$", block.text, re.MULTILINE)
        else:
            written[block.path] = block.text
            if block.path != "device.py":
                scratch.carry_out(block)

    outputs = {}
    for command in commands:
        if not command.startswith("pip install"):
            unattended = f"{command} --noinput --email ''" if "createsuperuser" in command else command
            outputs[command] = scratch.run(_on_port(unattended, scratch.port))
    token = next(output.split()[2] for command, output in outputs.items() if "drf_create_token" in command)
    (scratch.directory / "device.py").write_text(
        f"token = {token!r}\n" + written["device.py"].replace(":8000", f":{scratch.port}")
    )
    report = scratch.run("python device.py")

    assert "results={'applied': 1}, pending=0" in report
    dogs = (
        "from dogs.models import Dog; print(Dog.objects.values_list('name', 'age', 'owner__username').get())"
    )
    assert "('Rex', 4, 'ada')" in scratch.run(f'python manage.py shell -c "{dogs}"')
    assert "no issues" in scratch.run("python manage.py check --database default")


def _on_port(command: str, port: int) -> str:
    return f"{command} 127.0.0.1:{port}" if command.endswith("runserver") else command


def test_the_quick_start_has_less_than_thirty_lines_of_code() -> None:
    lines = [
        line
        for block in blocks(section(page("README.md"), "## Quick start"))
        if block.language == "python"
        for line in block.text.splitlines()
        if line.strip()
    ]

    assert 20 < len(lines) < 30


def test_the_tutorial_does_what_it_shows(scratch: ScratchProject) -> None:
    for block in blocks(page("docs/tutorial.md")):
        scratch.carry_out(block)

    assert sorted(path.name.partition(".db")[0] for path in scratch.directory.glob("*.db")) == ["ada"]


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("", "anything", True),
        ("a … c", "a b c\n", True),
        ("a … c", "a b d", False),
        ("a", "a b", False),
    ],
)
def test_what_a_page_shows_is_compared_with_the_output(expected: str, output: str, same: bool) -> None:
    assert shown(expected, output) is same
