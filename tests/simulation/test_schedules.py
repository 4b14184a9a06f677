"""Schedules drawn at random, by seed: whatever happens, nothing is lost silently and nothing is counted twice.

``SYNCRESET_SCHEDULES`` says how many are run, ``SYNCRESET_SEED`` from which seed on, ``SYNCRESET_STEPS`` how long each
is. A seed is one schedule for good. One that fails is run again with ever fewer steps, and told as a story.
"""

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User

from syncreset.recovery.merge import snapshot
from tests.simulation.actions import ACTIONS, WEIGHTS
from tests.simulation.checks import settle, violations
from tests.simulation.fixed import Fixed
from tests.simulation.releases import Releases
from tests.simulation.schedule import Step, draw, shrunk
from tests.simulation.world import World
from tests.support.fleet import Reaper
from tests.support.restoring import copy_database

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = int(os.environ.get("SYNCRESET_SEED", "1"))
SCHEDULES = int(os.environ.get("SYNCRESET_SCHEDULES", "8"))
STEPS = int(os.environ.get("SYNCRESET_STEPS", "40"))
SHRINK = os.environ.get("SYNCRESET_SHRINK", "1") == "1"


class Runner:
    """Runs schedules, each in a world of its own that begins the same way."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch, seed: int) -> None:
        self.directory, self.patch, self.seed = directory, patch, seed
        self.runs = 0
        self.fixed, self.reaper, self.releases = Fixed(patch), Reaper(patch), Releases(patch)
        self.users = {name: _user(name) for name in ("ann", "bob")}
        self.users["root"] = User.objects.create_superuser("root")
        self.blank = copy_database()

    def run(self, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
        """The violations of a schedule, and its story."""
        self.blank()
        self.runs += 1
        self.fixed.begin(self.seed)
        home = self.directory / str(self.runs)
        home.mkdir()
        self.releases.deploy(1)
        world = World(self.users, home, self.fixed, self.reaper, self.releases)
        self.patch.setattr(snapshot, "hold", world.network.holding)
        try:
            for step in steps:
                world.play(step, ACTIONS)
            world.dice.seed(self.seed)
            settle(world)
            return violations(world), world.story
        except Exception:  # noqa: BLE001
            return traceback.format_exc().splitlines(), world.story
        finally:
            world.close()


def _user(name: str) -> User:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="house"))
    return user


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SCHEDULES))
def test_nothing_is_lost_silently_and_nothing_counts_twice(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(tmp_path, monkeypatch, seed)
    steps = draw(seed, STEPS, {name: WEIGHTS[action] for name, action in ACTIONS.items()})
    found, story = runner.run(steps)
    if found and SHRINK:
        steps = shrunk(steps, lambda fewer: bool(runner.run(fewer)[0]))
        found, story = runner.run(steps)

    assert not found, "\n".join([f"seed {seed}, {len(steps)} steps", *map(repr, steps), *story, *found])
