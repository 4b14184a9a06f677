"""Clients, what each has last synced, and the scopes that a user may hold."""

import uuid
from collections.abc import Collection
from typing import Any, TypeAlias

from django.conf import settings
from django.db import models
from django.db.models import F

from ..protocol.clock import now
from ..protocol.errors import ProtocolError
from ..protocol.printable import printable

#: A user: of the project's own model, which nobody else knows.
SyncUser: TypeAlias = Any


class Client(models.Model):
    """One replica of one user on one device. Times in µs; ``acked`` is the highest sequence number processed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="syncreset_clients"
    )
    name = models.CharField(max_length=200, blank=True)
    platform = models.CharField(max_length=200, blank=True)
    schema = models.CharField(max_length=64, blank=True)
    created = models.BigIntegerField(default=now)
    last_seen = models.BigIntegerField(default=now)
    pending = models.PositiveIntegerField(default=0)
    checkpoint = models.BigIntegerField(null=True)
    scopes = models.JSONField(default=list)
    acked = models.BigIntegerField(default=0)
    #: How many pushes were answered, the receipt of the last answer, and that of the one before.
    pushes = models.BigIntegerField(default=0)
    receipt = models.CharField(max_length=40, blank=True)
    receipt_before = models.CharField(max_length=40, blank=True)
    #: How often it was told something for which it gives up its own copy of a value, and how much of that a
    #: checkpoint that it has been given covers.
    told = models.BigIntegerField(default=0)
    covered = models.BigIntegerField(default=0)
    #: The proofs of its checkpoints: of the one it has last shown, and of the last that it was given.
    proof_shown = models.CharField(max_length=60, blank=True)
    proof_given = models.CharField(max_length=60, blank=True)
    #: The client whose store this one's is a copy of.
    copy_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="copies"
    )
    #: Server time minus client time (µs) at the last contact.
    clock_offset = models.BigIntegerField(default=0)

    class Meta:
        permissions = [("force_reset_client", "Can force a reset of clients")]

    def __str__(self) -> str:
        return f"{printable(self.name) or 'client'} ({str(self.id)[:8]})"


class LastSynced(models.Model):
    """Up to which time (µs, the checkpoint's) a client has everything of a model: the guide's ``LastSynced`` object."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="last_synced")
    model = models.CharField(max_length=100)
    at = models.BigIntegerField()
    checkpoint = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "last synced"
        constraints = [models.UniqueConstraint(fields=["client", "model"], name="syncreset_lastsynced_model")]

    def __str__(self) -> str:
        return f"{self.model} of {self.client}"


class ClientForbidden(ProtocolError):
    """The client belongs to somebody else."""

    status = 403
    code = "client_forbidden"


def find_client(user: SyncUser, client_id: uuid.UUID) -> Client | None:
    """The user's client, or None where the server knows none of this id. Raises ClientForbidden for another's."""
    client = Client.objects.filter(pk=client_id).first()
    if client is not None and client.user_id != user.pk:
        raise ClientForbidden("this client belongs to another user")
    return client


def record_synced(client: Client, *, checkpoint: int, at: int, models: Collection[str], **_: Any) -> None:
    """The receiver of the signal ``synced``: remember, per model, what the client has."""
    LastSynced.objects.bulk_create(
        [LastSynced(client=client, model=model, at=at, checkpoint=checkpoint) for model in models],
        update_conflicts=True,
        unique_fields=["client", "model"],
        update_fields=["at", "checkpoint"],
    )


def note_told(client_id: uuid.UUID) -> None:
    """A client is about to be told that the server keeps something: its next pull ends with a proof of it."""
    Client.objects.filter(pk=client_id).update(told=F("told") + 1)


def note_covered(client: Client) -> None:
    """A proof was written after the client was told what it had been when it was read."""
    Client.objects.filter(pk=client.pk, covered__lt=client.told).update(covered=client.told)
