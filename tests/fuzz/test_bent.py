"""Valid requests, bent: nothing crashes, nothing changes silently, nothing takes long, and no error speaks SQL.

A seed is one case for good. A case that fails prints its seed and its requests: ``make fuzz SEED=… CASES=1``.
"""

import logging
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest
from django.db import connection

from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from tests.fuzz.cases import Cases
from tests.fuzz.sent import Sent
from tests.fuzz.watch import (
    Seen,
    claims_of_push,
    documented_codes,
    faults_of_answer,
    faults_of_blame,
    faults_of_changes,
    faults_of_recovery,
    faults_of_validity,
    faults_of_values,
    seen_now,
)
from tests.fuzz.world import World, make_world
from tests.simulation.fixed import Fixed
from tests.support.blank import blank_database

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = int(os.environ.get("SYNCRESET_SEED", "1"))
CASES = int(os.environ.get("SYNCRESET_CASES", "300"))
#: Cases of one test, all in one world that is put back after each.
TOGETHER = 100
#: Bytes by which the process may have grown at the end of a test, once it is warm.
GROWTH = 100 * 2**20
WARM = 20


@dataclass
class Bench:
    """Runs cases, each as if it were the first."""

    world: World
    fixed: Fixed
    restore: Callable[[], None]
    codes: dict[int, set[str]]
    begun: Seen
    counted: Counter[str]

    def run(self, seed: int) -> list[str]:
        """What is wrong after the requests of a case, with the requests; nothing where all is well."""
        self.fixed.begin(seed)
        cases = Cases(random.Random(seed), self.world, self.world.fresh())
        told: list[str] = []
        before = self.begun
        requests = cases.draw()
        try:
            for sent in requests:
                told.append(str(sent))
                sent.send(cases.device.api)
                told[-1] = str(sent)
                after = seen_now()
                faults = self.faults(sent, before, after)
                before, recovered = self.recovered(sent, after)
                self.counted[f"{sent.method} {sent.status}"] += 1
                if faults + recovered:
                    return [f"seed {seed}:", *faults, *recovered, *told]
        except Exception:  # noqa: BLE001
            return [f"seed {seed}:", traceback.format_exc(), *told]
        finally:
            self.restore()
        return []

    def faults(self, sent: Sent, before: Seen, after: Seen) -> list[str]:
        push = sent.path == "push" and sent.method == "POST"
        faults = faults_of_answer(sent, self.codes)
        faults += faults_of_changes(before, after, claims_of_push(sent) if push else ())
        faults += faults_of_validity(before, after)
        if sent.status >= 400 and before.items != after.items:
            faults.append("a refused request changed the ledger")
        return faults + ([*faults_of_values(sent), *faults_of_blame(sent)] if push else [])

    def recovered(self, sent: Sent, before: Seen) -> tuple[Seen, list[str]]:
        """The world after the recovery that a request began, and what is wrong with that."""
        if sent.method != "PATCH" or (queued := sent.answered.get("Syncreset-Recovery")) is None:
            return before, []
        run(queued)
        after = seen_now()
        recovery = Recovery.objects.get(pk=queued)
        self.counted[f"recovery {recovery.state}"] += 1
        return after, [
            *faults_of_changes(before, after, ()),
            *faults_of_validity(before, after),
            *faults_of_recovery(recovery),
        ]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Bench]:
    real = time.time_ns
    fixed = Fixed(monkeypatch)
    if connection.vendor == "postgresql":
        # Its triggers look at a clock of their own.
        monkeypatch.setattr(time, "time_ns", real)
    fixed.begin(0)
    world = make_world()
    made = Bench(world, fixed, blank_database(), documented_codes(), seen_now(), Counter())
    logging.disable(logging.CRITICAL)
    yield made
    logging.disable(logging.NOTSET)
    print("\n", dict(sorted(made.counted.items())))  # noqa: T201


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, TOGETHER))
def test_bent_requests_are_answered_and_change_nothing_silently(first: int, bench: Bench) -> None:
    process = psutil.Process()
    failed = []
    warm = 0
    for seed in range(first, min(first + TOGETHER, FIRST + CASES)):
        if seed == first + WARM:
            warm = process.memory_info().rss
        if found := bench.run(seed):
            failed.append("\n".join(found))
    grown = process.memory_info().rss - warm if warm else 0

    assert not failed, "\n\n".join([f"{len(failed)} cases failed", *failed[:3]])
    assert grown <= GROWTH, f"the process has grown by {grown / 2**20:.0f} MB"
