"""The ledger: one item for every change of a snapshot, and for every pushed change that was not simply applied."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Count, QuerySet

from ..clients.client import Client
from ..protocol.clock import now
from ..protocol.ids import uuid7
from ..protocol.printable import printable
from ..protocol.strict_json import dumps, loads


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
    """How one change ended. Exactly one of these, always."""

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
    cascaded = WireField(default=list, blank=True)
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
        return printable(f"{self.op} {self.model} {self.pk_text}: {self.state}")


def totals(items: "QuerySet[Item]") -> dict[str, int]:
    """How many items are in each state, every state named."""
    counted = items.order_by().values_list("state").annotate(count=Count("pk"))
    return {state.value: 0 for state in ItemState} | dict(counted)
