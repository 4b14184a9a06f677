"""Receipts: the chain by which a client's pushes hang together, and what the last one was answered.

Every answer to a push has a receipt, which the client shows with its next call. So a server that has lost a push is
found out, and so is a store that was copied or put back: its receipt is an old one. Receipts are signed, for what a
made up one proves must not be believed. The last answer is kept whole, and repeated for a push whose answer was lost.
"""

import base64
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from django.db import models

from ..clients.client import Client
from ..clients.gate import ClientResetRequired
from ..clients.quotas import require_room_for_client
from ..clients.resets import ResetReason, order_reset
from ..feed.cursor import Cursor, encode_cursor
from ..protocol.errors import ProtocolError
from ..protocol.strict_json import dumps, loads
from ..signatures import is_signed, sign
from ..wire.schema import current_schema

#: What a receipt says of the server and the client: they are of one mind; the client has not seen the last answer; the
#: server has lost what the client was answered; the client is a copy of one that has gone on, or shows a receipt that
#: was never given to it.
Chain = Literal["current", "unanswered", "lost", "copy"]


#: Whole letters of base64, and short enough for the column.
_SIGNATURE_BYTES = 6


class LastAnswer(models.Model):
    """The answer to a client's last push: by sequence number the digest of each change and its result."""

    client = models.OneToOneField(Client, on_delete=models.CASCADE, primary_key=True, related_name="+")
    answers = models.TextField(default="{}")

    def __str__(self) -> str:
        return f"the last answer to {self.client}"


class ClientCopied(ProtocolError):
    """The store was copied, or put back to an older copy: it goes on as a client of its own, which this names."""

    status = 409
    code = "client_copied"

    def __init__(self, client: Client, cursor: Cursor | None) -> None:
        super().__init__(
            "another copy of this store has gone on: this one goes on as a client of its own, with all that it has "
            "yet to push"
        )
        self.client = client
        self.checkpoint = None if cursor is None else encode_cursor(replace(cursor, client=str(client.pk)))


def chain(client: Client, receipt: str) -> Chain:
    """What a client's newest receipt ("" before the first) proves."""
    if receipt == client.receipt:
        return "current"
    if client.pushes and receipt == client.receipt_before:
        return "unanswered"
    number = _number(client, receipt)
    return "lost" if number is not None and number >= client.pushes - 1 else "copy"


def _number(client: Client, receipt: str) -> int | None:
    """How many pushes a receipt says were answered; None where this server has not given it to this client."""
    named, _, signature = receipt.rpartition(".")
    try:
        signed = base64.b64decode(signature, altchars=b"-_", validate=True)
    except ValueError:
        return None
    if len(signed) != _SIGNATURE_BYTES or not is_signed("receipt", f"{client.pk} {named}", signed):
        return None
    return int(named.partition(".")[0])


def _new_receipt(client: Client) -> str:
    named = f"{client.pushes}.{secrets.token_hex(4)}"
    signature = base64.urlsafe_b64encode(sign("receipt", f"{client.pk} {named}", _SIGNATURE_BYTES))
    return f"{named}.{signature.decode('ascii')}"


def require_chain(client: Client, receipt: str, cursor: Cursor | None) -> None:
    """Judge a receipt, once the checkpoint is found to be of this history.

    Raises ClientResetRequired where the server has lost a push, and ClientCopied.
    """
    found = chain(client, receipt)
    if found == "lost":
        detail = "the server has lost pushes that it had answered"
        order = order_reset(client, ResetReason.HISTORY_DIVERGED, full=True, detail=detail)
        raise ClientResetRequired(order, current_schema()["hash"])
    if found == "copy":
        raise copied(client, cursor)


@contextmanager
def healing_what_was_lost(receipt: str) -> Iterator[None]:
    """Whatever reset is ordered within: where the receipt proves that the server has lost pushes, it heals the server.

    Only the reset's reason has been found before the receipt is judged.
    """
    try:
        yield
    except ClientResetRequired as order:
        reset = order.reset
        if reset.full or reset.reason == ResetReason.NOT_GENUINE or chain(reset.client, receipt) != "lost":
            raise
        full = order_reset(
            reset.client,
            ResetReason(reset.reason),
            by=reset.created_by,
            detail=reset.detail,
            full=True,
            not_before=reset.not_before,
        )
        raise ClientResetRequired(full, order.schema) from order


def copied(client: Client, cursor: Cursor | None) -> ClientCopied:
    """A client of its own for a copy of another one's store. Raises QuotaExceeded."""
    require_room_for_client(client.user)
    own = Client.objects.create(
        id=uuid.uuid4(),
        user_id=client.user_id,
        name=client.name,
        platform=client.platform,
        schema=client.schema,
        checkpoint=None if cursor is None else cursor.number,
        scopes=client.scopes,
        proof_given="" if cursor is None else cursor.proof_text,
        copy_of=client,
    )
    return ClientCopied(own, cursor)


def answered_before(client: Client) -> dict[int, tuple[str, dict[str, Any]]]:
    """The digests and the results of the client's last push, by sequence number."""
    kept = LastAnswer.objects.filter(client=client).values_list("answers", flat=True).first()
    if kept is None:
        return {}
    return {int(seq): (digest, result) for seq, (digest, result) in loads(kept.encode("ascii")).items()}


def keep_answer(client: Client, digests: Mapping[int, str], results: Sequence[Mapping[str, Any]]) -> str:
    """Remember the answer to a push in the place of the one before. Returns its receipt."""
    answers = {str(result["seq"]): [digests[result["seq"]], result] for result in results}
    LastAnswer.objects.update_or_create(client=client, defaults={"answers": dumps(answers)})
    client.pushes += 1
    client.receipt_before, client.receipt = client.receipt, _new_receipt(client)
    return client.receipt
