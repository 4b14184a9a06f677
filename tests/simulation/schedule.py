"""Schedules as data: drawn from a seed, and cut down to the few steps that a violation needs."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: Trials that shrinking a failing schedule may take.
TRIALS = 150


@dataclass(frozen=True)
class Step:
    """``action`` is a method of the world, ``who`` the number of a device, ``dice`` decides everything else."""

    action: str
    who: int
    dice: int


def draw(seed: int, length: int, weights: Mapping[str, int]) -> list[Step]:
    """The schedule of a seed. Each has favourites among the actions, so that schedules differ in kind."""
    chance = random.Random(seed)
    favoured = {name: weight * chance.choice((0, 1, 1, 2, 4)) for name, weight in weights.items()}
    names = sorted(favoured)
    chosen = chance.choices(names, [favoured[name] + 0.2 for name in names], k=length)
    return [Step(action, chance.randrange(1_000), chance.randrange(2**32)) for action in chosen]


def shrunk(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Fewer steps that still fail: halves, quarters and so on are left out as long as it fails without them."""
    kept, size, trials = list(steps), max(1, len(steps) // 2), 0
    while trials < TRIALS:
        before = len(kept)
        for start in _starts(len(kept), size):
            shorter = kept[:start] + kept[start + size :]
            trials += 1
            if len(shorter) < len(kept) and fails(shorter):
                kept = shorter
            if trials == TRIALS:
                break
        if size == 1 and len(kept) == before:
            break
        size = max(1, size // 2)
    return kept


def _starts(length: int, size: int) -> Iterator[int]:
    return iter(range(length - size if length > size else 0, -1, -size))
