"""The conversation with the server apart from resets: greeting, pushing, pulling. Generators of requests."""

import platform
from collections.abc import Callable, Mapping
from typing import Any

from ...protocol import PROTOCOL_VERSION
from ...protocol.clock import now
from ...protocol.strict_json import dumps
from ..errors import ClientResetOrdered, ProblemReceived, ProtocolViolation, ServerUnavailable
from ..store.schema import only_adds, parse_schema
from ..store.store import Store
from ..transport.messages import Exchange, call, member
from . import answers, outbox, pulled
from .outbox import Frozen
from .reach import came_through, reach, was_lost
from .tally import Tally

#: What is asked for at once, unless the server's limits are lower: rows and bytes of a page.
PAGE, PAGE_BYTES = 1000, 4 * 1024**2

#: What is sent at once, unless the server's limits are lower: changes and bytes.
CHANGES, BODY = 1000, 4 * 1024**2

#: How often one sync pushes and pulls while the app goes on writing.
ROUNDS = 5


def greet(store: Store, *, after: float = 0.0) -> Exchange[None]:
    """After so many seconds: measure the clock, fit the tables to the schema, make the client known to the server."""
    asked = now() + int(after * 1_000_000)
    hello = yield from call("GET", "", after=after)
    _measure(store, hello, asked)
    minimum = member(hello, "minimum_protocol", int, PROTOCOL_VERSION)
    if minimum > PROTOCOL_VERSION:
        raise ProtocolViolation(f"the server asks for protocol {minimum}; update syncreset")
    limits, schema = member(hello, "limits", dict, {}), member(hello, "schema", str)
    for name in ("changes", "page", "page_bytes", "body"):
        member(limits, name, int, 1)
    with store.transaction():
        store.put(limits=limits, retention=member(hello, "retention", int, 0))
    if schema != store.schema.hash:
        yield from _renew_schema(store)
    if not store.get("registered"):
        yield from _register(store)


def _measure(store: Store, answer: Mapping[str, Any], asked: int) -> None:
    if "server_time" in answer:
        store.measure(member(answer, "server_time", int), asked=asked, answered=now())


def _renew_schema(store: Store) -> Exchange[None]:
    """Adopt a schema that only adds. Any other is left to the server, which orders a reset."""
    schema = parse_schema((yield from call("GET", "schema")))
    if not only_adds(store.schema, schema):
        return
    with store.applying():
        if store.schema.hash:
            pulled.bootstrap_again(store)
        store.adopt_schema(schema)


def _register(store: Store) -> Exchange[None]:
    body = {
        "client": store.get("client"),
        "name": store.get("name") or platform.node(),
        "platform": f"Python {platform.python_version()} on {platform.system()}",
        "schema": store.schema.hash,
    }
    answer = yield from call("POST", "clients", body)
    with store.transaction():
        store.put(client=member(answer, "client", str), registered=True)


def push_and_pull(store: Store, tally: Tally) -> Exchange[None]:
    """Push what is pending and pull what is new, again where the app has gone on writing meanwhile.

    Where another copy of this store has started over, what this one has frozen is pending again before it pulls: of
    what is in a pulled value only an answer can tell.
    """
    for left in reversed(range(ROUNDS)):
        before = tally.pushed
        try:
            yield from _push(store, tally)
        except ProblemReceived as problem:
            if problem.code != "overtaken" or not left:
                raise
            outbox.take_back_unsent(store)
            yield from pull(store, tally)
            continue
        yield from pull(store, tally)
        waiting = store.pending_count() or outbox.unsent(store, count=1, size=1)
        if not waiting or (tally.pushed == before and left < ROUNDS - 1):
            return


def _push(store: Store, tally: Tally) -> Exchange[None]:
    """Send what was frozen before and then what is pending now.

    What is sent for the first time and answered with an order to reset has not been taken: it is pending as before.
    """
    yield from _send_all(store, tally, again=True)
    if outbox.freeze(store):
        try:
            yield from _send_all(store, tally, again=False)
        except ClientResetOrdered:
            outbox.take_back_unsent(store, refused=True)
            raise


def _send_all(store: Store, tally: Tally, *, again: bool) -> Exchange[None]:
    limits = store.get("limits", {})
    most, size = limits.get("changes", CHANGES), limits.get("body", BODY) - 10_000
    count, before = reach(store, "push", most), tally.pushed
    while batch := outbox.unsent(store, count=count, size=max(size, 1)):
        unseen = False
        try:
            answer = yield from _send(store, batch, again=again)
        except ServerUnavailable as unavailable:
            if unavailable.status is None:
                was_lost(store, "push", len(batch))
            if unavailable.status != 413 or len(batch) == 1:
                raise
            count = len(batch) // 2  # a proxy takes less than the server
            continue
        except ProblemReceived as problem:
            if problem.status not in (400, 413):
                raise
            if len(batch) > 1:
                count = len(batch) // 2
                continue
            answer, unseen = (yield from _refused(store, batch[0], problem)), True
        results = _results(answer)
        done = [frozen for frozen in batch if frozen.seq in results]
        if not done:
            raise ProtocolViolation("the server answered a push with no result for any of its changes")
        with store.applying():
            answers.take_results(store, done, results)
            if unseen:
                outbox.forget(store, batch[0])
            else:
                store.put(receipt=member(answer, "receipt", str))
        tally.pushed += len(done)
        for frozen in done:
            state = results[frozen.seq]["state"]
            tally.results[state] = tally.results.get(state, 0) + 1
    if tally.pushed > before:
        came_through(store, "push")


def _results(answer: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The results of a push by sequence number."""
    results: dict[int, Mapping[str, Any]] = {}
    for result in member(answer, "results", list):
        results[member(result, "seq", int)] = result
        member(result, "state", str)
        for name in ("problem", "clocks"):
            member(result, name, dict, {})
        if result.get("row") is not None:
            pulled.check_row(result["row"])
    return results


def _send(store: Store, batch: list[Frozen], *, again: bool) -> Exchange[dict[str, Any]]:
    asked = now()
    head = dumps(
        {
            "client": store.get("client"),
            "schema": store.schema.hash,
            "checkpoint": store.get("checkpoint"),
            "receipt": store.get("receipt") or "",
            "again": again,
            "client_time": store.corrected_now(),
        }
    )
    body = head[:-1] + ',"changes":[' + ",".join(frozen.body for frozen in batch) + "]}"
    answer = yield from call("POST", "push", body.encode("ascii"))
    _measure(store, answer, asked)
    return answer


def _refused(store: Store, frozen: Frozen, problem: ProblemReceived) -> Exchange[dict[str, Any]]:
    """One change that no request can carry counts as rejected, so that the queue goes on.

    If a push without any change fails as well, the change is not to blame, and the problem is raised.
    """
    try:
        yield from _send(store, [], again=False)
    except ClientResetOrdered:
        raise
    except ProblemReceived as other:
        raise problem from other
    with store.transaction():
        pulled.bootstrap_again(store)
    return {
        "results": [
            {
                "seq": frozen.seq,
                "state": "rejected",
                "problem": {"code": problem.code, "detail": problem.detail},
            }
        ],
    }


def pull(
    store: Store,
    tally: Tally,
    *,
    reset: str | None = None,
    mode: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exchange[None]:
    """Pull until there is no more, into the staging area, and commit.

    With ``reset``: that reset's bootstrap, and ``mode`` says what becomes of the backup. ``progress`` is called after
    each page but the last, with how many rows have come and how many there are about.
    """
    committed = None if reset is not None or store.get("bootstrap_again") else store.get("checkpoint")
    staged = store.get("staged_checkpoint")
    checkpoint = staged or committed
    received = 0
    while True:
        asked = now()
        try:
            page = yield from _ask_for_page(store, checkpoint, reset, mode)
        except ProblemReceived as problem:
            if problem.status != 400 or staged is None:
                raise
            pulled.discard_staged(store)
            staged, checkpoint = None, committed
            continue
        _measure(store, page, asked)
        changes, checkpoint = member(page, "changes", list), member(page, "checkpoint", str)
        more, acked = member(page, "more", bool), member(page, "acked", int)
        scopes, server_time = member(page, "scopes", list, []), member(page, "server_time", int)
        pulled.stage(store, changes, checkpoint)
        received += len(changes)
        if not more:
            break
        if progress is not None and "remaining" in page:
            progress(received, received + member(page, "remaining", int))
    if received:
        came_through(store, "pull")
        came_through(store, "bytes")
    pulled.commit(
        store,
        checkpoint=checkpoint,
        scopes=scopes,
        acked=acked,
        synced_at=server_time,
        bootstrap=committed is None,
        before=server_time - store.get("retention", 0) * 1_000_000,
        receipt=None if reset is None else member(page, "receipt", str),
    )
    tally.pulled += received


def _ask_for_page(
    store: Store, checkpoint: str | None, reset: str | None, mode: str | None
) -> Exchange[dict[str, Any]]:
    """The page after a checkpoint, as large as the link carries. Where its answer is lost, the next one is smaller."""
    limits = store.get("limits", {})
    rows = reach(store, "pull", min(PAGE, limits.get("page", PAGE)))
    size = reach(store, "bytes", min(PAGE_BYTES, limits.get("page_bytes", PAGE_BYTES)))
    body = {
        "client": store.get("client"),
        "schema": store.schema.hash,
        "checkpoint": checkpoint,
        "receipt": store.get("receipt") or "",
        "limit": rows,
        "max_bytes": size,
        "pending": store.pending_count(),
    }
    if reset is not None:
        body |= {"reset": reset, "mode": mode}
    if checkpoint is None:
        body["held"] = store.get("checkpoint")
    try:
        return (yield from call("POST", "pull", body))
    except ServerUnavailable as unavailable:
        if unavailable.status is None:
            was_lost(store, "pull", rows)
            was_lost(store, "bytes", size)
        raise
