"""Whether the server and the replicas hold the same rows, to the last field."""

from collections.abc import Mapping
from typing import Any

from syncreset.sdk import Replica

__all__ = ["Rows", "count_by_model", "differences", "rows_of_replica"]

#: Fields in wire values, by model and primary key.
Rows = dict[tuple[str, str], Mapping[str, Any]]


def rows_of_replica(replica: Replica) -> Rows:
    """Everything in a replica's store."""
    rows: Rows = {}
    for label, table in replica.models.items():
        (key,) = replica.connection.execute(
            "SELECT name FROM pragma_table_info(?) WHERE pk = 1", (table,)
        ).fetchone()
        for row in replica.all(label):
            rows[label, row.pop(key)] = row
    return rows


def differences(one: Rows, other: Rows) -> list[str]:
    """What stands in one and not, or not so, in the other, in words."""
    found = [f"{model} {pk} is missing" for model, pk in one.keys() - other.keys()]
    found += [f"{model} {pk} should not be there" for model, pk in other.keys() - one.keys()]
    for key in one.keys() & other.keys():
        wanted, has = one[key], other[key]
        found += [
            f"{key[0]} {key[1]}.{name} is {has.get(name)!r}, not {wanted.get(name)!r}"
            for name in {**wanted, **has}
            if has.get(name) != wanted.get(name)
        ]
    return found


def count_by_model(rows: Rows) -> dict[str, int]:
    """How many rows of each model."""
    counts: dict[str, int] = {}
    for model, _ in rows:
        counts[model] = counts.get(model, 0) + 1
    return counts
