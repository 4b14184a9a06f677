"""What a stream sends: for event loops, and for threads. Both free what they hold when they end or are closed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import DatabaseError, connections

from .hub import Hub, Listener

logger = logging.getLogger(__name__)

HELLO = b"retry: 2000\n\n"
POKE = b"event: poke\ndata: {}\n\n"
STILL_HERE = b": still here\n\n"

#: Seconds after which a silent stream says that it is there, and after which a user's scopes are asked for anew.
KEEP_ALIVE, RESCOPE = 10.0, 60.0

#: Asks for the scopes of all streams of this process in turn, so that they need one connection to the database.
_asker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="syncreset-scopes")

Scopes = Callable[[], frozenset[str]]


async def async_stream(
    hub: Hub, listener: Listener, scopes: Scopes, *, seconds: float
) -> AsyncIterator[bytes]:
    """The stream of a listener in an event loop. It holds neither a thread nor a connection to the database."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    listener.wake_by(partial(loop.call_soon_threadsafe, woken.set))
    try:
        await sync_to_async(close_connections)()
        _release_thread()
        yield HELLO
        end, rescope = loop.time() + seconds, loop.time() + RESCOPE
        while (left := end - loop.time()) > 0 and not listener.over:
            try:
                async with asyncio.timeout(min(KEEP_ALIVE, left)):
                    await woken.wait()
            except TimeoutError:
                yield STILL_HERE
            else:
                woken.clear()
                if listener.wait(0) and not listener.over:
                    yield POKE
            if loop.time() >= rescope:
                rescope = loop.time() + RESCOPE
                if not await loop.run_in_executor(_asker, _rescope, hub, listener, scopes):
                    return
    finally:
        hub.leave(listener)


def blocking_stream(hub: Hub, listener: Listener, scopes: Scopes, *, seconds: float) -> Iterator[bytes]:
    """The stream of a listener in a thread, which it holds until it ends."""
    try:
        close_connections()
        yield HELLO
        end, rescope = time.monotonic() + seconds, time.monotonic() + RESCOPE
        while (left := end - time.monotonic()) > 0 and not listener.over:
            touched = listener.wait(min(KEEP_ALIVE, left))
            if not listener.over:
                yield POKE if touched else STILL_HERE
            if time.monotonic() >= rescope:
                rescope = time.monotonic() + RESCOPE
                if not _rescope(hub, listener, scopes):
                    return
    finally:
        hub.leave(listener)


def close_connections() -> None:
    """Close this thread's connections to the databases, apart from those with an open transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _rescope(hub: Hub, listener: Listener, scopes: Scopes) -> bool:
    """Ask for the scopes anew. Returns False where they cannot be had: the stream ends, and the client comes back."""
    try:
        hub.rescope(listener, scopes())
    except DatabaseError as error:
        logger.warning("the scopes of a listener could not be read: %s", type(error).__name__)
        return False
    finally:
        close_connections()
    return True


def _release_thread() -> None:
    """Give back the thread that Django's ASGI handler keeps for a request's synchronous code until the response ends.

    It is idle while the stream lasts. What needs one afterwards gets another.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(context, "_executor", None) is not None:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if isinstance(executor, ThreadPoolExecutor):
        executor.shutdown(wait=False)
