"""Whether the server and the replicas hold the same rows, to the last field."""

from collections.abc import Mapping
from typing import Any

from django.db import connection

from syncreset.clients import scopes_of
from syncreset.codec import encode_key
from syncreset.rows import stored_rows, visible
from syncreset.sdk import Replica
from syncreset.tracking.registry import dependency_order

__all__ = ["Rows", "differences", "rows_of_replica", "rows_of_server"]

#: Fields in wire values, by model and primary key.
Rows = dict[tuple[str, str], Mapping[str, Any]]


def rows_of_server(user: Any) -> Rows:
    """Everything that a user may hold, as the database has it now."""
    connection.close()
    rows: Rows = {}
    scopes = scopes_of(user)
    for model in dependency_order():
        keys = [encode_key(model._meta.pk, pk) for pk in visible(model, scopes).values_list("pk", flat=True)]
        for start in range(0, len(keys), 500):
            for pk, stored in stored_rows(model, scopes, keys[start : start + 500]).items():
                rows[model._meta.label_lower, pk] = stored.row.fields
    return rows


def rows_of_replica(replica: Replica) -> Rows:
    """Everything in a replica's store."""
    rows: Rows = {}
    for model in dependency_order():
        label, key = model._meta.label_lower, model._meta.pk.name
        for row in replica.all(label):
            rows[label, row.pop(key)] = row
    return rows


def differences(one: Rows, other: Rows) -> list[str]:
    """What stands in one and not, or not so, in the other, in words."""
    found = [f"{model} {pk} is missing" for model, pk in one.keys() - other.keys()]
    found += [f"{model} {pk} should not be there" for model, pk in other.keys() - one.keys()]
    for key in one.keys() & other.keys():
        found += [
            f"{key[0]} {key[1]}.{name} is {other[key].get(name)!r}, not {value!r}"
            for name, value in one[key].items()
            if other[key].get(name) != value
        ]
    return found
