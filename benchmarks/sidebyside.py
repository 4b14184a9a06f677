"""Two ways of doing one thing, timed in turn on one database, and the ratio of their medians."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import django
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

from demo_project.postgresql import embedded_postgresql

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

__all__ = ["compare", "database"]


@contextmanager
def database() -> Iterator[None]:
    """A migrated test database on SQLite, or with SYNCRESET_TEST_DATABASE=postgresql on an embedded PostgreSQL."""
    with ExitStack() as stack:
        if connection.vendor == "postgresql":
            connection.settings_dict["HOST"] = str(stack.enter_context(embedded_postgresql()).socket)
        made = setup_databases(verbosity=0, interactive=False, serialized_aliases=set())
        stack.callback(teardown_databases, made, verbosity=0)
        yield


def compare(what: str, ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 7) -> None:
    """Time both in turn, after a round to warm up; print the medians and the ratio with its range."""
    times = [(_time(ours), _time(theirs)) for _ in range(rounds + 1)][1:]
    ratios = sorted(one / other for one, other in times)
    one, other = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    print(
        f"{what:<28} {one:9.1f} ms against {other:9.1f} ms: "
        f"{statistics.median(ratios):6.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def _time(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
