"""How property tests run: the same examples every time, or with ``make explore`` new ones, and more of them."""

import os

from hypothesis import HealthCheck, Phase, settings

#: How many times as many examples as usual are drawn at random; 0 draws the usual ones, which are always the same.
EXPLORE = int(os.environ.get("SYNCRESET_EXPLORE", "0"))


def load_profile() -> None:
    """Let every property test run so, whatever it says of its examples. To be called before test modules are read."""
    settings.register_profile(
        "syncreset",
        deadline=None,
        derandomize=not EXPLORE,
        print_blob=True,
        max_examples=100 * max(EXPLORE, 1),
        # How long an example takes says something about the machine, and nothing about the property.
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
            HealthCheck.large_base_example,
            HealthCheck.too_slow,
        ],
    )
    settings.load_profile("syncreset")


def examples(count: int, *, shrink: bool = True) -> settings:
    """Settings with a number of examples; ``shrink`` is False where making an example smaller takes minutes."""
    left_out = set() if shrink else {Phase.shrink, Phase.explain}
    return settings(
        max_examples=count * max(EXPLORE, 1),
        phases=[phase for phase in Phase if phase not in left_out],
        report_multiple_bugs=shrink,
    )
