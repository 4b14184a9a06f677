"""Make each mistake in a copy of the checkout, run the tests that are named for it, and tell which were caught.

The tests are run without any mistake first: one that fails anyway catches nothing. ``--only`` names mutants.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from demo_project import services
from tests.mutants.checkout import Checkout, PatchFailed
from tests.mutants.table import MUTANTS, Mutant

#: The share of mutants that may survive. More is a failure, as is any patch that does not apply.
SURVIVORS = 1 / 25
#: Seconds that the tests of one mutant may take, and all of them together without a mistake.
SECONDS, ALL_SECONDS = 120.0, 900.0

#: What pytest's exit statuses say. With another one no test has judged the mistake.
_CAUGHT, _SURVIVED = 1, 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutant, after how many seconds."""

    mutant: Mutant
    verdict: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    only = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if not only or mutant.name in only]
    with (
        services.signals_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="syncreset-mutants-") as directory,
    ):
        checkout = Checkout(Path(directory).resolve() / "checkout")
        if not checkout.imports_its_own():
            _tell("the copy of the checkout does not run its own code")
            return 2
        if not _is_sound(checkout, chosen):
            return 2
        verdicts = []
        for number, mutant in enumerate(chosen, start=1):
            verdicts.append(_judge(checkout, mutant))
            _tell(f"[{number:2}/{len(chosen)}] {_line(verdicts[-1])}")
    return _sum_up(verdicts)


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _is_sound(checkout: Checkout, chosen: list[Mutant]) -> bool:
    """Whether the tests pass where no mistake is made."""
    began = time.monotonic()
    for env in {tuple(sorted(mutant.env.items())) for mutant in chosen}:
        tests = dict.fromkeys(
            test for mutant in chosen if tuple(sorted(mutant.env.items())) == env for test in mutant.tests
        )
        run = checkout.run(list(tests), env=dict(env), seconds=ALL_SECONDS)
        if run.status != 0:
            _tell(f"without any mistake the tests end with status {run.status}:\n{run.output[-4000:]}")
            return False
    _tell(f"without any mistake all named tests pass ({time.monotonic() - began:.0f} s)")
    return True


def _judge(checkout: Checkout, mutant: Mutant) -> Verdict:
    began = time.monotonic()
    try:
        checkout.apply(mutant.patch)
    except PatchFailed as failed:
        _tell(str(failed))
        return Verdict(mutant=mutant, verdict="NOT APPLIED", seconds=0.0)
    run = checkout.run(mutant.tests, env=mutant.env, seconds=SECONDS)
    checkout.take_back(mutant.patch)
    if run.status == _CAUGHT:
        verdict = "caught"
    elif run.status == _SURVIVED:
        verdict = "SURVIVED"
    else:
        verdict = "TOO SLOW" if run.status is None else "BROKEN"
        _tell(run.output[-2000:])
    return Verdict(mutant=mutant, verdict=verdict, seconds=time.monotonic() - began)


def _line(verdict: Verdict) -> str:
    return f"{verdict.verdict:11} {verdict.seconds:5.1f} s  {verdict.mutant.name}"


def _sum_up(verdicts: list[Verdict]) -> int:
    _tell("\nverdict      time     mutant: what it breaks")
    for verdict in sorted(verdicts, key=lambda each: (each.verdict == "caught", each.mutant.name)):
        _tell(f"{_line(verdict)}: {verdict.mutant.sentence}")
    caught = sum(verdict.verdict == "caught" for verdict in verdicts)
    _tell(f"\n{caught} of {len(verdicts)} caught, in {sum(verdict.seconds for verdict in verdicts):.0f} s")
    unsound = any(verdict.verdict in ("NOT APPLIED", "BROKEN") for verdict in verdicts)
    return int(unsound or len(verdicts) - caught > SURVIVORS * len(verdicts))


if __name__ == "__main__":
    sys.exit(main())
