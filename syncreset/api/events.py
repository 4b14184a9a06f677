"""``GET /events``: server-sent events that say "pull now", and nothing else. A lost one costs nothing."""

import weakref
from functools import partial

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from .. import conf
from ..clients.scopes import scopes_of
from ..events.hub import Listener, hub
from ..events.streams import async_stream, blocking_stream
from .views import SyncView, user_of


class EventsView(SyncView):
    """``GET /events``: a poke whenever something changes in the user's scopes.

    Who asks is found out in a thread, as for every call. Under ASGI the stream itself holds none; under WSGI it does,
    so there are few.
    """

    def get(self, request: Request) -> StreamingHttpResponse:
        user = user_of(request)
        threads = _threads(request)
        listener = Listener(user.pk, scopes_of(user))
        hub.join(listener, of_user=conf.get("EVENTS_PER_USER"), in_all=threads)
        stream = blocking_stream if threads is not None else async_stream
        seconds = conf.get("EVENTS_SECONDS")
        response = StreamingHttpResponse(
            stream(hub, listener, partial(scopes_of, user), seconds=seconds), content_type="text/event-stream"
        )
        # A client may go before its stream has begun.
        weakref.finalize(response, hub.leave, listener)
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        # Compressed, a poke would wait for others.
        response["Content-Encoding"] = "identity"
        return response


def _threads(request: Request) -> int | None:
    """How many streams may hold a thread of this process; None where they hold none."""
    if isinstance(request._request, ASGIRequest):
        return None
    streams: int = conf.get("EVENTS_THREADS")
    return streams if request._request.META.get("wsgi.multithread") else 0
