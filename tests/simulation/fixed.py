"""Time and chance of a schedule: both come from its seed alone, so that a seed is one schedule for good."""

import os
import random
import secrets
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

SECOND = 1_000_000
DAY = 24 * 60 * 60 * SECOND

#: The moment (µs) at which every schedule begins.
BEGINNING = 1_795_000_000 * SECOND

#: The Julian day of the Unix epoch.
_EPOCH = 2440587.5


class Clock:
    """The world's time (µs). Whoever looks at it sees it ``skew`` later, and it moves on a little."""

    def __init__(self) -> None:
        self.time, self.skew = BEGINNING, 0

    def look(self) -> int:
        self.time += 137
        return self.time + self.skew

    def pass_by(self, microseconds: int) -> None:
        self.time += microseconds

    @contextmanager
    def seen_with(self, skew: int) -> Iterator[None]:
        """Within, the clock of somebody whose own is wrong by so much."""
        before, self.skew = self.skew, skew
        try:
            yield
        finally:
            self.skew = before


class Fixed:
    """Puts a clock and a source of chance in the place of those of the process, also within SQLite."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock, self.chance = Clock(), random.Random(0)
        connect = sqlite3.connect

        def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
            opened: sqlite3.Connection = connect(*arguments, **options)
            self._teach(opened)
            return opened

        patch.setattr(sqlite3, "connect", connected)
        patch.setattr(time, "time_ns", lambda: self.clock.look() * 1_000)
        patch.setattr(os, "urandom", self._bytes)
        patch.setattr(random, "_urandom", self._bytes)
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=self._bytes(16), version=4))
        patch.setattr(secrets, "token_hex", lambda size=16: self._bytes(size).hex())
        patch.setattr(secrets, "randbelow", self.chance.randrange)
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            self._teach(connection.connection)

    def begin(self, seed: int) -> None:
        """From here on everything is as at the beginning of the schedule."""
        self.clock.time, self.clock.skew = BEGINNING, 0
        self.chance.seed(seed)

    def _bytes(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def _teach(self, opened: sqlite3.Connection) -> None:
        opened.create_function("julianday", 1, lambda _: _EPOCH + self.clock.look() / DAY)
        opened.create_function("randomblob", 1, self._bytes)
        opened.create_function("random", 0, lambda: self.chance.getrandbits(63))
