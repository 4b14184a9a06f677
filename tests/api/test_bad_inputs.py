"""The catalogue of hostile and broken input, numbers 1 to 62, as it comes through HTTP; 63 to 75 are of snapshots.

A fault of the envelope is a 4xx for the request. A fault of one row is a result inside a 200: what was sent is kept in
the ledger as it was sent, the other changes are applied, and the queue advances.
"""

import gzip
import json
import re
import time
import tracemalloc
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from pytest_django import Settings
from rest_framework.test import APIClient

from syncreset.clients.client import Client
from syncreset.feed.checkpoints import Checkpoint, begin_epoch, purge
from syncreset.feed.cursor import decode_cursor, encode_cursor
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.clock import now
from syncreset.tracking.registry import options_for
from tests.shelters.models import Dog, Shelter
from tests.support import bad_inputs
from tests.support.bad_inputs import ABSENT, FIELDS, KEYS, MODELS, PK, REFUSED, SPECIMEN, zeros
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.wire import as_json, post_raw, problem_of, push_raw
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed, Specimen, UUIDKeyed

pytestmark = pytest.mark.django_db


Malform = Callable[[bytes], bytes]


def test_every_number_of_the_catalogue_has_a_test() -> None:
    sources = [
        Path(__file__),
        Path(__file__).with_name("test_snapshots_hostile.py"),
        Path(bad_inputs.__file__),
    ]
    numbers = {
        int(number) for path in sources for number in re.findall(r'"(\d{1,2})-[a-z0-9]', path.read_text())
    }

    assert numbers == set(range(1, 76))


@pytest.fixture
def phone(device: DeviceFactory) -> Device:
    """A device of a user without any shelter, that has pulled."""
    made = device()
    made.pull()
    return made


def specimen(device: Device, number: int, **fields: Any) -> dict[str, Any]:
    return device.create(SPECIMEN, {"label": f"number {number}", **fields}, pk=PK.format(number))


def nothing_happened(device: Device) -> None:
    assert not Specimen.objects.exists()
    assert not Item.objects.exists()
    assert Client.objects.get(pk=device.client).acked == 0


# --- The envelope ------------------------------------------------------------------------------------------


def nested(levels: int) -> Malform:
    return lambda body: b'{"deep":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"," + body[1:]


def member(text: bytes) -> Malform:
    return lambda body: b"{" + text + b"," + body[1:]


ENVELOPES: list[tuple[str, Malform, dict[str, str], int, str]] = [
    ("1-empty-body", lambda body: b"", {}, 400, "malformed"),
    ("1-empty-body-in-gzip", lambda body: gzip.compress(b""), {"Content_Encoding": "gzip"}, 400, "malformed"),
    ("1-blank-body", lambda body: b" \n", {}, 400, "malformed"),
    ("2-root-is-an-array", lambda body: b"[" + body + b"]", {}, 400, "malformed"),
    ("2-root-is-a-string", lambda body: b'"push"', {}, 400, "malformed"),
    ("2-root-is-null", lambda body: b"null", {}, 400, "malformed"),
    ("2-something-behind-the-root", lambda body: body + b"{}", {}, 400, "malformed"),
    ("3-invalid-utf-8", lambda body: body.replace(b"number", b"num\xffber"), {}, 400, "malformed"),
    ("3-overlong-utf-8", lambda body: body.replace(b"number", b"\xc0\xaf"), {}, 400, "malformed"),
    ("3-surrogate-in-utf-8", lambda body: body.replace(b"number", b"\xed\xa0\x80"), {}, 400, "malformed"),
    ("3-utf-16", lambda body: body.decode().encode("utf-16"), {}, 400, "malformed"),
    (
        "4-charset-bz2-codec",
        lambda body: body,
        {"content_type": "application/json; charset=bz2_codec"},
        400,
        "malformed",
    ),
    ("4-charset-hex", lambda body: body, {"content_type": "application/json; charset=hex"}, 400, "malformed"),
    (
        "5-unknown-charset",
        lambda body: body,
        {"content_type": "application/json; charset=klingon"},
        415,
        "unsupported_charset",
    ),
    (
        "5-charset-latin-1",
        lambda body: body,
        {"content_type": "application/json; charset=latin-1"},
        415,
        "unsupported_charset",
    ),
    ("6-text-plain", lambda body: body, {"content_type": "text/plain"}, 415, "unsupported_media_type"),
    (
        "6-a-form",
        lambda body: body,
        {"content_type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_media_type",
    ),
    (
        "6-multipart",
        lambda body: body,
        {"content_type": "multipart/form-data; boundary=x"},
        415,
        "unsupported_media_type",
    ),
    ("6-no-content-type", lambda body: body, {"content_type": ""}, 415, "unsupported_media_type"),
    ("7-gzip-not-declared", gzip.compress, {}, 400, "malformed"),
    ("7-gzip-declared-and-not-there", lambda body: body, {"Content_Encoding": "gzip"}, 400, "malformed"),
    (
        "7-gzip-cut-off",
        lambda body: gzip.compress(body)[:-9],
        {"Content_Encoding": "gzip"},
        400,
        "malformed",
    ),
    (
        "7-rubbish-behind-gzip",
        lambda body: gzip.compress(body) + b"rubbish",
        {"Content_Encoding": "gzip"},
        400,
        "malformed",
    ),
    ("7-another-encoding", lambda body: body, {"Content_Encoding": "br"}, 415, "unsupported_encoding"),
    ("10-nesting-over-64", nested(65), {}, 400, "malformed"),
    ("10-nesting-of-100000", nested(100_000), {}, 400, "malformed"),
    ("11-duplicate-keys", member(b'"client":"x"'), {}, 400, "malformed"),
    (
        "11-duplicate-keys-inside",
        lambda body: body.replace(b'"label":', b'"label":"x","label":'),
        {},
        400,
        "malformed",
    ),
    ("12-NaN", member(b'"x":NaN'), {}, 400, "malformed"),
    ("12-Infinity", member(b'"x":Infinity'), {}, 400, "malformed"),
    ("12-minus-Infinity", member(b'"x":-Infinity'), {}, 400, "malformed"),
    ("13-1e999", member(b'"x":1e999'), {}, 400, "malformed"),
    ("13-minus-1e999", member(b'"x":-1e999'), {}, 400, "malformed"),
    ("15-unknown-protocol-version", member(b'"protocol":2'), {}, 426, "protocol_version"),
    ("15-protocol-version-is-no-version", member(b'"protocol":[]'), {}, 426, "protocol_version"),
    (
        "15-unknown-version-in-a-header",
        lambda body: body,
        {"Syncreset_Protocol": "2"},
        426,
        "protocol_version",
    ),
    ("30-integer-of-5000-digits", member(b'"x":' + b"9" * 5000), {}, 400, "malformed"),
]


@pytest.mark.parametrize(
    ("malform", "headers", "status", "code"),
    [pytest.param(*case[1:], id=case[0]) for case in ENVELOPES],
)
def test_a_broken_envelope_is_refused_as_a_whole(
    phone: Device, malform: Malform, headers: dict[str, str], status: int, code: str
) -> None:
    body = malform(as_json(phone.body(specimen(phone, 1))))

    problem_of(post_raw(phone.api, "/push", body, **headers), status, code)

    nothing_happened(phone)


@pytest.mark.parametrize("path", ["/clients", "/pull", "/push"])
def test_every_endpoint_refuses_alike(phone: Device, path: str) -> None:
    for _, malform, headers, status, code in ENVELOPES:
        body = malform(as_json({"client": phone.client, "checkpoint": None, "label": "number"}))
        problem_of(post_raw(phone.api, path, body, **headers), status, code)


def test_nesting_of_exactly_64_is_accepted(phone: Device) -> None:
    value: Any = 1
    for _ in range(60):
        value = [value]

    (result,) = push_raw(phone, specimen(phone, 1, json=value))

    assert result["state"] == "applied"
    assert Specimen.objects.get().json == value


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_gzip_body_of_one_member_or_several_is_read(phone: Device, pieces: int) -> None:
    body = as_json(phone.body(specimen(phone, 1)))
    cut = len(body) // pieces
    members = [body[start : start + cut] for start in range(0, len(body), cut)]

    response = post_raw(phone.api, "/push", b"".join(map(gzip.compress, members)), Content_Encoding="gzip")

    assert response.status_code == 200
    assert Specimen.objects.count() == 1


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: zeros(256 * 2**20), id="8-gzip-bomb"),
        pytest.param(lambda: zeros(16 * 2**20) * 64, id="8-gzip-bomb-of-many-members"),
    ],
)
def test_a_gzip_bomb_is_never_inflated(phone: Device, bomb: Callable[[], bytes]) -> None:
    data = bomb()

    began = time.perf_counter()
    problem_of(post_raw(phone.api, "/push", data, Content_Encoding="gzip"), 413, "too_large")
    took = time.perf_counter() - began
    tracemalloc.start()
    try:
        problem_of(post_raw(phone.api, "/push", data, Content_Encoding="gzip"), 413, "too_large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert took <= 1
    # The catalogue allows 100 MB. What is kept is a body's limit, and what a bytearray grows by.
    assert peak <= 32 * 2**20
    nothing_happened(phone)


@pytest.mark.parametrize("encoding", [pytest.param("identity", id="9-body-over-the-limit"), "gzip"])
def test_a_body_over_the_limit_is_a_problem_in_json(phone: Device, settings: Settings, encoding: str) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "BODY_LIMIT": 1000}
    body = as_json(phone.body(specimen(phone, 1, text="x" * 1000)))

    problem_of(
        post_raw(
            phone.api,
            "/push",
            gzip.compress(body) if encoding == "gzip" else body,
            Content_Encoding=encoding,
        ),
        413,
        "too_large",
    )

    nothing_happened(phone)


def test_a_body_over_the_default_limit_is_refused(phone: Device) -> None:
    limit = phone.get("/")["limits"]["body"]

    problem_of(post_raw(phone.api, "/push", b'"' + b"x" * limit + b'"'), 413, "too_large")


@pytest.mark.parametrize("over", [pytest.param(1, id="14-more-changes-than-the-limit"), 0])
def test_more_changes_than_the_limit_are_refused(phone: Device, settings: Settings, over: int) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "CHANGES_LIMIT": 3}
    body = phone.body(*(specimen(phone, number) for number in range(3 + over)))

    response = post_raw(phone.api, "/push", as_json(body))

    if over:
        problem_of(response, 413, "too_large")
        nothing_happened(phone)
    else:
        assert response.status_code == 200


@pytest.mark.parametrize("path", ["/pull", "/push"])
@pytest.mark.parametrize(
    "checkpoint",
    [
        pytest.param("", id="16-malformed-checkpoint-empty"),
        pytest.param("x", id="16-malformed-checkpoint-of-one-letter"),
        pytest.param("aGVsbG8.AAAAAAAAAAAAAAAAAAAAAA", id="16-malformed-checkpoint-of-no-json"),
        pytest.param("W10.AAAAAAAAAAAAAAAAAAAAAA", id="16-malformed-checkpoint-of-an-empty-list"),
        pytest.param("\u00e9", id="16-malformed-checkpoint-beyond-ascii"),
        pytest.param("\ud800", id="16-malformed-checkpoint-of-a-lone-surrogate"),
        pytest.param(7, id="16-malformed-checkpoint-of-a-number"),
        pytest.param([], id="16-malformed-checkpoint-of-a-list"),
        pytest.param("[" * 100, id="16-malformed-checkpoint-of-brackets"),
    ],
)
def test_a_malformed_checkpoint_is_refused(phone: Device, path: str, checkpoint: Any) -> None:
    body = {**phone.body(specimen(phone, 1)), "checkpoint": checkpoint}

    problem_of(post_raw(phone.api, path, as_json(body)), 400, "invalid_checkpoint")

    nothing_happened(phone)


def test_a_checkpoint_with_a_character_changed_is_malformed_or_of_another_history(phone: Device) -> None:
    assert phone.checkpoint is not None
    for place in range(len(phone.checkpoint)):
        changed = phone.checkpoint[:place] + ("A" if phone.checkpoint[place] != "A" else "B")
        body = {**phone.body(), "checkpoint": changed + phone.checkpoint[place + 1 :]}

        response = post_raw(phone.api, "/pull", as_json(body))

        assert response.status_code in (400, 409)


def test_a_checkpoint_cut_off_anywhere_is_malformed(phone: Device) -> None:
    assert phone.checkpoint is not None
    for length in range(len(phone.checkpoint)):
        body = {**phone.body(), "checkpoint": phone.checkpoint[:length]}

        problem_of(post_raw(phone.api, "/pull", as_json(body)), 400, "invalid_checkpoint")


def diverged(what: str, device: Device) -> str:
    cursor = decode_cursor(device.checkpoint)
    if what == "forged":
        assert device.checkpoint is not None
        return device.checkpoint.partition(".")[0] + "." + "A" * 22
    if what == "epoch":
        begin_epoch()
    changes = {"salt": {"salt": "0" * 16}, "number": {"proof": cursor.proof + 1}}
    return encode_cursor(replace(cursor, **changes.get(what, {})))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/pull", "/push"])
@pytest.mark.parametrize(
    "what",
    [
        pytest.param("salt", id="17-diverged-checkpoint-of-another-salt"),
        pytest.param("number", id="17-diverged-checkpoint-above-the-newest"),
        pytest.param("epoch", id="17-diverged-checkpoint-of-another-epoch"),
        pytest.param("forged", id="17-diverged-checkpoint-of-another-signature"),
    ],
)
def test_a_diverged_checkpoint_is_a_client_reset(phone: Device, path: str, what: str) -> None:
    body = {**phone.body(specimen(phone, 1)), "checkpoint": diverged(what, phone)}

    problem = problem_of(post_raw(phone.api, path, as_json(body)), 409, "client_reset")

    assert problem["reason"] == ("not_genuine" if what == "forged" else "history_diverged")
    nothing_happened(phone)


@pytest.mark.parametrize("path", [pytest.param("/pull", id="18-purged-checkpoint"), "/push"])
def test_a_purged_checkpoint_is_a_client_reset(phone: Device, path: str) -> None:
    for _ in range(2):
        UUIDKeyed.objects.create().delete()
        purge(now() + 1)
        UUIDKeyed.objects.create()
        Device(phone.api, phone.client).register().pull()
    purge(now() + 1_000_000)
    body = phone.body(specimen(phone, 1))

    problem = problem_of(post_raw(phone.api, path, as_json(body)), 409, "client_reset")

    assert problem["reason"] == "checkpoint_expired"
    nothing_happened(phone)


@pytest.mark.parametrize(
    ("again", "answer"),
    [
        pytest.param({"label": "another"}, "client_copied", id="19-seq-reused-with-another-body"),
        pytest.param({}, "repeated", id="20-seq-replayed"),
    ],
)
def test_a_sequence_number_that_comes_again(phone: Device, again: dict[str, str], answer: str) -> None:
    body = phone.body(specimen(phone, 1), specimen(phone, 2))
    assert post_raw(phone.api, "/push", as_json(body)).status_code == 200
    body["changes"][1]["fields"] |= again
    body["changes"].append({"seq": 3, **specimen(phone, 3)})

    response = post_raw(phone.api, "/push", as_json(body))

    if answer == "client_copied":
        problem_of(response, 409, "client_copied")
        assert Specimen.objects.count() == 2
    else:
        assert [result["state"] for result in response.json()["results"]] == [
            "applied",
            "applied",
            "applied",
        ]
        assert Specimen.objects.count() == 3


@pytest.mark.parametrize("path", ["/push", "/pull"])
@pytest.mark.parametrize(
    "receipt",
    [
        pytest.param("3.0123456789abcdef", id="19-receipt-of-a-later-push"),
        pytest.param("2.0123456789abcdef", id="19-receipt-of-the-last-push-but-another"),
        pytest.param("1.0123456789abcdef", id="19-receipt-of-the-push-before-but-another"),
        pytest.param(f"{'9' * 30}.0", id="19-receipt-of-a-number-beyond-64-bits"),
        pytest.param("\u0662.0", id="19-receipt-of-arabic-digits"),
        pytest.param("no receipt", id="19-receipt-that-is-none"),
        pytest.param("-1.0", id="19-receipt-below-zero"),
    ],
)
def test_a_receipt_that_was_never_given_proves_nothing_but_a_copy(
    phone: Device, path: str, receipt: str
) -> None:
    push_raw(phone, specimen(phone, 1))
    push_raw(phone, specimen(phone, 2))
    body = {**phone.body(specimen(phone, 3)), "receipt": receipt}

    problem_of(post_raw(phone.api, path, as_json(body)), 409, "client_copied")

    assert Specimen.objects.count() == 2
    assert not Client.objects.get(pk=phone.client).resets.exists()


@pytest.mark.parametrize("path", ["/push", "/pull"])
@pytest.mark.parametrize("receipt", [None, 1, True, ["1.0"], {}, "a\0", "\ud800", "x" * 41], ids=ascii)
def test_a_receipt_of_the_wrong_kind_is_malformed(phone: Device, path: str, receipt: Any) -> None:
    body = {**phone.body(specimen(phone, 1)), "receipt": receipt}

    problem_of(post_raw(phone.api, path, as_json(body)), 400, "malformed")

    nothing_happened(phone)


@pytest.mark.parametrize("path", ["/push", "/pull"])
def test_a_receipt_that_is_left_out_is_malformed(phone: Device, path: str) -> None:
    body = phone.body(specimen(phone, 1))
    del body["receipt"]

    problem_of(post_raw(phone.api, path, as_json(body)), 400, "malformed")

    nothing_happened(phone)


@pytest.mark.parametrize("path", [pytest.param("/pull", id="21-another-users-client"), "/push", "/clients"])
def test_another_users_client_is_forbidden(phone: Device, device: DeviceFactory, path: str) -> None:
    stranger = device(registered=False)
    stranger.client, stranger.checkpoint = phone.client, phone.checkpoint

    problem_of(
        post_raw(stranger.api, path, as_json(stranger.body(specimen(stranger, 1)))), 403, "client_forbidden"
    )

    nothing_happened(phone)


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(0, id="22-page-size-0"),
        pytest.param(-1, id="22-page-size-minus-1"),
        pytest.param(10**30, id="22-page-size-beyond-64-bits"),
        pytest.param("1", id="22-page-size-as-text"),
        pytest.param(1.5, id="22-page-size-with-a-fraction"),
        pytest.param(True, id="22-page-size-true"),
    ],
)
def test_a_page_size_that_is_none_is_refused(phone: Device, limit: Any) -> None:
    problem_of(post_raw(phone.api, "/pull", as_json({**phone.body(), "limit": limit})), 400, "malformed")


@pytest.mark.parametrize("limit", [pytest.param(10**9, id="22-page-size-of-a-billion")])
def test_a_huge_page_size_is_capped(phone: Device, settings: Settings, limit: int) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "PAGE_LIMIT": 2}
    UUIDKeyed.objects.bulk_create(UUIDKeyed() for _ in range(3))

    page = phone.post("/pull", {**phone.body(), "limit": limit})

    assert len(page["changes"]) == 2
    assert page["more"] is True


@pytest.mark.parametrize(
    "member",
    [
        {"client": "x"},
        {"client": None},
        {"client": "\x00" * 36},
        {"schema": 7},
        {"schema": "\x00"},
        {"schema": "\ud800"},
        {"schema": "x" * 65},
        {"client_time": "now"},
        {"client_time": 1.5},
        {"client_time": 2**62},
        {"client_time": -(2**62)},
        {"client_time": True},
        {"changes": {}},
        {"changes": None},
        {"changes": [7]},
    ],
    ids=repr,
)
def test_a_member_of_the_envelope_of_the_wrong_kind_is_refused(phone: Device, member: dict[str, Any]) -> None:
    body = {**phone.body(specimen(phone, 1)), **member}

    problem_of(post_raw(phone.api, "/push", as_json(body)), 400, "malformed")

    nothing_happened(phone)


@pytest.mark.parametrize(
    "member",
    [
        {"seq": 0},
        {"seq": -1},
        {"seq": 2**63},
        {"seq": "1"},
        {"seq": True},
        {"op": "upsert"},
        {"op": None},
        {"model": None},
        {"model": []},
        {"fields": []},
        {"fields": None},
        {"base": []},
        {"base": {"label": "1"}},
        {"group": 7},
        {"clocks": None},
        {"clocks": {}},
    ],
    ids=repr,
)
def test_a_member_of_a_change_of_the_wrong_kind_is_refused(phone: Device, member: dict[str, Any]) -> None:
    change = {"seq": 1, **specimen(phone, 1), **member}

    problem_of(post_raw(phone.api, "/push", as_json({**phone.body(), "changes": [change]})), 400, "malformed")

    nothing_happened(phone)


@pytest.mark.parametrize("client_time", [-(2**62) + 1, 0, 2**62 - 1])
def test_no_clock_of_a_device_is_too_wrong(phone: Device, client_time: int) -> None:
    response = post_raw(
        phone.api, "/push", as_json({**phone.body(specimen(phone, 1)), "client_time": client_time})
    )

    assert response.status_code == 200, response.content
    assert 0 <= Specimen.objects.get().last_updated <= now()


# --- Values ------------------------------------------------------------------------------------------------


def kept(item: Item) -> dict[str, Any]:
    fields: dict[str, Any] = item.change["fields"]
    return fields


@pytest.mark.parametrize(("name", "value", "code"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_a_value_that_its_field_cannot_hold_is_rejected_and_kept(
    phone: Device, name: str, value: Any, code: str
) -> None:
    results = push_raw(phone, specimen(phone, 1), specimen(phone, 2, **{name: value}), specimen(phone, 3))

    assert [result["state"] for result in results] == ["applied", "rejected", "applied"]
    assert (results[1]["problem"]["code"], results[1]["problem"]["field"]) == (code, name)
    assert {str(pk) for pk in Specimen.objects.values_list("pk", flat=True)} == {PK.format(1), PK.format(3)}
    item = Item.objects.get(pk=results[1]["item"])
    assert (item.state, item.code, item.seq, item.pk_text) == ("rejected", code, 2, PK.format(2))
    assert as_json(kept(item)) == as_json({"label": "number 2", name: value})

    phone.pull()
    before = phone.rows[SPECIMEN, PK.format(1)]
    (update, after) = push_raw(
        phone,
        phone.put(SPECIMEN, PK.format(1), {name: value, "count": 7}),
        phone.put(SPECIMEN, PK.format(3), {"count": 8}),
    )

    assert (update["state"], update["problem"]["code"], after["state"]) == ("rejected", code, "applied")
    assert update["row"]["fields"] == before["fields"]
    assert Specimen.objects.get(pk=PK.format(1)).count == 0
    assert as_json(kept(Item.objects.get(pk=update["item"]))) == as_json({name: value, "count": 7})


NFC, NFD = unicodedata.normalize("NFC", "Zo\u00eb"), unicodedata.normalize("NFD", "Zo\u00eb")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A wire value that is taken: what the database then holds, and what comes back (None: what was sent)."""

    value: Any
    stored: Any
    wire: Any = None

    @property
    def back(self) -> Any:
        return self.value if self.wire is None else self.wire


ACCEPTED: list[tuple[str, str, Stored]] = [
    ("28-two-to-the-53-plus-1", "big_integer", Stored(value=str(2**53 + 1), stored=2**53 + 1)),
    ("28-two-to-the-53-plus-1-in-json", "json", Stored(value={"n": 2**53 + 1}, stored={"n": 2**53 + 1})),
    ("28-two-to-the-63-less-1", "positive_big_integer", Stored(value=str(2**63 - 1), stored=2**63 - 1)),
    ("31-integer-of-1000-digits-in-json", "json", Stored(value=[10**999], stored=[10**999])),
    ("36-all-decimals", "decimal", Stored(value="-12345678.9999", stored=Decimal("-12345678.9999"))),
    (
        "36-decimals-that-are-zero",
        "decimal",
        Stored(value="1.500000", stored=Decimal("1.5"), wire="1.5000"),
    ),
    ("37-minus-zero", "float", Stored(value=-0.0, stored=0.0, wire=0.0)),
    ("37-minus-zero-decimal", "decimal", Stored(value="-0.0", stored=Decimal(0), wire="0.0000")),
    ("37-minus-zero-in-json", "json", Stored(value=[-0.0], stored=[0.0], wire=[0.0])),
    ("38-denormal-float", "float", Stored(value=5e-324, stored=5e-324)),
    ("38-largest-float", "float", Stored(value=1.7976931348623157e308, stored=1.7976931348623157e308)),
    ("38-float-of-17-digits", "float", Stored(value=0.1 + 0.2, stored=0.1 + 0.2)),
    ("38-denormal-float-in-json", "json", Stored(value=[5e-324], stored=[5e-324])),
    (
        "43-nanoseconds",
        "date_time",
        Stored(
            value="2026-11-22T20:24:00.123456789Z",
            stored=datetime(2026, 11, 22, 20, 24, 0, 123456, UTC),
            wire="2026-11-22T20:24:00.123456Z",
        ),
    ),
    ("46-200-emoji", "char", Stored(value="\U0001f9a5" * 200, stored="\U0001f9a5" * 200)),
    ("47-nfc", "text", Stored(value=NFC, stored=NFC)),
    ("47-nfd", "text", Stored(value=NFD, stored=NFD)),
    ("47-nfd-in-json", "json", Stored(value={NFD: NFC}, stored={NFD: NFC})),
    ("48-empty-string", "text", Stored(value="", stored="")),
    ("48-null", "text", Stored(value=None, stored=None)),
    ("48-empty-email", "email", Stored(value="", stored="")),
    ("49-json-null", "json", Stored(value=None, stored=None)),
    ("49-null-inside-json", "json", Stored(value=[None], stored=[None])),
]


@pytest.mark.parametrize(("name", "case"), [pytest.param(*case[1:], id=case[0]) for case in ACCEPTED])
def test_a_value_at_the_edge_is_stored_exactly(
    phone: Device, device: DeviceFactory, name: str, case: Stored
) -> None:
    change = specimen(phone, 1, **{name: case.value})
    (result,) = push_raw(phone, change)

    assert result["state"] == "applied"
    assert ("notes" in result) == (name == "date_time")
    value = getattr(Specimen.objects.get(), name)
    assert (value, str(value)) == (case.stored, str(value if isinstance(value, Decimal) else case.stored))
    tablet = device()
    tablet.pull()
    assert as_json(tablet.rows[SPECIMEN, PK.format(1)]["fields"][name]) == as_json(case.back)
    phone.pull()
    (again,) = push_raw(phone, phone.put(SPECIMEN, PK.format(1), {name: case.value}))
    assert again["state"] == "identical"


def test_nanoseconds_are_cut_and_the_result_tells(phone: Device) -> None:
    (result,) = push_raw(
        phone, specimen(phone, 1, time="01:02:03.0000009", date_time="2026-01-01T00:00:00.1Z")
    )

    assert result["notes"] == [
        {"code": "truncated", "detail": "the time was cut to microseconds", "field": "time"}
    ]


def test_the_null_of_json_is_the_databases_null(phone: Device) -> None:
    push_raw(phone, specimen(phone, 1, json=None), specimen(phone, 2, json=[]))

    assert str(Specimen.objects.get(json__isnull=True).pk) == PK.format(1)


# --- Rows and scope ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value", "code"), [pytest.param(*case[1:], id=case[0]) for case in FIELDS])
def test_a_field_that_cannot_be_pushed_is_rejected_and_kept(
    phone: Device, name: str, value: Any, code: str
) -> None:
    bad = specimen(phone, 2, **{name: value})

    results = push_raw(phone, specimen(phone, 1), bad, specimen(phone, 3))

    assert [result["state"] for result in results] == ["applied", "rejected", "applied"]
    assert results[1]["problem"]["code"] == code
    assert results[1]["problem"].get("field") == (name if name.isprintable() else None)
    assert Specimen.objects.count() == 2
    item = Item.objects.get()
    assert as_json(kept(item)) == as_json(bad["fields"])


def test_a_read_only_field_of_the_model_is_rejected(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)

    results = push_raw(
        phone,
        phone.create(DOG, dog_fields(shelter, intake_no="N-1")),
        phone.create(DOG, dog_fields(shelter, intake_no="")),
    )

    assert [result["state"] for result in results] == ["rejected", "applied"]
    assert results[0]["problem"]["code"] == "forbidden_field"


def test_clocks_and_bases_of_fields_that_there_are_not_are_left_out(phone: Device) -> None:
    strange = dict.fromkeys(("\x00", "�", "__proto__", "id", "x" * 1000), 7)

    (made,) = push_raw(phone, {**specimen(phone, 1), "clocks": {"*": now(), **strange}})
    phone.pull()
    change = phone.put(SPECIMEN, PK.format(1), {"count": 1})
    change["clocks"] |= strange
    change["base"] |= strange
    (updated,) = push_raw(phone, change)

    assert (made["state"], updated["state"]) == ("applied", "applied")
    assert made["clocks"].keys() == {"*"}
    assert Specimen.objects.get().field_timestamps.keys() == {"*", "count"}


@pytest.mark.parametrize("model", [pytest.param(model, id=name) for name, model in MODELS])
@pytest.mark.parametrize("op", ["put", "delete"])
def test_an_unknown_model_is_rejected_and_kept(phone: Device, model: str, op: str) -> None:
    bad = {**phone.create(model, {"a": "\ud800"}), "op": op}

    results = push_raw(phone, specimen(phone, 1), bad, specimen(phone, 3))

    assert [result["state"] for result in results] == ["applied", "rejected", "applied"]
    assert results[1]["problem"]["code"] == "unknown_model"
    item = Item.objects.get()
    assert as_json([item.change["model"], kept(item)]) == as_json([model, {"a": "\ud800"}])


@pytest.mark.parametrize(("model", "pk"), [pytest.param(*case[1:], id=case[0]) for case in KEYS])
@pytest.mark.parametrize("op", ["create", "update", "delete"])
def test_a_badly_typed_key_is_rejected(phone: Device, model: str, pk: Any, op: str) -> None:
    bad = {**phone.create(model, {"note": "x"}), "pk": pk}
    if op != "create":
        bad |= {"base": {"*": 1, "note": 1}, "op": "put" if op == "update" else "delete"}

    results = push_raw(phone, specimen(phone, 1), bad, specimen(phone, 3))

    assert [result["state"] for result in results] == ["applied", "rejected", "applied"]
    assert results[1]["problem"]["code"] == "invalid_pk"
    item = Item.objects.get()
    assert kept(item) == bad["fields"]
    if isinstance(pk, str):
        assert as_json(item.change["pk"]) == as_json(pk)
    for keyed in (BigIntegerKeyed, CharKeyed, IntegerKeyed, OneToOneKeyed):
        assert not keyed._default_manager.exists()


def without_ids(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("seq", "item")}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "name", [pytest.param("mother", id="56-reference-to-a-row-absent-or-invisible"), "shelter"]
)
def test_a_reference_to_an_absent_row_and_to_an_invisible_one_get_the_same(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, name: str
) -> None:
    hidden = Dog.objects.create(shelter=other_shelter, name="Hidden")
    seen = Dog.objects.create(shelter=shelter, name="Seen")
    phone = device(shelter)
    phone.pull()
    target = {"mother": hidden.pk, "shelter": other_shelter.pk}[name]

    absent, invisible, *updates = push_raw(
        phone,
        phone.create(DOG, {**dog_fields(shelter), name: ABSENT}, pk=PK.format(1)),
        phone.create(DOG, {**dog_fields(shelter), name: str(target)}, pk=PK.format(2)),
        phone.put(DOG, str(seen.pk), {name: ABSENT}),
        phone.put(DOG, str(seen.pk), {name: str(target)}),
    )

    assert absent["problem"]["code"] == "invalid_reference"
    assert absent["state"] in ("parked", "rejected")
    assert as_json(without_ids(absent)) == as_json(without_ids(invisible))
    assert as_json(without_ids(updates[0])) == as_json(without_ids(updates[1]))
    assert Dog.objects.count() == 2
    values = [kept(item)[name] for item in Item.objects.order_by("seq")]
    assert values == [ABSENT, str(target)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_key_that_refers_to_an_absent_row_is_an_invalid_reference(phone: Device) -> None:
    owner = UUIDKeyed.objects.create()

    results = push_raw(
        phone,
        phone.create("zoo.onetoonekeyed", {"note": "x"}, pk=ABSENT),
        phone.create("zoo.onetoonekeyed", {"note": "y"}, pk=str(owner.pk)),
    )

    assert [result["state"] for result in results] == ["parked", "applied"]
    assert results[0]["problem"]["code"] == "invalid_reference"


@pytest.mark.parametrize("change", [pytest.param({}, id="57-create-on-a-key-of-another-scope")])
def test_a_key_of_another_scope_is_unavailable(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, change: dict[str, Any]
) -> None:
    hidden = Dog.objects.create(shelter=other_shelter, name="Hidden")
    phone = device(shelter)

    (result, other) = push_raw(
        phone,
        phone.create(DOG, dog_fields(shelter), pk=str(hidden.pk), **change),
        phone.create(DOG, dog_fields(shelter)),
    )

    assert result == {
        "seq": 1,
        "state": "rejected",
        "problem": {"code": "pk_unavailable", "detail": "this primary key cannot be used"},
        "item": result["item"],
    }
    assert other["state"] == "applied"
    hidden.refresh_from_db()
    assert (hidden.name, hidden.shelter_id) == ("Hidden", other_shelter.pk)


@pytest.mark.parametrize("base", [pytest.param({"*": 1}, id="58-delete-of-nothing"), None])
def test_a_delete_of_nothing_does_nothing(phone: Device, base: Any) -> None:
    gone = {"model": SPECIMEN, "pk": ABSENT, "op": "delete", "clocks": {"*": now()}, "base": base}

    (result,) = push_raw(phone, gone)

    assert result == {"seq": 1, "state": "identical"}
    assert not Item.objects.exists()
    assert not Entry.objects.filter(model=SPECIMEN).exists()


@pytest.mark.parametrize(
    ("on_delete", "state"),
    [
        pytest.param("keep", "applied", id="59-put-on-a-tombstone-keep"),
        pytest.param("delete", "superseded", id="59-put-on-a-tombstone-delete"),
        pytest.param("review", "parked", id="59-put-on-a-tombstone-review"),
    ],
)
def test_a_put_on_a_tombstone_goes_by_the_policy_and_is_recorded(
    phone: Device, monkeypatch: pytest.MonkeyPatch, on_delete: str, state: str
) -> None:
    push_raw(phone, specimen(phone, 1, text="before"))
    phone.pull()
    monkeypatch.setattr(Specimen.SyncMeta, "on_delete", on_delete, raising=False)
    forget_options()
    Specimen.objects.all().delete()

    (result,) = push_raw(phone, phone.put(SPECIMEN, PK.format(1), {"count": 4}))

    assert result["state"] == state
    item = Item.objects.get(seq=2)
    assert (item.state, kept(item)) == (state, {"count": 4})
    if on_delete == "keep":
        assert Specimen.objects.values_list("text", "count").get() == ("before", 4)
    else:
        assert not Specimen.objects.exists()


def forget_options() -> None:
    options_for.cache_clear()


@pytest.fixture(autouse=True)
def options_of_the_models() -> Any:
    yield
    forget_options()


@pytest.mark.parametrize("chip", [pytest.param("secret-7", id="60-unique-clash-with-an-invisible-row")])
def test_a_unique_clash_tells_nothing_of_the_other_row(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, chip: str
) -> None:
    Dog.objects.create(shelter=other_shelter, name="Hidden", chip=chip)
    mine = Dog.objects.create(shelter=shelter, name="Mine")
    phone = device(shelter)
    phone.pull()

    results = push_raw(
        phone,
        phone.create(DOG, dog_fields(shelter, chip=chip)),
        phone.put(DOG, str(mine.pk), {"chip": chip}),
        phone.create(DOG, dog_fields(shelter, chip="free")),
    )

    assert [result["state"] for result in results] == ["parked", "parked", "applied"]
    for result in results[:2]:
        assert result["problem"] == {
            "code": "unique",
            "detail": "another row already has this value",
            "field": "chip",
        }
        assert chip not in json.dumps(result)
        assert kept(Item.objects.get(pk=result["item"]))["chip"] == chip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "mothers",
    [
        pytest.param([0], id="61-self-parent"),
        pytest.param([1, 0], id="61-cycle-of-two"),
        pytest.param([1, 2, 3, 0], id="61-cycle-of-four"),
    ],
)
def test_cycles_of_references_are_applied(
    device: DeviceFactory, shelter: Shelter, mothers: list[int]
) -> None:
    phone = device(shelter)

    results = push_raw(
        phone,
        *(
            phone.create(DOG, dog_fields(shelter, mother=PK.format(mother)), pk=PK.format(number))
            for number, mother in enumerate(mothers)
        ),
    )

    assert {result["state"] for result in results} == {"applied"}
    found = [str(Dog.objects.get(pk=PK.format(number)).mother_id) for number in range(len(mothers))]
    assert found == [PK.format(mother) for mother in mothers]
    assert not Dog.objects.exclude(mother=F("mother__pk")).exists()


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param(32503680000000000, id="62-clock-in-the-year-3000"),
        pytest.param(10**3000, id="62-clock-of-3000-digits"),
        pytest.param(-1, id="62-clock-negative"),
        pytest.param(-(10**3000), id="62-clock-negative-of-3000-digits"),
    ],
)
def test_wrong_clocks_are_clamped(phone: Device, clock: int) -> None:
    (made,) = push_raw(phone, {**specimen(phone, 1), "clocks": {"*": clock, "count": clock}})
    phone.pull()
    change = phone.put(SPECIMEN, PK.format(1), {"count": 1})
    change["clocks"]["count"] = clock
    (updated,) = push_raw(phone, change)
    unbased = {**change, "fields": {"count": 2}, "base": {"count": clock}}
    push_raw(phone, unbased)
    push_raw(phone, {**phone.delete(SPECIMEN, PK.format(1)), "clocks": {"*": clock}, "base": {"*": clock}})

    assert (made["state"], updated["state"]) == ("applied", "applied")
    received = now()
    for result in (made, updated):
        # A write is always later than what it overwrites, if only by a microsecond.
        assert all(0 <= timestamp <= received for timestamp in result["clocks"].values())
        assert 0 <= result["updated"] <= received
    assert Specimen.objects.exists() == (clock < 0)


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param("1", id="62-clock-as-text"),
        pytest.param(1.0, id="62-clock-as-a-float"),
        pytest.param(True, id="62-clock-true"),
        pytest.param(None, id="62-clock-null"),
        pytest.param([1], id="62-clock-in-a-list"),
    ],
)
@pytest.mark.parametrize("where", ["clocks", "base"])
def test_clocks_that_are_not_integers_are_malformed(phone: Device, clock: Any, where: str) -> None:
    change = {**specimen(phone, 1), where: {"*": clock}}

    problem_of(post_raw(phone.api, "/push", as_json(phone.body(change))), 400, "malformed")

    nothing_happened(phone)


def test_what_a_model_forgot_about_its_old_values_does_not_stop_a_push(phone: Device) -> None:
    """A file, and values that no client could push today, in the row that a client changes another field of."""
    row = Specimen.objects.create(
        label="old", email="no address", url="nowhere", file="specimens/lost.bin", slug="no slug!"
    )
    phone.pull()

    (result,) = push_raw(phone, phone.put(SPECIMEN, str(row.pk), {"count": 1}))

    assert result["state"] == "applied"
    row.refresh_from_db()
    assert (row.count, row.email, row.file.name, row.slug) == (
        1,
        "no address",
        "specimens/lost.bin",
        "no slug!",
    )


def test_without_a_user_nothing_is_served(phone: Device) -> None:
    stranger = APIClient()

    for path in ("/clients", "/pull", "/push"):
        response = post_raw(stranger, path, b"[")
        assert response.status_code == 401
        assert response["Content-Type"] == "application/problem+json"


def test_a_user_who_is_no_longer_active_is_served_nothing(phone: Device) -> None:
    User.objects.update(is_active=False)

    assert post_raw(phone.api, "/pull", as_json(phone.body())).status_code == 401


def test_a_checkpoint_is_of_the_feed(phone: Device) -> None:
    """What the tests above bend is a cursor as the server gives it out."""
    cursor = decode_cursor(phone.checkpoint)

    assert Checkpoint.objects.get(number=cursor.number).salt == cursor.salt
    assert encode_cursor(cursor) == phone.checkpoint
