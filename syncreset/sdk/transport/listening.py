"""An open ``GET /events``: waits for pokes, and can be interrupted from another thread."""

import socket
from contextlib import suppress

import httpx

from ..errors import ServerUnavailable
from .event_stream import EventParser

POKE = "poke"


class Listening:
    """The stream of one response. ``interrupt`` is for any thread, all else for one."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.iter_bytes()
        self._parser = EventParser()

    @property
    def retry(self) -> float | None:
        """Seconds after which the server wants its clients to connect again, if it said so."""
        return self._parser.retry

    def wait(self) -> bool:
        """Wait for a poke. Returns False at the end of the stream.

        Raises ServerUnavailable where the connection breaks or is silent for too long, and ProtocolViolation for what
        is no stream of events.
        """
        try:
            for chunk in self._chunks:
                if POKE in self._parser.feed(chunk):
                    return True
        except httpx.HTTPError as error:
            raise ServerUnavailable(f"GET {self._response.url.path}: {error!r}") from error
        return False

    def interrupt(self) -> None:
        """Make ``wait`` end. A connection that other requests share is left alone: there it ends with the next line."""
        network = self._response.extensions.get("network_stream")
        connected = None if network is None else network.get_extra_info("socket")
        if self._response.http_version == "HTTP/1.1" and isinstance(connected, socket.socket):
            # The plain socket's method, for that of a TLS socket would take away what another thread reads from.
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def close(self) -> None:
        self._response.close()
