"""Resets: the orders that clients must start over."""

import uuid
from collections.abc import Iterable

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Max

from .. import conf
from ..protocol.clock import now
from ..signals import reset_ordered
from ..signatures import is_signed, sign
from .client import Client, SyncUser


class ResetReason(models.TextChoices):
    """Why a client cannot continue (protocol, "409 client_reset")."""

    HISTORY_DIVERGED = "history_diverged", "history diverged"
    CHECKPOINT_EXPIRED = "checkpoint_expired", "checkpoint expired"
    SCHEMA_INCOMPATIBLE = "schema_incompatible", "schema incompatible"
    CLIENT_UNKNOWN = "client_unknown", "client unknown"
    NOT_GENUINE = "not_genuine", "not genuine"
    ADMIN_FORCED = "admin_forced", "forced by an administrator"


_PURPOSE = "reset"
#: Bytes of a reset's id that are random, and bytes that are a signature.
_HALF = 8

#: What is true of a reset that its client has yet to bootstrap with, be it due or not.
OPEN = models.Q(bootstrapped__isnull=True, replaced__isnull=True)


class ResetQuerySet(models.QuerySet["Reset"]):
    """Resets, by whether they are still to be done."""

    def open(self) -> "ResetQuerySet":
        """Those that the client has yet to bootstrap with, be they due or not: one for each client at most."""
        return self.filter(OPEN)

    def due(self) -> "ResetQuerySet":
        """The open ones that hold their clients now."""
        return self.open().filter(not_before__lte=now())

    def force(
        self,
        clients: Iterable[Client],
        *,
        by: SyncUser | None = None,
        detail: str = "",
        full: bool = False,
        not_before: int | None = None,
    ) -> "list[Reset]":
        """Order each client to reset, at its next contact after ``not_before`` (µs; None: now).

        A client whose reset is still open keeps that one, which falls due at the earlier of both times.
        """
        return [
            order_reset(
                client,
                ResetReason.ADMIN_FORCED,
                by=by,
                detail=detail,
                full=full,
                replace=False,
                not_before=not_before,
            )
            for client in clients
        ]


class Reset(models.Model):
    """The order to one client to start over. Open until the client has bootstrapped with it. Times in µs.

    Before ``not_before`` it does not hold the client, which goes on as if it were not there: so resets of many clients
    come in waves.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="resets")
    reason = models.CharField(max_length=40, choices=ResetReason.choices)
    detail = models.TextField(blank=True)
    #: Whether the snapshot must hold every row, because the server is to be healed from it.
    full = models.BooleanField(default=False)
    created = models.BigIntegerField(default=now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    not_before = models.BigIntegerField(default=now)
    deadline = models.BigIntegerField()
    bootstrapped = models.BigIntegerField(null=True, blank=True)
    #: What the client said in its bootstrap that becomes of its unsynced changes: one of the modes, empty if nothing.
    mode = models.CharField(max_length=40, blank=True)
    #: The number of the checkpoint that the bootstrap ended on: what was sent on an earlier one is overtaken.
    checkpoint = models.BigIntegerField(null=True, blank=True)
    #: The time of the client's last complete pull that the server knew of when it gave the order: so far its history
    #: holds what the client was given. 0 for none.
    synced = models.BigIntegerField(default=0)
    #: Set when another reset took this one's place before the client had bootstrapped.
    replaced = models.BigIntegerField(null=True, blank=True)

    objects = ResetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["client"],
                condition=OPEN,
                name="syncreset_reset_one_open",
            )
        ]
        indexes = [
            models.Index(
                fields=["not_before"],
                condition=OPEN,
                name="syncreset_reset_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} ({str(self.id)[:8]})"


def order_reset(
    client: Client,
    reason: ResetReason,
    *,
    by: SyncUser | None = None,
    detail: str = "",
    full: bool = False,
    replace: bool = True,
    not_before: int | None = None,
) -> Reset:
    """The client's open reset of this reason, made where there is none.

    An open reset of another reason is replaced, unless ``replace`` is false: then it is the one returned. So is one
    that speaks of another schema change. What the replaced one wanted in full is wanted in full still.
    """
    due = now() if not_before is None else not_before
    for _ in range(2):
        current = client.resets.open().first()
        if current is not None and (not replace or _is_same(current, reason, detail, full)):
            _bring_forward(current, due)
            return current
        try:
            wanted = full or (current is not None and current.full)
            return _create_reset(client, reason, current, by=by, detail=detail, full=wanted, not_before=due)
        except IntegrityError:
            continue
    raise RuntimeError(
        f"the reset of client {client.pk} could not be ordered: another process keeps ordering one"
    )


def _new_id(client: Client) -> uuid.UUID:
    """An id by which the server knows its order again, also once it has lost it: half of it is a signature."""
    nonce = uuid.uuid4().bytes[:_HALF]
    return _with_variant(nonce + sign(_PURPOSE, f"{client.pk} {nonce.hex()}", _HALF))


def has_ordered(client: Client, reset_id: str) -> bool:
    """Whether this server has ordered a reset of this id for this client, be it in a history that is lost."""
    data = uuid.UUID(reset_id).bytes
    nonce, signature = data[:_HALF], data[_HALF:]
    # A UUID's variant takes two bits: which they were is tried.
    spelled = [bytes([signature[0] & 0x3F | bits, *signature[1:]]) for bits in (0x00, 0x40, 0x80, 0xC0)]
    text = f"{client.pk} {nonce.hex()}"
    return uuid.UUID(reset_id).version == 4 and any(is_signed(_PURPOSE, text, each) for each in spelled)


def _with_variant(data: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=bytes([*data[:_HALF], data[_HALF] & 0x3F | 0x80, *data[_HALF + 1 :]]))


def _is_same(current: Reset, reason: str, detail: str, full: bool) -> bool:
    if reason == ResetReason.SCHEMA_INCOMPATIBLE and current.detail != detail:
        return False
    return current.reason == reason and current.full >= full


def _create_reset(
    client: Client,
    reason: ResetReason,
    current: Reset | None,
    *,
    by: SyncUser | None,
    detail: str,
    full: bool,
    not_before: int,
) -> Reset:
    with transaction.atomic():
        if current is not None:
            Reset.objects.filter(pk=current.pk).update(replaced=now())
        reset = Reset.objects.create(
            id=_new_id(client),
            client=client,
            reason=reason,
            detail=detail,
            full=full,
            created_by=by,
            not_before=not_before,
            deadline=_deadline(not_before),
            synced=client.last_synced.aggregate(at=Max("at"))["at"] or 0,
        )
        transaction.on_commit(lambda: reset_ordered.send(sender=Reset, reset=reset))
    return reset


def _bring_forward(reset: Reset, due: int) -> None:
    if due < reset.not_before:
        reset.not_before, reset.deadline = due, _deadline(due)
        reset.save(update_fields=["not_before", "deadline"])


def renew_deadline(reset: Reset) -> None:
    """A client that comes back late still has the time that its snapshot needs: half of what it is given, at least."""
    deadline = _deadline(reset.not_before)
    if reset.deadline < (now() + deadline) // 2:
        reset.deadline = deadline
        reset.save(update_fields=["deadline"])


def _deadline(due: int) -> int:
    return max(now(), due) + int(conf.get("RESET_DEADLINE") * 1_000_000)


def mark_bootstrapped(client: Client, reset_id: str, checkpoint: int, mode: str) -> None:
    """The last page of the reset's bootstrap has been served, up to a checkpoint: the client may continue."""
    Reset.objects.filter(pk=reset_id, client=client, bootstrapped__isnull=True).update(
        bootstrapped=now(), checkpoint=checkpoint, mode=mode
    )
