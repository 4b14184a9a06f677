"""The recovery's row, which is also its job: state, progress, and the lease that only one worker holds."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F

from .. import conf
from ..clients.client import Client
from ..clients.resets import Reset
from ..ledger.item import Item, ItemState, totals
from ..protocol.clock import now
from .uploads import SnapshotMissing, Upload


class RecoveryState(models.TextChoices):
    """Where a recovery is (protocol, "GET /recoveries/{id}")."""

    QUEUED = "queued", "queued"
    MERGING = "merging", "merging"
    REVIEW = "review", "waiting for review"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    UNDONE = "undone", "undone"


class RecoveryKind(models.TextChoices):
    """What a recovery does: merge its snapshot, show what merging it would do, or undo another recovery."""

    MERGE = "merge", "merge"
    PREVIEW = "preview", "preview"
    UNDO = "undo", "undo"


class Recovery(models.Model):
    """The merge of one snapshot, a preview of it, or its undoing.

    ``position`` lines are merged, of ``total`` in the snapshot and ``absent`` deletions that it tells by absence. How
    many there are is known once the snapshot is ``checked``: a large one is read to its end before it is merged.
    ``changes`` changes came of them and ``unchanged`` lines carried nothing. ``fence`` counts the claims: only the
    newest one may write, until ``lease_until`` (µs) at most.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    kind = models.CharField(max_length=8, choices=RecoveryKind.choices, default=RecoveryKind.MERGE)
    reset = models.ForeignKey(Reset, on_delete=models.CASCADE, related_name="recoveries")
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="recoveries")
    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="recoveries")
    #: The recovery that this one undoes.
    undoes = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="undone_by"
    )
    strategy = models.CharField(max_length=200)
    #: Whether a person chose the strategy, so that it goes before that of the models and the settings.
    strategy_chosen = models.BooleanField(default=False)
    healing = models.BooleanField(default=False)
    #: The time (µs) up to which a restored server's history holds what the client was given.
    remembered = models.BigIntegerField(default=0)
    #: Whether the snapshot holds every row of its client's store.
    full = models.BooleanField(default=False)
    state = models.CharField(max_length=12, choices=RecoveryState.choices, default=RecoveryState.QUEUED)
    schema = models.CharField(max_length=64)
    checkpoint = models.TextField(null=True, blank=True)
    last_synced = models.JSONField(default=dict)
    clock_offset = models.BigIntegerField(default=0)
    checked = models.BooleanField(default=True)
    rows = models.BigIntegerField(default=0)
    tombstones = models.BigIntegerField(default=0)
    updates = models.BigIntegerField(default=0)
    pushed = models.BigIntegerField(default=0)
    absent = models.BigIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    changes = models.BigIntegerField(default=0)
    unchanged = models.BigIntegerField(default=0)
    totals = models.JSONField(default=dict)
    fence = models.BigIntegerField(default=0)
    lease_until = models.BigIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.JSONField(null=True, blank=True)
    created = models.BigIntegerField(default=now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    finished = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "recoveries"
        ordering = ["-created"]
        permissions = [
            ("recover_again_recovery", "Can run recoveries again"),
            ("undo_recovery", "Can undo recoveries"),
        ]

    def __str__(self) -> str:
        name = "recovery" if self.kind == RecoveryKind.MERGE else self.get_kind_display()
        return f"{name} {str(self.id)[:8]}"

    @property
    def could_not_read(self) -> bool:
        """Whether it failed because its snapshot was not in the storage, or is none: another upload may bring it."""
        missing = (self.problem or {}).get("code") == SnapshotMissing.code
        return self.state == RecoveryState.FAILED and (missing or not self.checked)

    @property
    def pulled(self) -> int:
        """When the client last pulled everything (µs), at the latest; 0 where it does not say."""
        return min(self.last_synced.values(), default=0)

    @property
    def total(self) -> int:
        """Lines of the snapshot between header and end."""
        return self.rows + self.tombstones + self.updates + self.pushed


class LeaseLost(Exception):
    """Another worker has claimed the recovery: this one must write nothing more."""


def overdue() -> "models.QuerySet[Recovery]":
    """Recoveries that nobody is working on: lost by the broker, or left by a worker that died."""
    return Recovery.objects.filter(
        state__in=[RecoveryState.QUEUED, RecoveryState.MERGING], lease_until__lt=now()
    )


def claim(recovery_id: uuid.UUID | str) -> Recovery | None:
    """Take the lease, or None where another worker has it or there is nothing left to do."""
    claimed = (
        overdue()
        .filter(pk=recovery_id)
        .update(
            state=RecoveryState.MERGING,
            fence=F("fence") + 1,
            attempts=F("attempts") + 1,
            lease_until=_lease(),
        )
    )
    if not claimed:
        return None
    return Recovery.objects.select_related("client__user", "reset", "upload", "undoes").get(pk=recovery_id)


def hold(recovery: Recovery) -> None:
    """Renew the lease as the transaction's first statement, which also locks the row against another claim.

    Raises LeaseLost where the claim is no longer the newest, or the recovery is not where this worker left it.
    """
    held = Recovery.objects.filter(pk=recovery.pk, fence=recovery.fence, position=recovery.position).update(
        lease_until=_lease()
    )
    if not held:
        raise LeaseLost


def _lease() -> int:
    return now() + int(conf.get("RECOVERY_LEASE") * 1_000_000)


def settle(recovery: Recovery) -> None:
    """Let a finished recovery's totals and state say what its items do: ``review`` while one is parked.

    One that was undone stays so, whatever is decided of its items afterwards.
    """
    counted = totals(Item.objects.filter(recovery=recovery))
    state = RecoveryState.REVIEW if counted[ItemState.PARKED] else RecoveryState.DONE
    settled = Recovery.objects.filter(pk=recovery.pk)
    settled.update(totals=counted)
    settled.exclude(state=RecoveryState.UNDONE).update(state=state)
