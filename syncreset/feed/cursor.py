"""The opaque checkpoint that clients carry: a point of the feed, and how far a pull has got on its way there.

It is signed, and it is of one client: a client that could name scopes itself would be told which rows they hold, as
rows it has lost, and one that could make up a history would have the server heal itself from it.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ..protocol.errors import Malformed
from ..protocol.strict_json import dumps, loads
from ..signatures import is_signed, sign

#: An entry id after which nothing of a checkpoint is left.
WHOLE = 2**63 - 1

_PURPOSE = "feed.cursor"
_SIGNATURE_BYTES = 16
#: That many bytes in base64 without padding.
_SIGNATURE_LENGTH = 22

Phase = Literal["feed", "drop", "gone", "load"]


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What a client has: everything of ``scopes`` up to entry ``entry`` of checkpoint ``number``: its position.

    The proof is another checkpoint, which was committed after what the client has was read: a history that holds it
    holds all that the client was given, and all that it was answered until then.

    While scopes change, ``phase`` is ``drop`` (rows of the ``lost`` scopes are being removed, after ``pk`` of
    ``model``), ``gone`` (then what was there before and is gone) or ``load`` (rows of the ``gained`` scopes are being
    read from the tables, after ``pk`` of ``model``).
    """

    #: The id of the client that it was given to.
    client: str
    #: The history that it is of.
    epoch: str
    number: int
    #: The number of the checkpoint that is the proof, and what tells it from another one of its number.
    proof: int
    salt: str
    entry: int = WHOLE
    scopes: tuple[str, ...] = ()
    phase: Phase = "feed"
    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    model: str = ""
    pk: str = ""
    #: The reset whose bootstrap it is.
    reset: str | None = None
    #: How many rows were still to be loaded, as counted when loading began.
    remaining: int | None = None
    #: The id of the last entry served of those that are walked by id: what is gone, and what has no number yet. Of the
    #: latter ``mark`` tells whether what was served still stands.
    last: int = 0
    mark: str = ""
    #: Whether the text that it was decoded from bears this server's signature. Else nothing in it proves anything.
    genuine: bool = True

    @property
    def proof_text(self) -> str:
        """The proof as one text, to be kept and compared."""
        return f"{self.proof}.{self.salt}"

    def is_of(self, client: object) -> bool:
        """Whether it is a checkpoint that this server has given to this client."""
        return self.genuine and self.client == str(client)


def everything(scopes: Iterable[str]) -> Cursor:
    """Where somebody is who looks at the server itself. It is given to no client."""
    return Cursor(client="", epoch="", number=WHOLE, proof=0, salt="", scopes=tuple(scopes))


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as the wire's opaque text."""
    parts: list[Any] = [
        3,
        cursor.client,
        cursor.epoch,
        cursor.number,
        cursor.proof,
        cursor.salt,
        cursor.entry,
        list(cursor.scopes),
    ]
    if cursor.phase != "feed" or cursor.reset is not None or cursor.last:
        parts += [cursor.phase, list(cursor.lost), list(cursor.gained), cursor.model, cursor.pk, cursor.reset]
        parts += [cursor.remaining, cursor.last, cursor.mark]
    text = dumps(parts)
    return _base64(text.encode("ascii")) + "." + _base64(sign(_PURPOSE, text, _SIGNATURE_BYTES))


def decode_cursor(text: object) -> Cursor:
    """The cursor of an opaque text. Raises Malformed: a client must return what it was given, unchanged."""
    if not isinstance(text, str):
        raise Malformed("the checkpoint is neither a string nor null", code="invalid_checkpoint")
    try:
        encoded, _, signature = text.partition(".")
        if len(signature) != _SIGNATURE_LENGTH:
            raise ValueError("no signature")
        data = _bytes(encoded)
        return replace(
            _cursor(loads(data)), genuine=is_signed(_PURPOSE, data.decode("utf-8"), _bytes(signature))
        )
    except (binascii.Error, ValueError, TypeError, Malformed) as error:
        raise Malformed(
            "the checkpoint is not one that this server has given", code="invalid_checkpoint"
        ) from error


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes:
    """The bytes of base64 without padding. Raises ValueError where it is not in its one spelling."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _base64(data) != text:
        raise ValueError("not the one spelling")
    return data


def _cursor(parts: Any) -> Cursor:
    if not isinstance(parts, list) or len(parts) not in (8, 17) or parts[0] != 3:
        raise ValueError("not a cursor")
    _, client, epoch, number, proof, salt, entry, scopes, *rest = parts
    phase, lost, gained, model, pk, reset, remaining, last, mark = rest or (
        *("feed", [], [], "", "", None),
        *(None, 0, ""),
    )
    return Cursor(
        client=_text(client),
        epoch=_text(epoch),
        number=_number(number),
        proof=_number(proof),
        salt=_text(salt),
        entry=_number(entry),
        scopes=_texts(scopes),
        phase=_phase(phase),
        lost=_texts(lost),
        gained=_texts(gained),
        model=_text(model),
        pk=_text(pk),
        reset=None if reset is None else _text(reset),
        remaining=None if remaining is None else _number(remaining),
        last=_number(last),
        mark=_text(mark),
    )


def towards(cursor: Cursor, scopes: frozenset[str]) -> Cursor:
    """The cursor, about to drop scopes that the user has lost and to load those gained."""
    if cursor.phase != "feed":
        return cursor
    lost, gained = set(cursor.scopes) - scopes, scopes - set(cursor.scopes)
    if not lost and not gained:
        return cursor
    return replace(
        cursor,
        phase="drop" if lost else "load",
        lost=tuple(sorted(lost)),
        gained=tuple(sorted(gained)),
        model="",
        pk="",
        last=0,
        mark="",
    )


def _phase(value: Any) -> Phase:
    for phase in get_args(Phase):
        if value == phase:
            return phase  # type: ignore[no-any-return]
    raise ValueError("no such phase")


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value or not value.isprintable():
        raise ValueError("not a text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= WHOLE:
        raise ValueError("not a number")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError("not a list")
    return tuple(_text(value) for value in values)
