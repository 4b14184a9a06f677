"""Redis: where processes tell each other what was written and touched, and elect the one that looks at the feed.

PostgreSQL's LISTEN would do the same, but for SQLite, for poolers in transaction mode, and at the price of a connection
that each process keeps.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import redis
from django.db import connection
from django.utils.crypto import salted_hmac
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError
from redis.retry import Retry

from .look import NOTHING, Seen, Touched

#: Seconds that the one that looks is believed without a sign of life, and that what it has seen is remembered.
LEASE, MEMORY = 5.0, 60

#: Seconds that Redis may take to answer.
_PATIENCE = 2.0


class BrokerLost(Exception):
    """Redis does not answer as it should."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What was heard: that something was written, or which scopes were touched."""

    written: bool = False
    touched: Touched = NOTHING


class Broker:
    """One process's subscription. A context manager; for one thread. All of it raises BrokerLost."""

    def __init__(self, url: str) -> None:
        name = names()
        self._written, self._touched, self._seen = f"{name}:written", f"{name}:touched", f"{name}:seen"
        with _answering():
            self._client = connect(url, patience=_PATIENCE)
            self._election = self._client.lock(f"{name}:looks", timeout=LEASE, thread_local=False)
            self._subscription = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._leads = False

    def __enter__(self) -> Self:
        with _answering():
            self._subscription.subscribe(self._touched)
            deadline = time.monotonic() + _PATIENCE
            while self._subscription.get_message(timeout=0.1) is None:
                if time.monotonic() > deadline:
                    raise BrokerLost("it does not confirm the subscription")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._leads and kind is None:
                # Another one may have been elected meanwhile.
                with _answering(), suppress(LockError):
                    self._election.release()
        finally:
            self._subscription.close()
            self._client.close()

    def hear(self, *, timeout: float) -> Heard:
        """What comes within so many seconds, and within one at most; nothing where nothing does."""
        with _answering():
            message = self._subscription.get_message(timeout=min(timeout, 1.0))
        if message is None:
            return Heard()
        channel, kind, data = _text(message["channel"]), message["type"], message["data"]
        if channel == self._written:
            return Heard(written=kind == "message")
        # A second confirmation: the connection was lost and is there again, and nobody knows what was told meanwhile.
        return Heard(touched=_scopes(data) if kind == "message" else None)

    def leads(self) -> bool:
        """Whether this process is the one that looks at the feed. Renews the lease, or asks for one that is free."""
        with _answering():
            try:
                if self._leads:
                    self._election.reacquire()
                elif self._election.acquire(blocking=False):
                    self._leads = True
                    self._subscription.subscribe(self._written)
            except LockError:
                self._leads = False
                self._subscription.unsubscribe(self._written)
        return self._leads

    def remember(self, seen: Seen) -> None:
        """Note up to where was looked, unless somebody has noted it already."""
        with _answering():
            self._client.set(self._seen, _written(seen), nx=True, ex=MEMORY)

    def note(self, seen: Seen) -> None:
        """Note up to where was looked, for whoever looks next."""
        with _answering():
            self._client.set(self._seen, _written(seen), ex=MEMORY)

    def remembered(self) -> Seen | None:
        """Up to where was looked; None where Redis has forgotten it."""
        with _answering():
            number, _, salt = _text(self._client.get(self._seen)).partition(" ")
        return Seen(int(number), salt) if number.isdecimal() else None

    def tell(self, touched: Touched) -> None:
        """Tell every process which scopes were touched."""
        with _answering():
            self._client.publish(self._touched, json.dumps(None if touched is None else sorted(touched)))


class Announcer:
    """Tells whoever looks at the feed that something was written. For any thread. Raises BrokerLost."""

    def __init__(self, url: str) -> None:
        self.url = url
        with _answering():
            self._client = connect(url, patience=0.5)

    def announce(self) -> None:
        with _answering():
            self._client.publish(f"{names()}:written", b"")


def connect(url: str, *, patience: float) -> redis.Redis:
    """A client that gives up after so many seconds, and tries a connection that was lost once more."""
    return redis.Redis.from_url(
        url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 1)
    )


def names() -> str:
    """What the channels and keys of this project and database begin with: a Redis may serve several."""
    database = connection.settings_dict
    place = "|".join(str(database.get(part, "")) for part in ("HOST", "PORT", "NAME"))
    return f"syncreset:{salted_hmac('syncreset.events', place).hexdigest()[:16]}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (RedisError, ValueError, OSError) as error:
        raise BrokerLost(f"{type(error).__name__}: {error}") from error


def _written(seen: Seen) -> str:
    return f"{seen.number} {seen.salt}"


def _scopes(data: object) -> Touched:
    try:
        scopes = json.loads(_text(data))
    except ValueError:
        return None
    if not isinstance(scopes, list):
        return None
    return frozenset(scope for scope in scopes if isinstance(scope, str))


def _text(data: object) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)
