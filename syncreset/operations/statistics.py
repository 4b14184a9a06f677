"""What recoveries came to, day by day. Days are those of Django's current time zone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Count, F
from django.utils import timezone

from ..ledger.item import Item
from ..recovery.job import RecoveryKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER = 15 * 60 * 1_000_000


def last_days(count: int) -> list[date]:
    """The last ``count`` days in their order, today the last."""
    today = datetime.now(timezone.get_current_timezone()).date()
    return [today - timedelta(days=ago) for ago in reversed(range(count))]


def beginning_of(day: date) -> int:
    """The day's first moment (µs)."""
    midnight = datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())
    return (midnight - _EPOCH) // timedelta(microseconds=1)


def outcomes_by_day(days: Sequence[date]) -> dict[date, Mapping[str, int]]:
    """For each of the days, one after the other, how many items of merges begun that day are in each state.

    Previews and undoings are left out. A day without recoveries has no states.
    """
    # Quarters of an hour, because every time zone's days begin with one, and none lasts longer than another.
    # Rows are counted, not their keys: then the index on recovery and state has all that is asked.
    counted = (
        Item.objects.filter(
            recovery__kind=RecoveryKind.MERGE,
            recovery__created__gte=beginning_of(days[0]),
            recovery__created__lt=beginning_of(days[-1] + timedelta(days=1)),
        )
        .order_by()
        .annotate(quarter=F("recovery__created") / _QUARTER)
        .values_list("quarter", "state")
        .annotate(count=Count("*"))
    )
    zone = timezone.get_current_timezone()
    outcomes: dict[date, Counter[str]] = {day: Counter() for day in days}
    for quarter, state, count in counted:
        day = (_EPOCH + timedelta(microseconds=quarter * _QUARTER)).astimezone(zone).date()
        outcomes[day][state] += count
    return dict(outcomes)
