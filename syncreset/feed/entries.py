"""Entries: what was touched, and the tombstones among them."""

import enum
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Count, F, Q, Sum

from ..protocol.printable import printable
from .cursor import Cursor


class EntryKind(models.IntegerChoices):
    """What an entry says of its object within its scope."""

    ROW = 0, "row"
    DELETED = 1, "deleted"
    DEPARTED = 2, "departed"
    TRUNCATED = 3, "truncated"


class Entry(models.Model):
    """The feed's one line per (object, scope). Triggers write it; stamping, purging and healing touch it here."""

    id = models.BigAutoField(primary_key=True)
    model = models.CharField(max_length=100)
    pk_text = models.CharField(max_length=255, db_column="pk")
    scope = models.CharField(max_length=255)
    checkpoint = models.BigIntegerField(null=True)
    kind = models.SmallIntegerField(choices=EntryKind.choices, default=EntryKind.ROW)
    at = models.BigIntegerField()
    row = models.JSONField(null=True)
    #: The row's clocks (µs), where its table has no columns for them: when it was last updated, and by field. Of a
    #: deleted row that was never here: the last update that its deleter knew of, if that was not the last of all.
    updated = models.BigIntegerField(null=True)
    clocks = models.JSONField(null=True)
    #: The client, or the recovery, that has touched it last, where nobody else has since that client knew the row.
    touched_by = models.UUIDField(null=True)

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(fields=["model", "pk_text", "scope"], name="syncreset_entry_object"),
        ]
        indexes = [
            models.Index(fields=["checkpoint", "id"], name="syncreset_entry_feed"),
            models.Index(fields=["scope", "checkpoint", "id"], name="syncreset_entry_scope"),
        ]

    def __str__(self) -> str:
        return printable(f"{self.model} {self.pk_text} in {self.scope}")


@dataclass(frozen=True, kw_only=True)
class Tombstoned:
    """A row that was deleted at a time (µs), in its scope, and its last update (µs) that was known, if not all were."""

    model: str
    pk: str
    scope: str
    at: int
    seen: int | None


def entries_after(number: int, entry: int, scopes: Collection[str], *, limit: int) -> Sequence[Entry]:
    """Entries of the scopes after a point of the feed, in the feed's order."""
    return list(_within(scopes).filter(_later(number, entry)).order_by("checkpoint", "id")[:limit])


def unstamped_after(last: int, scopes: Collection[str], *, limit: int) -> Sequence[Entry]:
    """Entries of the scopes that have no number yet, after the one of id ``last``."""
    return list(_within(scopes).filter(checkpoint__isnull=True, id__gt=last).order_by("id")[:limit])


def gone_after(last: int, scopes: Collection[str], *, number: int, entry: int, limit: int) -> Sequence[Entry]:
    """What is gone from the scopes since a point of the feed, stamped or not, after the entry of id ``last``."""
    since = Q(checkpoint__isnull=True) | _later(number, entry)
    gone = _within(scopes).exclude(kind=EntryKind.ROW).filter(since, id__gt=last)
    return list(gone.order_by("id")[:limit])


def _within(scopes: Collection[str]) -> "models.QuerySet[Entry]":
    """Entries as they are served: without the copies of rows, which may be large."""
    entries = Entry.objects.filter(scope__in=scopes).exclude(kind=EntryKind.TRUNCATED)
    return entries.defer("row", "updated", "clocks")


def _later(number: int, entry: int) -> Q:
    return Q(checkpoint__gt=number) | Q(checkpoint=number, id__gt=entry)


def has_unstamped(scopes: Collection[str] | None = None) -> bool:
    """Whether anything that is committed has no number yet, anywhere or within scopes."""
    unstamped = Entry.objects.filter(checkpoint__isnull=True)
    return (unstamped if scopes is None else unstamped.filter(scope__in=scopes)).exists()


def count_unstamped(scopes: Collection[str], *, most: int) -> int:
    """How many entries of the scopes have no number yet, counted up to ``most``."""
    return _within(scopes).filter(checkpoint__isnull=True)[:most].count()


def mark_of_unstamped(scopes: Collection[str], last: int) -> str:
    """What tells whether any of the entries without a number, up to the one of id ``last``, was written again."""
    known = _within(scopes).filter(checkpoint__isnull=True, id__lte=last)
    found = known.aggregate(count=Count("id"), times=Sum(F("at") % 2**31))
    return f"{found['count']}.{found['times'] or 0}"


def scopes_after(number: int, *, limit: int) -> Sequence[str]:
    """The scopes in which something was stamped after checkpoint ``number``, or some of them."""
    later = Entry.objects.filter(checkpoint__gt=number).exclude(kind=EntryKind.TRUNCATED)
    return list(later.order_by().values_list("scope", flat=True).distinct()[:limit])


def unseen(model: str, pks: Collection[str], number: int) -> Iterator[str]:
    """The keys among ``pks`` whose rows were touched after checkpoint ``number``."""
    touched = Entry.objects.filter(model=model, pk_text__in=pks).filter(
        Q(checkpoint__isnull=True) | Q(checkpoint__gt=number)
    )
    yield from touched.values_list("pk_text", flat=True)


class Knowledge(enum.IntEnum):
    """What somebody knows of a row: not as it is; so, for nobody else has touched it since; so, for it was seen so."""

    NONE = 0
    OWN = 1
    SEEN = 2


def known_at(
    seen: Cursor,
    signer: uuid.UUID,
    model: str,
    pks: Collection[str],
    scopes: Collection[str],
    kind: EntryKind,
) -> dict[str, Knowledge]:
    """Of the keys that have entries of a kind in the scopes: what ``signer``, who was at a checkpoint, knows of them.

    Seen is what was stamped up to its position, in the scopes that were held there; of a key in several the least.
    """
    entries = Entry.objects.filter(model=model, pk_text__in=pks, scope__in=scopes, kind=kind)
    known: dict[str, Knowledge] = {}
    for pk, scope, number, entry, touched_by in entries.values_list(
        "pk_text", "scope", "checkpoint", "id", "touched_by"
    ):
        reached = number is not None and (number, entry) <= (seen.number, seen.entry)
        own = Knowledge.OWN if touched_by == signer else Knowledge.NONE
        here = Knowledge.SEEN if reached and scope in seen.scopes else own
        known[pk] = min(known.get(pk, here), here)
    return known


def sign_entries(
    signer: uuid.UUID, model: str, pks: Collection[str], scopes: Collection[str], kind: EntryKind
) -> None:
    """Say of what was just touched who did. Call it in the transaction that did, behind all triggers."""
    touched = Entry.objects.filter(model=model, pk_text__in=pks, scope__in=scopes, kind=kind)
    touched.filter(checkpoint__isnull=True).update(touched_by=signer)


def tombstones(model: str, pks: Collection[Any], scopes: Collection[str]) -> dict[str, Entry]:
    """The newest tombstone in the given scopes of each key that has one."""
    entries = Entry.objects.filter(model=model, pk_text__in=pks, scope__in=scopes, kind=EntryKind.DELETED)
    return {entry.pk_text: entry for entry in entries.order_by("at")}


def bury(tombstone: Tombstoned) -> bool:
    """Leave a tombstone of a row that is not here, unless the feed tells of it already. Returns whether it was left."""
    _, made = Entry.objects.get_or_create(
        model=tombstone.model,
        pk_text=tombstone.pk,
        scope=tombstone.scope,
        defaults={"kind": EntryKind.DELETED, "at": tombstone.at, "updated": tombstone.seen},
    )
    return made
