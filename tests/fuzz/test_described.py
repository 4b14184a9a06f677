"""Requests drawn from the OpenAPI document, by schemathesis, against the WSGI application in process.

``SYNCRESET_CASES`` is how many are drawn over all operations, ``SYNCRESET_SEED`` by which chance. The same two numbers
draw the same requests; one that fails is told as a command for curl.
"""

import logging
import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from rest_framework.authtoken.models import Token
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from syncreset.recovery.run import run
from tests.fuzz.sent import Sent
from tests.fuzz.watch import claims_of_push, documented_codes, faults_of_answer, faults_of_changes, seen_now
from tests.fuzz.world import World, make_world, order_reset
from tests.support.blank import blank_database
from tests.support.snapshots import edited
from tests.support.wire import create_upload
from tests.wsgi import application
from tools.openapi.document import document

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = int(os.environ.get("SYNCRESET_SEED", "1"))
CASES = int(os.environ.get("SYNCRESET_CASES", "300"))
#: Method, path and how much is drawn of it: most of what has a body, hardly anything of what has nothing to draw.
OPERATIONS = [
    (method.upper(), path, 8 if "requestBody" in operation else 3 if operation.get("parameters") else 1)
    for path, item in document()["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]
SHARES = sum(share for _, _, share in OPERATIONS) * 2
#: What the answers must conform to, beside what every answer must.
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@dataclass
class Addresses:
    """What is there to be named, by the name of the parameter or the member."""

    world: World
    token: str
    known: dict[str, list[str]]

    def name(self, case: Any, chance: random.Random) -> None:
        """Put what is there in the place of most of what was drawn: nothing else gets past a 404."""
        for parameter in case.path_parameters or {}:
            if chance.random() < 0.8:
                case.path_parameters[parameter] = chance.choice(self.known[parameter])
        if isinstance(case.body, dict):
            for member in sorted(case.body.keys() & self.known.keys()):
                if chance.random() < 0.8:
                    case.body[member] = chance.choice(self.known[member])
            if chance.random() < 0.8:
                case.body.pop("held", None)
            if isinstance(changes := case.body.get("changes"), list):
                self.name_rows([change for change in changes if isinstance(change, dict)], chance)
        for header, likely in (("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"), ("Upload-Length", "100")):
            if header in (case.headers or {}) and chance.random() < 0.7:
                case.headers[header] = likely

    def name_rows(self, changes: list[dict[str, Any]], chance: random.Random) -> None:
        """Number the changes of a push as a client does, and let most be of rows that are there."""
        for number, change in enumerate(changes, 100):
            model, pk = chance.choice(list(self.world.device.rows))
            if chance.random() < 0.9:
                change |= {"seq": number, "model": model, "pk": pk}
            if chance.random() < 0.5:
                change["clocks"] = {"*": 1}


@pytest.fixture
def addresses() -> Addresses:
    world = make_world()
    device = world.fresh()
    row = device.rows[next(key for key in device.rows if key[0] == "shelters.dog")]
    reset = order_reset(device, full=False)
    recovery = device.upload(reset, device.snapshot(reset, [edited(row, name="Max", notes="x")], full=False))
    run(recovery)
    begun = create_upload(device, reset, b"x" * 100)
    upload = begun["Location"].rpartition("/")[2]
    nobody = str(uuid.uuid4())
    known = {
        "schema_hash": [device.schema, "0" * 32],
        "reset_id": [reset, *world.resets, nobody],
        "upload_id": [upload, nobody],
        "recovery_id": [recovery, nobody],
        "item_id": [*world.items, nobody],
        "client": [*[device.client] * 5, world.other.client, nobody],
        "schema": [*[device.schema] * 5, "0" * 32],
        "checkpoint": [*[device.checkpoint or ""] * 3, world.other.checkpoint or ""],
        "receipt": [device.receipt, device.receipt, ""],
        "reset": [reset, nobody],
    }
    return Addresses(world, Token.objects.get(user=world.user).key, known)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def sent_by(response: Any, seconds: float) -> Sent:
    """What schemathesis sent, with its answer."""
    request = response.request
    return Sent(
        request.method,
        request.path_url,
        request.body if isinstance(request.body, bytes) else str(request.body or "").encode(),
        headers=dict(request.headers),
        status=response.status_code,
        answer=response.content,
        answered={name.title(): values[0] for name, values in response.headers.items()},
        seconds=seconds,
    )


@pytest.mark.parametrize(("method", "path", "share"), OPERATIONS)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_as_described(
    method: str, path: str, share: int, mode: Any, addresses: Addresses
) -> None:
    schema = schemathesis.openapi.from_dict(document())
    schema.app = application
    operation: Any = schema[path][method]
    codes, begun, restore = documented_codes(), seen_now(), blank_database()
    counted: Counter[int] = Counter()
    chance = random.Random(FIRST)

    @seed(FIRST)
    @settings(
        max_examples=max(1, CASES * share // SHARES),
        phases=[Phase.generate],
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def probe(case: Any) -> None:
        addresses.name(case, chance)
        try:
            begin = time.process_time()
            response = case.call(headers={"Authorization": f"Token {addresses.token}"})
            sent = sent_by(response, time.process_time() - begin)
            counted[sent.status] += 1
            claims = claims_of_push(sent) if path == "/push" else ()
            faults = faults_of_answer(sent, codes) + faults_of_changes(begun, seen_now(), claims)
            assert not faults, f"SEED={FIRST} CASES={CASES}: {faults}\n{sent}\n{case.as_curl_command()}"
            case.validate_response(response, checks=CHECKS)
        finally:
            restore()

    try:
        probe()
    except Unsatisfiable:
        # There is nothing in a request for it that could be wrong.
        assert mode is schemathesis.GenerationMode.NEGATIVE
    print(f"\n{method} {path} {mode.value}: {dict(sorted(counted.items()))}")  # noqa: T201
