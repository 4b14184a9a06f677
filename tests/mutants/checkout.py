"""A copy of the checkout, in which a mistake is made and the tests are run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
#: What a copy needs: the product, what the tests import, and what they read.
_COPIED = ("syncreset", "tests", "demo_project", "tools", "docs", "pyproject.toml", "manage.py")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")


class PatchFailed(Exception):
    """A patch does not apply. The message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How pytest ended; ``status`` is None where it was not through in time."""

    status: int | None
    output: str


class Checkout:
    """A copy of the files of this checkout in a directory that does not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        for name in _COPIED:
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=_LEFT_OUT)
            else:
                shutil.copy2(source, directory / name)

    def apply(self, patch: Path) -> None:
        """Make a mistake. Raises PatchFailed, with nothing changed."""
        self._git_apply(patch)

    def take_back(self, patch: Path) -> None:
        """Have it unmade."""
        self._git_apply(patch, "--reverse")

    def _git_apply(self, patch: Path, *options: str) -> None:
        # Git finds no repository above a temporary directory, and must not: it would skip files that are not in it.
        command = ["git", "apply", "--whitespace=nowarn", *options, str(patch)]
        env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(self.directory.parent)}
        done = subprocess.run(
            command, cwd=self.directory, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PatchFailed(f"{patch.name} does not apply:\n{done.stderr}")

    def run(self, tests: Sequence[str], *, env: Mapping[str, str], seconds: float) -> Run:
        """Run tests on the copy's code, up to the first failure, for so many seconds at most."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            *tests,
        ]
        # The copy comes before the checkout that is installed: Python looks where it is started first.
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env={**os.environ, "SYNCRESET_TEST_DATABASE": "sqlite", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            output, _ = process.communicate()
            return Run(status=None, output=output)
        except BaseException:
            _kill_group(process.pid)
            raise
        return Run(status=process.returncode, output=output)

    def imports_its_own(self) -> bool:
        """Whether a program started in the copy runs the copy's code."""
        command = [sys.executable, "-c", "import syncreset; print(syncreset.__file__)"]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip()).is_relative_to(self.directory)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
