"""A scratch project in which the documentation's blocks are carried out as a reader would."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from demo_project import services
from tests.support.pages import ROOT, Block

__all__ = ["ScratchProject", "shown"]

#: What a reader does once in a new environment, and what this environment has been through.
_SET_UP = ("python3 -m venv", ". .venv", "pip install", "mkdir", "cd ")
#: Files that ``startproject`` has made and a page adds to.
_ADDED_TO = ("settings.py", "urls.py")
#: The tests' own settings are not the scratch project's.
_UNSET = "unset DJANGO_SETTINGS_MODULE PYTHONWARNINGS PYTHONDEVMODE; "


class ScratchProject:
    """A directory in which blocks become files and commands run, servers among them until the stack closes.

    The pages' port and broker are replaced by those of the test.
    """

    def __init__(self, directory: Path, stack: ExitStack, redis_url: str) -> None:
        self.directory = directory
        self.port = services.free_port()
        self._stack = stack
        self._redis_url = redis_url
        self._python = Path(sys.executable).parent

    def carry_out(self, block: Block) -> None:
        """Write the block's file, or run its commands and compare what they print with what the page shows."""
        if block.path is not None:
            self._write(block.path, self._localised(block.text))
        elif block.language == "console":
            for command, expected in commands(block.text):
                if command.startswith(_SET_UP):
                    continue
                output = self.run(self._localised(command))
                assert shown(expected, output), f"$ {command}\n{output}\ninstead of\n{expected}"

    def run(self, command: str) -> str:
        """What a shell command prints; of a server nothing: it answers, and goes on running."""
        if "runserver" in command:
            self._start("http", f"exec {command} --noreload", ready=lambda _: _listens(self.port))
            return ""
        if "celery" in command:
            self._start("worker", command, ready=lambda log: " ready." in log)
            return ""
        done = subprocess.run(
            ["bash", "-c", _UNSET + command],
            cwd=self.directory,
            env=self._environment(),
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, name: str, command: str, *, ready: Callable[[str], bool]) -> None:
        service = self._stack.enter_context(
            services.running(
                name,
                ["bash", "-c", _UNSET + command],
                log=self.directory / f"{name}.log",
                env=self._environment(),
                cwd=self.directory,
            )
        )
        service.wait_until(lambda: ready(service.log_text()))

    def _write(self, path: str, text: str) -> None:
        target = self.directory / path
        if target.name in _ADDED_TO:
            text = target.read_text() + "\n" + text
        target.write_text(text)

    def _localised(self, text: str) -> str:
        text = text.replace("redis://127.0.0.1:6379/0", self._redis_url)
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        return re.sub(r"runserver$", f"runserver 127.0.0.1:{self.port}", text)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self._python}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DJANGO_SUPERUSER_PASSWORD": "woof",
        }


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("    # ")[0].strip(), ""))
        elif found:
            command, output = found[-1]
            found[-1] = (command, output + line + "\n")
    return found


def shown(expected: str, output: str) -> bool:
    """Whether the output is what a page shows; ``…`` stands for anything. A page that shows nothing leaves it open."""
    if not expected.strip():
        return True
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((services.HOST, port)) == 0
