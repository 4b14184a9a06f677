"""The endpoints of sync: what there is, clients, pull, push, and how resets and recoveries fare."""

import uuid
from typing import Any

from django.db import transaction
from django.http import Http404
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .. import conf
from ..apply.context import Context
from ..clients.client import Client, ClientForbidden, SyncUser, find_client
from ..clients.quotas import require_room_for_client
from ..clients.resets import Reset
from ..clients.scopes import scopes_of
from ..feed.checkpoints import feed_state
from ..feed.cursor import everything
from ..ledger.item import Item, ItemState
from ..ledger.shown import items_as_wire
from ..protocol import PROTOCOL_VERSION
from ..protocol.clock import now
from ..protocol.errors import Malformed
from ..recovery.job import Recovery, RecoveryKind
from ..recovery.reset_state import reported_recovery, reset_state
from ..recovery.review import resolve
from ..sync.pull import pull
from ..sync.push import push
from ..wire.schema import publish, published
from .bodies import read_object
from .problems import problem_response
from .requests import check_version, parse_pull, parse_push, parse_registration

ITEMS_PER_PAGE = 500


class AsciiRenderer(JSONRenderer):
    """For values as they came: a lone surrogate that a client sent has no UTF-8, but it has an escape."""

    ensure_ascii = True


class SyncView(APIView):
    """What all endpoints share: a user is needed, JSON goes out, errors are problems."""

    permission_classes = (IsAuthenticated,)
    renderer_classes = (JSONRenderer,)

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """The view, apart from ``ATOMIC_REQUESTS``: a pull reads one snapshot, in a transaction that it begins itself,
        and what a refused push has ordered must be committed."""
        return transaction.non_atomic_requests(super().as_view(**initkwargs))

    def handle_exception(self, exc: Exception) -> Response:
        try:
            return super().handle_exception(exc)
        except Exception as unhandled:
            response = problem_response(unhandled)
            if response is None:
                raise
            response.exception = True
            return response

    def get_exception_handler(self) -> Any:
        return lambda exc, context: problem_response(exc)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        renderer = self.renderer_classes[0]()
        return renderer, renderer.media_type

    def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON object, of a protocol version that is spoken here."""
        read = read_object(request._request)
        check_version(read, request.headers.get("Syncreset-Protocol"))
        return read


class NothingHereView(SyncView):
    """Any path below the prefix that the protocol does not know, whoever asks and by whatever method."""

    def get_authenticators(self) -> list[Any]:
        return []

    def get_permissions(self) -> list[Any]:
        return []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise Http404


class RootView(SyncView):
    """``GET /``: the protocol, the epoch, the schema's hash and the limits."""

    def get(self, request: Request) -> Response:
        check_version({}, request.headers.get("Syncreset-Protocol"))
        return Response(
            {
                "protocol": PROTOCOL_VERSION,
                "minimum_protocol": PROTOCOL_VERSION,
                "epoch": feed_state().epoch,
                "schema": publish()["hash"],
                "server_time": now(),
                "limits": {
                    "changes": conf.get("CHANGES_LIMIT"),
                    "page": conf.get("PAGE_LIMIT"),
                    "page_bytes": conf.get("PAGE_BYTES_LIMIT"),
                    "body": conf.get("BODY_LIMIT"),
                    "snapshot": conf.get("SNAPSHOT_LIMIT"),
                    "snapshot_lines": conf.get("SNAPSHOT_LINES_LIMIT"),
                },
                "retention": conf.get("RETENTION"),
            }
        )


class SchemaView(SyncView):
    """``GET /schema`` and ``GET /schema/{hash}``: the schema now, and any published before."""

    def get(self, request: Request, schema_hash: str | None = None) -> Response:
        document = publish() if schema_hash is None else published(schema_hash)
        if document is None:
            raise Http404
        return Response(document)


class ClientsView(SyncView):
    """``POST /clients``: make a replica known. Repeating it changes nothing but its name and platform."""

    def post(self, request: Request) -> Response:
        client_id, name, platform, schema = parse_registration(self.body(request))
        client = find_client(user_of(request), client_id)
        if client is None:
            require_room_for_client(user_of(request))
            client, _ = Client.objects.get_or_create(pk=client_id, defaults={"user": user_of(request)})
            if client.user_id != user_of(request).pk:
                raise ClientForbidden("this client belongs to another user")
        client.name, client.platform, client.last_seen = name, platform, now()
        client.schema = schema
        client.save(update_fields=["name", "platform", "last_seen", "schema"])
        scopes = sorted(scopes_of(user_of(request)))
        known = {"client": str(client.pk), "scopes": scopes, "acked": client.acked, "server_time": now()}
        return Response(known, status=201)


class PullView(SyncView):
    """``POST /pull``: the next page after a checkpoint, or the first page of everything."""

    def post(self, request: Request) -> Response:
        return Response(pull(user_of(request), parse_pull(self.body(request))))


class PushView(SyncView):
    """``POST /push``: a client's changes, each with its own result."""

    def post(self, request: Request) -> Response:
        return Response(push(user_of(request), parse_push(self.body(request))))


class ResetView(SyncView):
    """``GET /resets/{id}``: how far a reset of one's own client is."""

    def get(self, request: Request, reset_id: uuid.UUID) -> Response:
        reset = own_reset(request, reset_id)
        recovery = reported_recovery(reset)
        return Response(
            {
                "id": str(reset.pk),
                "reason": reset.reason,
                "client": str(reset.client_id),
                "created": reset.created,
                "bootstrapped": reset.bootstrapped,
                "recovery": None if recovery is None else str(recovery.pk),
                "state": reset_state(reset),
            }
        )


class RecoveryView(SyncView):
    """``GET /recoveries/{id}``: progress, totals and the receipt of one recovery."""

    def get(self, request: Request, recovery_id: uuid.UUID) -> Response:
        return Response(recovery_as_wire(own_recovery(request, recovery_id)))


class ItemsView(SyncView):
    """``GET /recoveries/{id}/items``: the ledger, filtered by state, in pages linked by ``next``."""

    renderer_classes = (AsciiRenderer,)

    def get(self, request: Request, recovery_id: uuid.UUID) -> Response:
        recovery = own_recovery(request, recovery_id)
        items = Item.objects.filter(recovery=recovery).order_by("line", "part")
        if (state := request.query_params.get("state")) is not None:
            if state not in ItemState.values:
                raise Malformed(f"there is no state {state[:40]!a}; there are {', '.join(ItemState.values)}")
            items = items.filter(state=state)
        start = _count(request.query_params.get("start", "0"))
        page = list(items[start : start + ITEMS_PER_PAGE + 1])
        more = len(page) > ITEMS_PER_PAGE
        shown = items_as_wire(
            page[:ITEMS_PER_PAGE],
            scopes_of(user_of(request)),
            of_server=recovery.kind == RecoveryKind.UNDO,
        )
        return Response(
            {
                "items": shown,
                "next": start + ITEMS_PER_PAGE if more else None,
            }
        )


class ResolveView(SyncView):
    """``POST /items/{id}/resolve``: decide a parked item of one's own client."""

    renderer_classes = (AsciiRenderer,)

    def post(self, request: Request, item_id: uuid.UUID) -> Response:
        body = self.body(request)
        item = (
            Item.objects.select_related("client", "recovery")
            .filter(pk=item_id, client__user_id=user_of(request).pk)
            .first()
        )
        if item is None:
            raise Http404
        scopes = scopes_of(user_of(request))
        context = Context(
            client=item.client,
            user=user_of(request),
            scopes=scopes,
            seen=everything(scopes),
            received=now(),
        )
        decided = resolve(item, body.get("keep", ""), context)
        undoing = decided.recovery is not None and decided.recovery.kind == RecoveryKind.UNDO
        (shown,) = items_as_wire([decided], context.scopes, of_server=undoing)
        return Response(shown)


def user_of(request: Request) -> SyncUser:
    """Who asks: ``IsAuthenticated`` has made sure that it is somebody."""
    return request.user


def own_reset(request: Request, reset_id: uuid.UUID) -> Reset:
    """A reset of the user's own client. Raises Http404 for any other, also for one that is not there."""
    reset = (
        Reset.objects.select_related("client")
        .filter(pk=reset_id, client__user_id=user_of(request).pk)
        .first()
    )
    if reset is None:
        raise Http404
    return reset


def own_recovery(request: Request, recovery_id: uuid.UUID) -> Recovery:
    """A recovery of the user's own client. Raises Http404 for any other, also for one that is not there."""
    recovery = (
        Recovery.objects.select_related("upload")
        .filter(pk=recovery_id, client__user_id=user_of(request).pk)
        .first()
    )
    if recovery is None:
        raise Http404
    return recovery


def recovery_as_wire(recovery: Recovery) -> dict[str, Any]:
    """A recovery as the protocol shows it."""
    wire: dict[str, Any] = {
        "id": str(recovery.pk),
        "reset": str(recovery.reset_id),
        "state": recovery.state,
        "strategy": recovery.strategy,
        "progress": {"done": recovery.position, "total": recovery.total},
        "totals": recovery.totals,
        "receipt": {
            "sha256": recovery.upload.sha256,
            "rows": recovery.rows,
            "tombstones": recovery.tombstones,
            "updates": recovery.updates,
            "pushed": recovery.pushed,
        },
    }
    if recovery.problem is not None:
        wire["problem"] = _as_told(recovery.problem)
    return wire


def _as_told(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem as a device is told of it: what an exception says may hold values of any row."""
    if problem["code"] != "crashed":
        return problem
    return {**problem, "detail": "the recovery failed on the server; its operator can see why"}


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise Malformed("start is not a count")
    return int(text)
