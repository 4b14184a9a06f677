"""Server-sent events as they arrive: from bytes to the names of events. Knows no network."""

import re

from ..errors import ProtocolViolation

#: Bytes of one line. The server's own have less than thirty.
LONGEST_LINE = 8192

#: Seconds that a server may ask to wait before the next connect.
LONGEST_RETRY = 600.0

_END_OF_LINE = re.compile(rb"\r\n|\r|\n")
_MARK = b"\xef\xbb\xbf"


class EventParser:
    """The parser of one stream. It keeps the start of one line, and of an event nothing but its name."""

    def __init__(self) -> None:
        #: Seconds after which the server wants its clients to connect again, if it said so.
        self.retry: float | None = None
        self._rest = b""
        self._after_return = False
        self._begun = False
        self._name = ""
        self._has_data = False

    def feed(self, chunk: bytes) -> list[str]:
        """The names of the events that these bytes complete. Raises ProtocolViolation for a line without an end."""
        if not chunk:
            return []
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        *lines, self._rest = _END_OF_LINE.split(self._rest + chunk)
        if any(len(line) > LONGEST_LINE for line in (*lines, self._rest)):
            raise ProtocolViolation(f"a line of the server's events is longer than {LONGEST_LINE} bytes")
        names = []
        for line in lines:
            if not self._begun:
                line = line.removeprefix(_MARK)
                self._begun = True
            if line:
                self._take(line)
            else:
                names += [self._name or "message"] if self._has_data else []
                self._name, self._has_data = "", False
        return names

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"data":
            self._has_data = True
        elif field == b"retry" and value.isdigit():
            self.retry = min(int(value) / 1000, LONGEST_RETRY)
