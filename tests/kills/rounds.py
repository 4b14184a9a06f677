"""Rounds of kills: devices work while they and the server's processes are killed, and then all comes to rest."""

import random
import time

from tests.kills.stage import Stage

#: Seconds between two kills.
LEAST_PAUSE, MOST_PAUSE = 0.1, 1.0


def kill_round(stage: Stage, *, seed: int, seconds: float) -> list[str]:
    """One round, with kills for so many seconds.

    A seed draws what is killed and when; how the processes interleave is not drawn.
    """
    chance = random.Random(seed)
    stage.start_http()
    stage.start_worker()
    for device in stage.devices:
        stage.start_device(device, chance.randrange(2**30))
    time.sleep(2.0)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(chance.uniform(LEAST_PAUSE, MOST_PAUSE))
        _happen(stage, chance)
        stage.sweep()
    for device in stage.devices:
        stage.kill_device(device)
    return stage.violations(stage.settle())


def _happen(stage: Stage, chance: random.Random) -> None:
    what = chance.choices(("device", "http", "worker", "database", "reset"), (6, 1, 1, 2, 4))[0]
    device = chance.choice(stage.devices)
    if what == "device":
        stage.kill_device(device)
        stage.start_device(device, chance.randrange(2**30))
    elif what == "http":
        stage.kill_http()
    elif what == "worker":
        stage.kill_worker()
    elif what == "database":
        stage.kill_database()
    else:
        stage.force(device)
