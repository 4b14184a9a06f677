"""Real HTTP servers on the database of the running test, and ears that listen to their events."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from demo_project import services

PATH = "/sync/v1/"


class Deaf(Exception):
    """The ear did not hear what it waited for."""


@contextmanager
def threaded_server(
    *, log: Path, env: dict[str, str], threads: int, worker: str = "gthread", port: int | None = None
) -> Iterator[services.Service]:
    """Gunicorn with one process on the tests' project."""
    port = port or services.free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "tests.wsgi:application"),
        *("--bind", f"{services.HOST}:{port}"),
        *("--worker-class", worker),
        *("--threads", str(threads)),
        *("--timeout", "120"),
        *("--graceful-timeout", "1"),
        "--no-control-socket",
    ]
    with services.answering("gunicorn", command, log=log, env=env, port=port) as service:
        yield service


class Ear:
    """One `GET /events`, from its first bytes on. A socket, so that it can be left as a lost device leaves it."""

    def __init__(self, url: str, token: str | None, *, prefix: str = PATH, headers: str = "") -> None:
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname or "", place.port or 80), timeout=120)
        authorization = "" if token is None else f"Authorization: Token {token}\r\n"
        self._socket.sendall(
            f"GET {prefix}events HTTP/1.1\r\nHost: {place.netloc}\r\n{authorization}{headers}\r\n".encode()
        )
        self.heard = b""
        self.read_until(lambda: b"\r\n\r\n" in self.heard)
        head, _, self.heard = self.heard.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(": ") for line in lines)
        self.headers = {name.lower(): value for name, _, value in pairs}
        wanted = b"retry:" if self.status == 200 else b"}"
        self.read_until(lambda: wanted in self.heard)

    @property
    def pokes(self) -> int:
        return self.heard.count(b"event: poke")

    def wait_for_pokes(self, count: int, seconds: float = 120) -> Self:
        return self.read_until(lambda: self.pokes >= count, seconds)

    def read_until(self, heard: Callable[[], bool], seconds: float = 120) -> Self:
        """Read on until that was heard. Raises Deaf."""
        deadline = time.monotonic() + seconds
        while not heard():
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError as error:
                raise Deaf(f"heard {self.heard!r}") from error
            if not chunk:
                raise Deaf(f"the stream ended: {self.heard!r}")
            self.heard += chunk
        return self

    def read_to_end(self, seconds: float = 120) -> bytes:
        """Read until the server ends the answer."""
        return self.read_until(lambda: self.heard.endswith(b"0\r\n\r\n"), seconds).heard

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
