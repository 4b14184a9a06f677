"""``GET /events``: server-sent events that say "pull now", and nothing else. A lost one costs nothing."""

import time
from collections.abc import Callable, Iterator

from django.http import StreamingHttpResponse
from rest_framework.request import Request

from .. import conf
from ..clients.scopes import scopes_of
from ..feed.checkpoints import stamp_portions
from ..feed.entries import has_entries_after
from .views import SyncView, user_of

#: Seconds between two looks at the feed.
PAUSE = 1.0

POKE = b"event: poke\ndata: {}\n\n"
STILL_HERE = b": still here\n\n"


class EventsView(SyncView):
    """``GET /events``: a poke whenever something changes in the user's scopes."""

    def get(self, request: Request) -> StreamingHttpResponse:
        scopes = scopes_of(user_of(request))
        response = StreamingHttpResponse(
            pokes(scopes, seconds=conf.get("EVENTS_SECONDS")), content_type="text/event-stream"
        )
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response


def pokes(
    scopes: frozenset[str], *, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[bytes]:
    """The stream for a user's scopes: a poke after each change, else a comment that keeps the connection open.

    It ends after ``seconds``, for it holds a thread of the server; a browser's ``EventSource`` comes back by itself.
    """
    seen = stamp_portions().newest.number
    yield b"retry: 1000\n\n"
    for _ in range(max(1, int(seconds / PAUSE))):
        sleep(PAUSE)
        newest = stamp_portions().newest.number
        changed = newest > seen and has_entries_after(seen, scopes)
        seen = newest
        yield POKE if changed else STILL_HERE
