"""Schedules drawn at random, by seed: whatever happens, nothing is lost silently and nothing is counted twice.

``SYNCRESET_SCHEDULES`` says how many are run, ``SYNCRESET_SEED`` from which seed on. A seed is one schedule for good.
"""

import os
import random
from pathlib import Path

import pytest

from tests.simulation.world import World
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = int(os.environ.get("SYNCRESET_SEED", "1"))
SCHEDULES = int(os.environ.get("SYNCRESET_SCHEDULES", "8"))
STEPS = 30


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SCHEDULES))
def test_nothing_is_lost_silently_and_nothing_counts_twice(
    seed: int, user_factory: UserFactory, tmp_path: Path
) -> None:
    world = World(user_factory(), tmp_path, random.Random(seed))
    try:
        for _ in range(STEPS):
            world.step()
        world.settle()

        violations = world.violations()
    finally:
        world.close()

    assert not violations, "\n".join([f"seed {seed}", *world.story, *violations])
