"""Plays rounds one after the other, and tells of each."""

import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from demo_project import services
from tests.celeryapp import app
from tests.kills.restores import scenarios
from tests.kills.rounds import kill_round
from tests.kills.stage import Stage, staged, template

Play = Callable[[Stage], list[str]]


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def play(base: Path, what: str, rounds: int, seed: int, only: str, seconds: float) -> int:
    """Play rounds, and return how many failed."""
    plays: list[tuple[str, Play]] = []
    for number in range(seed, seed + rounds):
        if what == "kill":
            plays.append((f"kill, seed {number}", partial(kill_round, seed=number, seconds=seconds)))
        else:
            plays += [
                (f"{name}, seed {number}", partial(scenario, seed=number))
                for name, scenario in scenarios().items()
                if only in name
            ]
    data = template(base / "template")
    failed, began = 0, time.monotonic()
    with services.embedded_redis(base / "redis") as redis:
        app.conf.update(broker_url=redis.url)
        for done, (name, scene) in enumerate(plays, start=1):
            bar = "#" * (20 * done // len(plays))
            started = time.monotonic()
            held, figures = _played(base, data, redis, name, scene)
            failed += not held
            _tell(f"[{bar:20}] {done}/{len(plays)} {name}: {time.monotonic() - started:.0f} s; {figures}")
    _tell(f"{len(plays)} rounds, {failed} failed, {time.monotonic() - began:.0f} s")
    return failed


def _played(base: Path, data: Path, redis: services.Service, name: str, scene: Play) -> tuple[bool, str]:
    """Whether all held, and figures."""
    with staged(base, data, redis) as stage:
        try:
            violations = scene(stage)
        except Exception:  # noqa: BLE001  # the story is told, and the other rounds are played
            violations = [traceback.format_exc()]
            for log in sorted(stage.directory.glob("*.log")):
                violations.append(f"-- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        if violations:
            _tell("\n".join([f"FAILED: {name}", *stage.story, *violations]))
        return not violations, stage.figures()
