"""The ledger: one item for every change of a snapshot, and for every pushed change that was not simply applied."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Count, QuerySet

from .apply import Applied
from .clients import Client
from .protocol import Change, Row, dumps, now, uuid7
from .protocol.strict_json import loads

__all__ = ["Item", "ItemState", "WireField", "as_json", "change_as_json", "item_for", "key_text", "totals"]


class WireField(models.TextField):  # type: ignore[type-arg]
    """Wire values as ASCII JSON text, exactly as they came: also what the database could not store as JSON."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else loads(value.encode("ascii"), max_depth=200)

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return dumps(self.value_from_object(obj))


class ItemState(models.TextChoices):
    """How one change ended. Exactly one of these, always (design, section 7)."""

    APPLIED = "applied", "applied"
    MERGED = "merged", "merged"
    IDENTICAL = "identical", "identical"
    SUPERSEDED = "superseded", "superseded"
    PARKED = "parked", "parked"
    REJECTED = "rejected", "rejected"


class Item(models.Model):
    """One change and what became of it.

    ``line`` and ``part`` are its place in the snapshot (None for a push, which has ``seq``). ``fields`` keeps, per
    field, both values, the base and whose value stands; ``change`` the whole change; ``before`` and ``after`` the row
    around it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="items")
    recovery = models.ForeignKey(
        "syncreset.Recovery", on_delete=models.CASCADE, null=True, blank=True, related_name="items"
    )
    line = models.BigIntegerField(null=True, blank=True)
    part = models.PositiveSmallIntegerField(default=0)
    seq = models.BigIntegerField(null=True, blank=True)
    model = models.CharField(max_length=100)
    pk_text = models.CharField("primary key", max_length=255, db_column="pk")
    op = models.CharField(max_length=10)
    state = models.CharField(max_length=12, choices=ItemState.choices)
    code = models.CharField(max_length=40, blank=True)
    problem = WireField(null=True, blank=True)
    fields = WireField(default=dict)
    change = WireField(default=dict)
    before = WireField(null=True, blank=True)
    after = WireField(null=True, blank=True)
    #: The rows that a delete changed beside its own, each ``{"model", "pk", "before", "after"}``.
    along = WireField(default=list, blank=True)
    #: Whether anything was written: what undoing has to look at.
    wrote = models.BooleanField(default=False)
    #: How a person decided a parked item, and when (µs).
    resolution = WireField(null=True, blank=True)
    resolved = models.BigIntegerField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created = models.BigIntegerField(default=now)

    class Meta:
        ordering = ["recovery", "line", "part", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["recovery", "line", "part"], name="syncreset_item_line"),
        ]
        indexes = [
            models.Index(fields=["recovery", "state"], name="syncreset_item_state"),
            models.Index(fields=["model", "pk_text"], name="syncreset_item_object"),
            models.Index(
                fields=["client"], condition=models.Q(state=ItemState.PARKED), name="syncreset_item_parked"
            ),
        ]
        permissions = [("resolve_item", "Can decide parked items")]

    def __str__(self) -> str:
        return f"{self.op} {self.model} {self.pk_text}: {self.state}"


def item_for(
    client: Client,
    result: Applied,
    *,
    recovery: Any = None,
    line: int | None = None,
    part: int = 0,
) -> Item:
    """The unsaved item of a change and what became of it."""
    change = result.change
    item = Item(
        client=client,
        recovery=recovery,
        line=line,
        part=part,
        seq=change.seq,
        model=_printable(change.model, 100),
        pk_text=key_text(change.pk),
        op=change.op,
    )
    item.change = change_as_json(change)
    renew_item(item, result)
    return item


def renew_item(item: Item, result: Applied) -> None:
    """Let an unsaved change of the item say what became of its change. The item's own change stays as it came."""
    outcome, problem = result.outcome, result.outcome.problem
    item.state = outcome.state
    item.code = "" if problem is None else problem.code
    item.problem = None if problem is None else problem.as_wire()
    item.fields = {
        name: {
            "client": decision.client,
            "server": decision.server,
            "base_clock": decision.base_clock,
            "server_clock": decision.server_clock,
            "kept": decision.kept,
        }
        for name, decision in outcome.decisions.items()
    }
    item.before = None if result.before is None else as_json(result.before)
    item.after = None if outcome.row is None else as_json(outcome.row)
    item.along = [
        {
            "model": row.model,
            "pk": row.pk,
            "before": as_json(row.before),
            "after": None if row.after is None else as_json(row.after),
        }
        for row in result.along
    ]
    item.wrote = outcome.writes


def save_renewed(items: Sequence[Item]) -> None:
    """Write items that ``renew_item`` has changed."""
    names = ["state", "code", "problem", "fields", "before", "after", "along", "wrote"]
    Item.objects.bulk_update(items, names, batch_size=200)


def totals(items: "QuerySet[Item]") -> dict[str, int]:
    """How many items are in each state, every state named."""
    counted = items.order_by().values_list("state").annotate(count=Count("pk"))
    return {state.value: 0 for state in ItemState} | dict(counted)


def change_as_json(change: Change) -> dict[str, Any]:
    """The change as the ledger keeps it, complete enough to be merged again."""
    return {
        "model": change.model,
        "pk": change.pk,
        "op": change.op,
        "fields": dict(change.fields),
        "clocks": dict(change.clocks),
        "base": None if change.base is None else dict(change.base),
        "group": change.group,
        "healing": change.healing,
        "overrides": change.overrides,
        "restores": change.restores,
        "whole": None if change.whole is None else as_json(change.whole),
    }


def change_from_json(kept: Mapping[str, Any]) -> Change:
    """The change that an item keeps."""
    whole = kept["whole"]
    return Change(
        model=kept["model"],
        pk=kept["pk"],
        op=kept["op"],
        fields=kept["fields"],
        clocks=kept["clocks"],
        base=kept["base"],
        group=kept["group"],
        healing=kept["healing"],
        overrides=kept["overrides"],
        restores=kept["restores"],
        whole=None if whole is None else Row(**whole),
    )


def as_json(row: Row) -> dict[str, Any]:
    """A row as the ledger keeps it."""
    return {"fields": dict(row.fields), "updated": row.updated, "clocks": dict(row.clocks)}


def save_items(items: Iterable[Item]) -> None:
    """Write new items."""
    Item.objects.bulk_create(items, batch_size=500)


def key_text(pk: str) -> str:
    """A wire key as items are found by."""
    return _printable(pk, 255)


def _printable(text: str, length: int) -> str:
    """The text as far as any database can hold it; the whole of it is in the item's change."""
    printable = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return printable[:length]
