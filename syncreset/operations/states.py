"""The states of clients and of uploads: one definition each, for counts, lists and filters alike."""

from typing import Any

from django.db.models import Case, CharField, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When

from ..clients.resets import Reset
from ..feed.checkpoints import Checkpoint
from ..protocol.clock import now
from ..recovery.job import Recovery
from ..wire.schema import current_schema

#: A client is in the first of these states that fits.
CLIENT_STATES = {
    "reset": "reset ordered",
    "scheduled": "reset scheduled",
    "silent": "silent",
    "never": "never synced",
    "old_schema": "old schema",
    "behind": "behind",
    "current": "up to date",
}
#: Of uploads that something may still become of, and of all.
OPEN_UPLOAD_STATES = ("receiving", "expired", "refused", "waiting")
UPLOAD_STATES = (*OPEN_UPLOAD_STATES, "recovered", "purged")

#: After how many days without a word a client is silent, unless somebody asks for another number.
SILENT_DAYS = 30

_DAY = 24 * 60 * 60 * 1_000_000


def newest_checkpoint() -> Subquery:
    """The number of the feed's newest checkpoint, as a column."""
    return Subquery(Checkpoint.objects.order_by("-number").values("number")[:1])


def with_client_state(clients: "QuerySet[Any]", *, silent_days: int = SILENT_DAYS) -> "QuerySet[Any]":
    """Clients with their state, a key of `CLIENT_STATES`, as ``state``, in one query."""
    at = now()
    open_reset = Reset.objects.open().filter(client=OuterRef("pk"))
    annotated: QuerySet[Any] = clients.annotate(
        state=Case(
            When(Exists(open_reset.filter(not_before__lte=at)), then=Value("reset")),
            When(Exists(open_reset), then=Value("scheduled")),
            When(last_seen__lt=at - silent_days * _DAY, then=Value("silent")),
            When(checkpoint__isnull=True, then=Value("never")),
            When(~Q(schema__in=["", current_schema()["hash"]]), then=Value("old_schema")),
            When(checkpoint__lt=newest_checkpoint(), then=Value("behind")),
            default=Value("current"),
            output_field=CharField(),
        )
    )
    return annotated


def with_upload_state(uploads: "QuerySet[Any]") -> "QuerySet[Any]":
    """Uploads with their state, one of `UPLOAD_STATES`, as ``state``, in one query."""
    whole = Q(offset=F("length"))
    annotated: QuerySet[Any] = uploads.annotate(
        state=Case(
            When(purged__isnull=False, then=Value("purged")),
            When(Exists(Recovery.objects.filter(upload=OuterRef("pk"))), then=Value("recovered")),
            When(whole & ~Q(refused=""), then=Value("refused")),
            When(whole, then=Value("waiting")),
            When(expires__lt=now(), then=Value("expired")),
            default=Value("receiving"),
            output_field=CharField(),
        )
    )
    return annotated
