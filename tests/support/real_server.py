"""The real server without a socket: answers the requests of the SDK's engine through Django, and recovers at once."""

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from syncreset.recovery.job import Recovery, RecoveryState
from syncreset.recovery.run import run
from syncreset.sdk import Replica, Request, Response, ServerUnavailable, SyncReport
from tests.support.fleet import sync

PREFIX = "/sync/v1/"


def sent(user: User, request: Request) -> Response:
    """The answer to a request of the SDK's engine on behalf of a user, through Django."""
    token, _ = Token.objects.get_or_create(user=user)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    answer = client.generic(
        request.method,
        request.path if request.path.startswith("/") else PREFIX + request.path,
        request.body,  # type: ignore[arg-type]  # Django takes bytes, the stubs say text
        content_type=request.headers.get("content-type", "application/json"),
        headers=headers,
    )
    return Response(
        status=answer.status_code,
        headers={name.lower(): value for name, value in answer.headers.items()},
        body=answer.content,
    )


class RealServer:
    """What a user's devices talk to. ``user`` can be changed, as by another login on the same device.

    With ``recovers`` false there is no worker.
    """

    def __init__(self, user: User) -> None:
        self.user = user
        self.recovers = True
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        answer = sent(self.user, request)
        queued = Recovery.objects.filter(state=RecoveryState.QUEUED)
        for recovery in queued.values_list("pk", flat=True) if self.recovers else ():
            run(recovery)
        return answer

    def lose(self, replica: Replica, path: str, *, seen: bool) -> None:
        """Sync up to the first request whose path ends so: its answer is lost, or it never arrives."""

        def answer(request: Request) -> Response:
            if not request.path.endswith(path):
                return self.answer(request)
            if seen:
                self.answer(request)
            raise ServerUnavailable("no answer")

        with pytest.raises(ServerUnavailable):
            sync(replica, answer)

    def sync(self, replica: Replica) -> SyncReport:
        return sync(replica, self.answer)
