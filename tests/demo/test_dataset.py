"""The flights data become moments in time that agree with the clocks at both ends."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from demo_project.ramp.data import dataset

ZONES = {row["faa"]: row["tzone"] for row in [*dataset.extract().airports(), *dataset.LEFT_OUT_AIRPORTS]}


def flight(**columns: str) -> dataset.Row:
    """A flight at 05:15 from Newark to Houston, changed by `columns`."""
    row = {
        "time_hour": "2013-01-01T10:00:00Z", "minute": "15", "dep_delay": "2", "sched_arr_time": "819",
        "arr_time": "830", "arr_delay": "11",
    }  # fmt: skip
    return row | columns


def test_arrival_is_on_the_destinations_clock() -> None:
    times = dataset.times(flight(), "America/Chicago")

    assert times.sched_dep == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert times.dep == datetime(2013, 1, 1, 10, 17, tzinfo=UTC)
    assert times.sched_arr == datetime(2013, 1, 1, 14, 19, tzinfo=UTC)
    assert times.arr == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)


def test_a_cancelled_flight_neither_departs_nor_arrives() -> None:
    times = dataset.times(flight(dep_delay="NA", arr_time="NA", arr_delay="NA"), "America/Chicago")

    assert (times.dep, times.arr) == (None, None)


def test_a_diverted_flight_arrives_when_the_clock_next_says_so() -> None:
    times = dataset.times(flight(arr_time="15", arr_delay=""), "America/Chicago")

    assert times.arr == datetime(2013, 1, 2, 6, 15, tzinfo=UTC)


def test_midnight_as_2400_is_the_next_days_start() -> None:
    after = datetime(2013, 1, 1, 23, 0, tzinfo=UTC)

    assert dataset.next_occurrence("2400", after, ZoneInfo("UTC")) == datetime(2013, 1, 2, tzinfo=UTC)


def test_every_flight_of_the_extract_departs_when_its_clock_time_says() -> None:
    new_york = ZoneInfo(dataset.NEW_YORK)
    departed = 0
    for row in dataset.extract().flights():
        times = dataset.times(row, ZONES[row["dest"]])
        assert times.sched_arr > times.sched_dep
        if times.dep is not None:
            clock = times.dep.astimezone(new_york)
            assert clock.hour * 100 + clock.minute == int(row["dep_time"]) % 2400
            departed += 1
    assert departed == 6064


def test_the_whole_year_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(dataset.DatasetMissing, match="full-flights"):
        dataset.package()
