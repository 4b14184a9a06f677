"""What the tests of tracking read: a row's clocks as the database has them, and the entries of an object."""

import json
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Model

from syncreset.feed.entries import Entry


@dataclass(frozen=True, kw_only=True)
class Clocks:
    updated: int
    fields: dict[str, int]


def clocks_of(instance: Model) -> Clocks:
    """The row's clocks, read past Django's fields."""
    quote = connection.ops.quote_name
    meta = instance._meta
    assert meta.pk.column is not None
    pk = meta.pk.get_db_prep_value(instance.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT last_updated, CAST(field_timestamps AS text) FROM {quote(meta.db_table)}"
            f" WHERE {quote(meta.pk.column)} = %s",
            [pk],
        )
        updated, fields = cursor.fetchone()
    return Clocks(updated=updated, fields=json.loads(fields))


def entries_of(instance: Model, pk: Any = None) -> dict[str, Entry]:
    """The object's entries by scope."""
    found = Entry.objects.filter(
        model=instance._meta.label_lower, pk_text=str(instance.pk if pk is None else pk)
    )
    return {entry.scope: entry for entry in found}


def stamp_all() -> None:
    """Number every entry, as reading the feed does, so that a test sees what is written after."""
    Entry.objects.filter(checkpoint=None).update(checkpoint=1)


def unstamped() -> set[tuple[str, str]]:
    """What has been entered since `stamp_all`: (model, pk)."""
    return set(Entry.objects.filter(checkpoint=None).values_list("model", "pk_text"))
