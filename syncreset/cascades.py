"""Deleting rows with what hangs on them, unless that would take rows the client has never seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models, router
from django.db.models.deletion import Collector

from .codec import encode_key
from .feed import unseen
from .preparing import Author
from .tracking.registry import is_tracked

__all__ = ["UnseenRows", "delete_rows"]


class UnseenRows(Exception):
    """The deletion would cascade to rows that were made or changed after the client last looked."""


def delete_rows(
    model: type[models.Model],
    instances: Sequence[models.Model],
    deleted_too: Mapping[type[models.Model], Sequence[models.Model]],
    author: Author,
) -> None:
    """Delete rows of one model as Django does, cascades and signals included.

    Edits beat deletes through cascades as well: raises UnseenRows if a row that the client has not deleted itself, and
    has not seen in its present state, would go along. Raises ProtectedError and RestrictedError as Django does.
    """
    collector = Collector(using=router.db_for_write(model), origin=instances[0])
    collector.collect(instances)
    if not author.operator:
        own = {(kind, row.pk) for kind, rows in deleted_too.items() for row in rows}
        collected: list[Any] = [(kind, rows) for kind, rows in collector.data.items()]
        collected += [(rows.model, list(rows)) for rows in collector.fast_deletes if hasattr(rows, "model")]
        for kind, rows in collected:
            if is_tracked(kind):
                others = [encode_key(kind._meta.pk, row.pk) for row in rows if (kind, row.pk) not in own]
                if others and next(unseen(kind._meta.label_lower, others, author.seen), None) is not None:
                    raise UnseenRows(f"rows of {kind._meta.verbose_name_plural} changed meanwhile")
    collector.delete()
