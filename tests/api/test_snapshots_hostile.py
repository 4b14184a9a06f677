"""Snapshots that are broken or hostile, numbers 63 to 75 of the catalogue, and values of rows that come in snapshots.

A snapshot that is broken as a whole is refused, and another may be tried. A fault of one of its rows is an item of the
ledger, which keeps what was sent as it was sent.
"""

import base64
import copy
import gzip
import hashlib
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Line, RowLine, TombstoneLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload
from syncreset.wire.schema import PublishedSchema, current_schema
from tests.support.bad_inputs import FIELDS, KEYS, MODELS, PK, REFUSED, SPECIMEN, zeros
from tests.support.device import PREFIX, Device
from tests.support.factories import DeviceFactory
from tests.support.snapshots import made_here, row_line
from tests.support.wire import as_json, create_upload, patch, post_raw, problem_of
from tests.zoo.models import CharKeyed, Specimen, UUIDKeyed

pytestmark = pytest.mark.django_db

LIMIT = 100 * 2**20


@pytest.fixture
def phone(device: DeviceFactory) -> Device:
    made = device()
    made.pull()
    return made


@pytest.fixture
def reset(phone: Device) -> str:
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=False)
    return str(ordered.pk)


def header(device: Device, reset: str, /, **more: Any) -> dict[str, Any]:
    return {
        "format": "syncreset-snapshot/1",
        "client": device.client,
        "reset": reset,
        "schema": device.schema,
        "checkpoint": device.checkpoint,
        "strategy": "by_base",
        "last_synced": {},
        "full": True,
        "created": now(),
        "client_time": now(),
        **more,
    }


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "row": [
            SPECIMEN,
            PK.format(number),
            {"label": f"number {number}", **fields},
            now(),
            {"*": now()},
            None,
        ]
    }


def snapshot(*lines: Any, end: Any = None) -> bytes:
    """Gzip of the lines as ASCII JSON, or as they are where they are bytes, with the end line that fits the rows."""
    counts = {"rows": len(lines) - 1, "tombstones": 0, "updates": 0}
    texts = [line if isinstance(line, bytes) else as_json(line) for line in (*lines, {"end": end or counts})]
    return gzip.compress(b"\n".join(texts) + b"\n")


def send(device: Device, reset: str, data: bytes, **metadata: str) -> Any:
    """The answer to the last byte of an upload in one piece."""
    created = create_upload(device, reset, data, length=None, **metadata)
    assert created.status_code == 201, created.content
    return patch(device, created["Location"], data)


def refused(device: Device, reset: str, data: bytes, status: int, code: str) -> dict[str, Any]:
    """The problem that a snapshot gets; its bytes are kept, and a sound snapshot may follow."""
    problem = problem_of(send(device, reset, data), status, code)
    upload = Upload.objects.latest("created")
    assert upload.refused.startswith(code)
    assert upload.pieces.exists()
    assert not Recovery.objects.exists()
    accepted(device, reset, snapshot(header(device, reset), row(99)))
    assert Specimen.objects.get().label == "number 99"
    return problem


def accepted(device: Device, reset: str, data: bytes) -> Recovery:
    response = send(device, reset, data)
    assert response.status_code == 204, response.content
    run(response["Syncreset-Recovery"])
    recovery = Recovery.objects.get(pk=response["Syncreset-Recovery"])
    assert recovery.state in ("done", "review"), recovery.problem
    return recovery


def items_of(device: Device, recovery: Recovery) -> list[dict[str, Any]]:
    """The whole ledger of a recovery, as the client may read it."""
    items: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        page = device.get(f"/recoveries/{recovery.pk}/items?start={start}")
        items += page["items"]
        start = page["next"]
    return items


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../../x", id="63-metadata-names-a-parent-directory"),
        pytest.param("/etc/x", id="63-metadata-names-an-absolute-path"),
        pytest.param("x\x00y", id="63-metadata-with-nul"),
        pytest.param("C:\\x", id="63-metadata-names-a-drive"),
        pytest.param("\U0001f9a5" * 1000, id="63-metadata-that-is-long"),
    ],
)
def test_the_server_names_the_files(phone: Device, reset: str, media: Path, name: str) -> None:
    data = snapshot(header(phone, reset), row(1))

    created = create_upload(phone, reset, data, filename=name, name=name, relativePath=name)
    sent = patch(phone, created["Location"], data)

    assert sent.status_code == 204
    files = [path for path in media.parent.rglob("*") if path.is_file()]
    upload = created["Location"].rpartition("/")[2]
    assert [path.relative_to(media).as_posix() for path in files] == [f"syncreset/{upload}/{0:020d}"]


def test_metadata_that_is_no_base64_or_no_text_is_malformed(phone: Device, reset: str) -> None:
    for metadata in ("sha256 ***", "sha256 /w==", f"sha256 {base64.b64encode(b'x').decode()}", "", ","):
        response = phone.api.post(
            f"{PREFIX}/resets/{reset}/snapshot",
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": metadata},
        )

        problem_of(response, 400, "malformed")
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    ("described", "code"),
    [
        ({"strategy": "by_magic"}, "malformed"),
        ({"strategy": "tests.api.test_snapshots_hostile.strategy"}, "malformed"),
        ({"strategy": "\x00"}, "malformed"),
        ({"mode": "destroy"}, "malformed"),
        ({"sha256": "x" * 64}, "malformed"),
        ({"sha256": "0" * 63}, "malformed"),
    ],
)
def test_metadata_that_names_what_there_is_not_is_malformed(
    phone: Device, reset: str, described: dict[str, str], code: str
) -> None:
    problem_of(create_upload(phone, reset, b"x", length=None, **described), 400, code)


@pytest.mark.parametrize(
    ("length", "status", "code"),
    [(0, 400, "malformed"), (-1, 400, "malformed"), (2**40, 413, "too_large"), (10**30, 400, "malformed")],
)
def test_a_length_that_is_none_or_too_large_is_refused(
    phone: Device, reset: str, length: int, status: int, code: str
) -> None:
    problem_of(create_upload(phone, reset, b"x", length=length), status, code)


BROKEN: list[tuple[str, Callable[[Device, str], bytes]]] = [
    ("64-not-gzip", lambda device, reset: b"hello"),
    ("64-one-byte", lambda device, reset: b"\x1f"),
    ("64-gzip-of-nothing", lambda device, reset: gzip.compress(b"")),
    ("64-zlib-without-gzip", lambda device, reset: zlib.compress(b"{}")),
    ("64-not-ndjson", lambda device, reset: gzip.compress(b"hello\n")),
    ("64-csv", lambda device, reset: snapshot(header(device, reset), b"a,b,c")),
    ("64-line-that-is-a-list", lambda device, reset: snapshot(header(device, reset), [1])),
    ("64-line-of-no-known-kind", lambda device, reset: snapshot(header(device, reset), {"rows": []})),
    ("64-line-of-two-kinds", lambda device, reset: snapshot(header(device, reset), {**row(1), "update": []})),
    (
        "64-line-with-duplicate-keys",
        lambda device, reset: snapshot(header(device, reset), b'{"row":1,"row":2}'),
    ),
    ("64-line-with-nan", lambda device, reset: snapshot(header(device, reset), b'{"row":NaN}')),
    (
        "64-line-nested-1000-deep",
        lambda device, reset: snapshot(header(device, reset), b'{"row":' + b"[" * 1000),
    ),
    ("64-line-in-latin-1", lambda device, reset: snapshot(header(device, reset), b'{"row":"\xe9"}')),
    ("64-an-empty-line", lambda device, reset: snapshot(header(device, reset), b"")),
    ("64-no-header", lambda device, reset: snapshot(row(1))),
    ("64-two-headers", lambda device, reset: snapshot(header(device, reset), header(device, reset))),
    (
        "64-another-format",
        lambda device, reset: snapshot(header(device, reset, format="syncreset-snapshot/2")),
    ),
    ("64-rubbish-behind-the-end", lambda device, reset: snapshot(header(device, reset)) + b"rubbish"),
    (
        "64-a-row-behind-the-end",
        lambda device, reset: snapshot(header(device, reset)) + gzip.compress(as_json(row(1))),
    ),
    ("65-truncated-in-the-trailer", lambda device, reset: snapshot(header(device, reset), row(1))[:-1]),
    ("65-truncated-in-the-middle", lambda device, reset: snapshot(header(device, reset), row(1))[:-40]),
    ("65-truncated-to-the-gzip-header", lambda device, reset: snapshot(header(device, reset))[:10]),
    ("65-truncated-before-the-end-line", lambda device, reset: gzip.compress(as_json(header(device, reset)))),
    ("67-fewer-rows-than-announced", lambda device, reset: snapshot(header(device, reset), end={"rows": 1})),
    (
        "67-more-rows-than-announced",
        lambda device, reset: snapshot(header(device, reset), row(1), end={"rows": 0}),
    ),
    (
        "67-counts-that-are-text",
        lambda device, reset: snapshot(header(device, reset), row(1), end={"rows": "1"}),
    ),
    (
        "67-counts-that-are-true",
        lambda device, reset: snapshot(header(device, reset), row(1), end={"rows": True}),
    ),
    ("67-counts-that-are-a-list", lambda device, reset: snapshot(header(device, reset), end=[1])),
    (
        "67-tombstones-that-are-not-there",
        lambda device, reset: snapshot(header(device, reset), end={"rows": 0, "tombstones": 1}),
    ),
    (
        "67-a-count-of-a-megabyte",
        lambda device, reset: snapshot(header(device, reset), end={"rows": "x" * 2**20}),
    ),
    (
        "69-ten-million-rows-announced",
        lambda device, reset: snapshot(
            header(device, reset), row(1), row(2), row(3), end={"rows": 10_000_000}
        ),
    ),
]


@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in BROKEN])
def test_a_snapshot_broken_as_a_whole_is_invalid_and_another_may_be_tried(
    phone: Device, reset: str, build: Callable[[Device, str], bytes]
) -> None:
    problem = refused(phone, reset, build(phone, reset), 422, "invalid_snapshot")

    assert len(problem["detail"]) < 1000


WORDS: tuple[Any, ...] = ("\x00", "\ud800", "a\nb", 7, None, [], True)
HEADERS: list[dict[str, Any]] = [
    *({name: value} for name in ("client", "reset", "schema", "strategy") for value in WORDS),
    *({"checkpoint": value} for value in WORDS if value is not None),
    *(
        {name: value}
        for name in ("created", "client_time")
        for value in ("1", 1.5, None, True, 2**62, -(10**3000))
    ),
    {"last_synced": []},
    *({"last_synced": {"x": value}} for value in ("1", None, 10**3000)),
    *({"last_synced": {name: 1}} for name in ("\x00", "\ud800")),
    *({"full": value} for value in (1, None, "true")),
    {"strategy": "by_magic"},
    {"reset": PK.format(1)},
]


@pytest.mark.parametrize("wrong", HEADERS, ids=lambda wrong: repr(wrong)[:40])
def test_a_header_that_no_database_can_keep_is_invalid(
    phone: Device, reset: str, wrong: dict[str, Any]
) -> None:
    response = send(phone, reset, snapshot(header(phone, reset, **wrong)), strategy="")

    problem_of(response, 422, "invalid_snapshot")
    assert not Recovery.objects.exists()


@pytest.mark.parametrize("checkpoint", [None, "", "nonsense", "W10.AAAAAAAAAAAAAAAAAAAAAA"])
@pytest.mark.parametrize("client_time", [0, -(2**62) + 1, 2**62 - 1])
def test_a_header_that_is_merely_strange_is_worked_with(
    phone: Device, reset: str, checkpoint: Any, client_time: int
) -> None:
    strange = header(
        phone, reset, checkpoint=checkpoint, client_time=client_time, last_synced={"zoo.unicorn": 2**63 - 1}
    )

    recovery = accepted(phone, reset, snapshot(strange, row(1)))

    assert recovery.totals["applied"] == 1
    assert 0 <= Specimen.objects.get().last_updated <= now()


@pytest.mark.parametrize("digest", [pytest.param("0" * 64, id="66-wrong-sha256")])
def test_a_wrong_sha256_is_invalid(phone: Device, reset: str, digest: str) -> None:
    data = snapshot(header(phone, reset), row(1))

    problem_of(send(phone, reset, data, sha256=digest), 422, "invalid_snapshot")

    assert not Recovery.objects.exists()
    assert accepted(phone, reset, data).totals["applied"] == 1


def test_a_refused_upload_is_kept_for_another_try(phone: Device, reset: str) -> None:
    """Once the server has learned the schema, the bytes that are there already will do."""
    data = snapshot(header(phone, reset, schema="0" * 32), row(1))
    created = create_upload(phone, reset, data)
    problem_of(patch(phone, created["Location"], data), 422, "unsupported_schema")

    again = patch(phone, created["Location"], b"", offset=len(data))

    problem_of(again, 422, "unsupported_schema")
    head = phone.api.head(created["Location"], headers={"Tus-Resumable": "1.0.0"})
    assert head["Upload-Offset"] == head["Upload-Length"] == str(len(data))


def line_of_100_megabytes(device: Device, reset: str) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    start = as_json(header(device, reset)) + b'\n{"row":["zoo.specimen","'
    middle = b"".join(compressor.compress(b"x" * 2**20) for _ in range(100))
    return compressor.compress(start) + middle + compressor.compress(b'"]}\n') + compressor.flush()


BOMBS: list[tuple[str, Callable[[Device, str], bytes]]] = [
    ("68-row-line-of-100-megabytes", line_of_100_megabytes),
    ("74-gzip-of-a-gibibyte-of-zeros", lambda device, reset: zeros(2**30)),
    ("74-gzip-of-gzip", lambda device, reset: gzip.compress(zeros(2**30))),
    (
        "74-a-gibibyte-of-lines",
        lambda device, reset: (
            gzip.compress(as_json(header(device, reset)) + b"\n")
            + gzip.compress(b'{"row":["' + b"x" * 2**20 + b'"]}\n') * 3000
        ),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in BOMBS])
def test_a_bomb_is_too_large_while_it_streams(
    phone: Device, reset: str, settings: Settings, build: Callable[[Device, str], bytes]
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "SNAPSHOT_DECOMPRESSED_LIMIT": 64 * 2**20}
    data = build(phone, reset)
    created = create_upload(phone, reset, data)

    began = time.perf_counter()
    problem_of(patch(phone, created["Location"], data), 413, "too_large")
    took = time.perf_counter() - began
    tracemalloc.start()
    try:
        problem_of(patch(phone, created["Location"], b"", offset=len(data)), 413, "too_large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert took <= 5
    assert peak <= LIMIT
    assert not Recovery.objects.exists()


@pytest.mark.parametrize("offset", [pytest.param(0, id="70-upload-resumed-at-a-wrong-offset"), 7, 10**6])
def test_a_wrong_offset_is_answered_with_the_true_one(phone: Device, reset: str, offset: int) -> None:
    data = snapshot(header(phone, reset), row(1))
    half = len(data) // 2
    location = create_upload(phone, reset, data)["Location"]
    assert patch(phone, location, data[:half]).status_code == 204

    wrong = patch(phone, location, data[offset:], offset=offset)

    problem_of(wrong, 409, "offset_conflict")
    assert wrong["Upload-Offset"] == str(half)
    assert phone.api.head(location, headers={"Tus-Resumable": "1.0.0"})["Upload-Offset"] == str(half)
    finished = patch(phone, location, data[half:], offset=half)
    assert finished.status_code == 204
    assert finished["Upload-Offset"] == str(len(data))
    run(finished["Syncreset-Recovery"])
    assert Specimen.objects.count() == 1


@pytest.mark.parametrize("offset", ["", "-1", "1.5", "\u0661", "0x1", "9" * 30])
def test_an_offset_that_is_no_number_is_malformed(phone: Device, reset: str, offset: str) -> None:
    location = create_upload(phone, reset, b"x")["Location"]

    response = phone.api.generic(
        "PATCH",
        location,
        b"x",  # type: ignore[arg-type]
        content_type="application/offset+octet-stream",
        headers={"Tus-Resumable": "1.0.0", "Upload-Offset": offset},
    )

    problem_of(response, 400, "malformed")


def test_a_piece_beyond_the_announced_length_is_too_large(phone: Device, reset: str) -> None:
    location = create_upload(phone, reset, b"12345678")["Location"]

    problem_of(patch(phone, location, b"123456789"), 413, "too_large")

    assert phone.api.head(location, headers={"Tus-Resumable": "1.0.0"})["Upload-Offset"] == "0"


@pytest.mark.parametrize(
    ("checksum", "status", "code"),
    [
        ("sha256 " + base64.b64encode(hashlib.sha256(b"other").digest()).decode(), 460, "checksum_mismatch"),
        ("sha256 ***", 400, "malformed"),
        ("crc32 AAAA", 400, "malformed"),
        ("\x00", 400, "malformed"),
    ],
)
def test_a_piece_with_a_wrong_checksum_is_thrown_away(
    phone: Device, reset: str, checksum: str, status: int, code: str
) -> None:
    location = create_upload(phone, reset, b"12345678")["Location"]

    problem_of(patch(phone, location, b"1234", Upload_Checksum=checksum), status, code)

    assert phone.api.head(location, headers={"Tus-Resumable": "1.0.0"})["Upload-Offset"] == "0"


@pytest.mark.parametrize(
    "second",
    [pytest.param("other rows", id="71-two-snapshots-for-one-reset"), "the same", "nonsense"],
)
def test_a_second_snapshot_has_a_recovery_of_its_own_unless_it_is_the_same(
    phone: Device, reset: str, second: str
) -> None:
    """It may be that of a copy of the store, which holds what the first does not."""
    data = snapshot(header(phone, reset), row(1))
    first = accepted(phone, reset, data)
    others = {"other rows": snapshot(header(phone, reset), row(2)), "nonsense": b"nonsense"}

    response = send(phone, reset, others.get(second, data))

    if second == "nonsense":
        problem_of(response, 422, "invalid_snapshot")
    else:
        assert (response["Syncreset-Recovery"] == str(first.pk)) == (second == "the same")
    for recovery in Recovery.objects.values_list("pk", flat=True):
        run(recovery)
    assert Specimen.objects.count() == (2 if second == "other rows" else 1)


@pytest.mark.parametrize("schema", [pytest.param("f" * 32, id="72-unknown-schema-hash"), "", "x" * 10_000])
def test_an_unknown_schema_is_unsupported_and_the_snapshot_is_kept(
    phone: Device, reset: str, media: Path, schema: str
) -> None:
    data = snapshot(header(phone, reset, schema=schema), row(1))

    refused(phone, reset, data, 422, "unsupported_schema")

    kept = [path.read_bytes() for path in media.rglob("*") if path.is_file()]
    assert data in kept


@pytest.mark.parametrize(
    "whose", [pytest.param("of another user", id="73-another-clients-snapshot"), "of nobody"]
)
def test_another_clients_snapshot_is_forbidden(
    phone: Device, reset: str, device: DeviceFactory, whose: str
) -> None:
    other = device().client if whose == "of another user" else PK.format(7)

    refused(phone, reset, snapshot(header(phone, reset, client=other), row(1)), 403, "client_forbidden")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(PK.format(0xAB), id="75-two-rows-with-one-key"),
        pytest.param(PK.format(0xAB).upper(), id="75-two-rows-with-one-key-in-another-case"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 500])
def test_the_later_of_two_rows_with_one_key_is_a_duplicate(
    phone: Device, reset: str, settings: Settings, key: str, chunk: int
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "RECOVERY_CHUNK": chunk}
    later = {"row": [SPECIMEN, key, {"label": "later"}, now(), {"*": now()}, None]}

    recovery = accepted(phone, reset, snapshot(header(phone, reset), row(0xAB), row(1), later, row(2)))

    assert Specimen.objects.get(pk=PK.format(0xAB)).label == "number 171"
    assert [item["state"] for item in items_of(phone, recovery)] == [
        "applied",
        "applied",
        "rejected",
        "applied",
    ]
    item = Item.objects.get(state="rejected")
    assert (item.code, item.change["fields"]) == ("duplicate_row", {"label": "later"})


def hostile_rows() -> Iterable[tuple[dict[str, Any], str]]:
    """Each fault of a row in the catalogue, as a line, and its code."""
    number = 1000
    for _, name, value, code in [*REFUSED, *FIELDS]:
        number += 1
        if name not in ("generated", "file", "image"):
            yield row(number, **{name: value}), code
    for _, model in MODELS:
        number += 1
        yield {"row": [model, PK.format(number), {"a": "\ud800"}, now(), {"*": now()}, None]}, "unknown_model"
    for _, model, pk in KEYS:
        code = "invalid_pk" if isinstance(pk, str) else "malformed_line"
        yield {"row": [model, pk, {"note": "x"}, now(), {"*": now()}, None]}, code


def test_every_fault_of_a_row_is_an_item_and_the_other_rows_are_applied(phone: Device, reset: str) -> None:
    faults = list(hostile_rows())
    lines = [line for number, (bad, _) in enumerate(faults) for line in (row(number), bad)]

    recovery = accepted(phone, reset, snapshot(header(phone, reset), *lines))

    assert Specimen.objects.count() == len(faults)
    items = items_of(phone, recovery)
    assert [item["state"] for item in items] == ["applied", "rejected"] * len(faults)
    assert recovery.totals["applied"] == recovery.totals["rejected"] == len(faults)
    kept = Item.objects.filter(state="rejected").order_by("line")
    for (line, code), item, shown in zip(faults, kept, items[1::2], strict=True):
        assert (item.code, shown["problem"]["code"]) == (code, code), line
        if code == "malformed_line":
            assert json.loads(item.change["fields"]["line"]) == line
        else:
            model, pk, fields, *_ = line["row"]
            change = item.change
            assert as_json([change["model"], change["pk"], change["fields"]]) == as_json([model, pk, fields])


@pytest.mark.parametrize(
    "line",
    [
        {"row": []},
        {"row": {}},
        {"row": None},
        {"row": [SPECIMEN, PK.format(1), {}, "now", {}, None]},
        {"row": [SPECIMEN, PK.format(1), [], 1, {}, None]},
        {"row": [SPECIMEN, PK.format(1), {}, 1, {"*": 1.5}, None]},
        {"row": [SPECIMEN, PK.format(1), {}, 1, {}, {"label": "1"}]},
        {"row": [SPECIMEN, PK.format(1), {}, 1, {}, None, "more \ud800\x00"]},
        {"tombstone": []},
        {"tombstone": [SPECIMEN, 1, 1, 1]},
        {"tombstone": [SPECIMEN, PK.format(1), None, 1]},
        {"tombstone": [SPECIMEN, PK.format(1), 1, 1], "pulled": "yes"},
        {"update": [SPECIMEN, PK.format(1), 7, 1]},
        {"update": "x"},
    ],
    ids=repr,
)
def test_a_line_of_the_wrong_shape_is_an_item(phone: Device, reset: str, line: dict[str, Any]) -> None:
    (kind,) = line.keys() & {"row", "tombstone", "update"}
    counts = {"rows": 2, "tombstones": 0, "updates": 0}
    counts[f"{kind}s"] += 1
    data = snapshot(header(phone, reset), row(8), line, row(9), end=counts)

    recovery = accepted(phone, reset, data)

    assert {specimen.label for specimen in Specimen.objects.all()} == {"number 8", "number 9"}
    assert (recovery.totals["applied"], recovery.totals["rejected"]) == (2, 1)
    item = Item.objects.get(state="rejected")
    assert (item.code, json.loads(item.change["fields"]["line"])) == ("malformed_line", line)
    assert len(items_of(phone, recovery)) == 3


TIMES = [32503680000000000, 10**3000, -1, -(10**3000), 0]


@pytest.mark.parametrize(
    "clock", TIMES, ids=lambda clock: f"{float(clock) if abs(clock) < 10**300 else 'huge'}"
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("edited", [False, True])
def test_clocks_of_a_snapshot_are_clamped_and_its_names_checked(
    phone: Device, clock: int, full: bool, edited: bool
) -> None:
    there = UUIDKeyed.objects.create(note="there")
    deleted = UUIDKeyed.objects.create(note="deleted")
    gone = CharKeyed.objects.create(code="gone")
    phone.pull()
    known = phone.rows["zoo.uuidkeyed", str(there.pk)]["clocks"]["*"]
    UUIDKeyed.objects.filter(pk=deleted.pk).delete()
    gone.delete()
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=full)
    clocks = {"*": clock, "note": clock, "\x00": 1, "\ud800": 1, "__proto__": 1, "x" * 9999: 1}
    base = {"note": known, "\ud800": 1} if edited else {}
    lines: list[Line] = [
        RowLine(
            model="zoo.uuidkeyed",
            pk=str(pk),
            row=Row(fields={"note": f"edited {pk}"}, updated=clock, clocks=clocks),
            base=base,
        )
        for pk in (there.pk, deleted.pk)
    ]
    new = Row(fields={"note": "new"}, updated=clock, clocks=clocks)
    lines += [
        RowLine(model="zoo.uuidkeyed", pk=PK.format(1), row=new, base=None),
        RowLine(model="zoo.uuidkeyed", pk=PK.format(2), row=new, base={}),
        RowLine(model="zoo.charkeyed", pk="gone", row=new, base={}),
        TombstoneLine(model="zoo.uuidkeyed", pk=PK.format(3), at=clock, base=clock, pulled=False),
        TombstoneLine(model="zoo.charkeyed", pk="never", at=clock, base=None, pulled=True),
    ]

    recovery = accepted(phone, str(ordered.pk), phone.snapshot(str(ordered.pk), lines))

    received = now()
    assert recovery.state in ("done", "review")
    assert UUIDKeyed.objects.get(pk=there.pk).note.startswith("edited") == (
        edited or (full and clock > received)
    )
    for model in (UUIDKeyed, CharKeyed):
        for kept in model._default_manager.all():
            assert 0 <= kept.last_updated <= received
            assert set(kept.field_timestamps) <= {"*", "note"}
            assert all(0 <= timestamp <= received for timestamp in kept.field_timestamps.values())
    assert len(items_of(phone, recovery)) == Item.objects.filter(recovery=recovery).count()


@pytest.mark.parametrize("base", TIMES, ids=lambda base: f"{float(base) if abs(base) < 10**300 else 'huge'}")
def test_what_a_deletion_says_that_it_has_seen_is_clamped(phone: Device, base: int) -> None:
    phone.pull()
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=True)
    line = TombstoneLine(model="zoo.uuidkeyed", pk=PK.format(3), at=now(), base=base, pulled=False)

    recovery = accepted(phone, str(ordered.pk), phone.snapshot(str(ordered.pk), [line]))

    assert recovery.state == "done"
    entry = Entry.objects.get(model="zoo.uuidkeyed", pk_text=PK.format(3))
    assert entry.updated is not None
    assert 0 <= entry.updated <= now()


def test_files_and_old_values_come_back_with_a_healed_row(phone: Device) -> None:
    """What a client pulled it may give back, be it a file that it cannot push; the rest of the row is healed."""
    made = Specimen.objects.create(label="Lost", file="specimens/lost.bin", text="kept")
    phone.pull()
    held = phone.rows[SPECIMEN, str(made.pk)]
    Specimen.objects.all().delete()
    clear_tombstones()
    (ordered,) = Reset.objects.force(Client.objects.filter(pk=phone.client), full=True)

    recovery = accepted(phone, str(ordered.pk), phone.snapshot(str(ordered.pk), [row_line(held, {})]))

    assert recovery.totals["applied"] == 1, list(Item.objects.values("state", "problem"))
    assert (Specimen.objects.get().label, Specimen.objects.get().text) == ("Lost", "kept")


def clear_tombstones() -> None:
    Entry.objects.filter(kind=1).delete()


def test_a_parked_item_is_resolved_with_no_value_that_its_field_cannot_hold(
    phone: Device, reset: str
) -> None:
    parked = RowLine(
        model=SPECIMEN,
        pk=PK.format(1),
        row=Row(fields={"label": "x", "to_uuid": PK.format(2)}, updated=now(), clocks={"*": now()}),
        base=None,
    )
    recovery = accepted(phone, reset, phone.snapshot(reset, [parked]))
    (item,) = items_of(phone, recovery)
    assert item["state"] == "parked"

    for keep in (
        {"text": "\x00"},
        {"text": "\ud800"},
        {"label__contains": "x"},
        {"json": {"\ud800": "\x00"}},
        {"big_integer": 10**3000},
        {"\ud800": 1},
        "client",
    ):
        response = post_raw(phone.api, f"/items/{item['id']}/resolve", as_json({"keep": keep}))
        assert response.status_code == 200, (keep, response.content[:300])
        assert response.json()["state"] == "parked", keep
    refused: list[Any] = [None, 7, [], "", "both", True]
    for malformed in refused:
        response = post_raw(phone.api, f"/items/{item['id']}/resolve", as_json({"keep": malformed}))
        problem_of(response, 400, "malformed")
    assert not Specimen.objects.exists()
    settled = post_raw(phone.api, f"/items/{item['id']}/resolve", as_json({"keep": {"to_uuid": None}}))
    assert settled.json()["state"] == "applied", settled.json()
    assert Specimen.objects.get().label == "x"


def test_lone_surrogates_of_the_ledger_can_be_read(phone: Device, reset: str) -> None:
    """A field that the schema of the snapshot had and that is no more is parked as it came."""
    document = copy.deepcopy(current_schema()) | {"hash": "e" * 32}
    (model,) = (model for model in document["models"] if model["name"] == "zoo.charkeyed")
    model["fields"].append({"name": "old", "type": "Text", "null": True})
    PublishedSchema.objects.create(hash="e" * 32, document=document)
    line = made_here("zoo.charkeyed", "a", {"note": "x", "old": "\ud800\x00"})

    recovery = accepted(phone, reset, phone.snapshot(reset, [line], schema="e" * 32))

    applied, parked = items_of(phone, recovery)
    assert (applied["state"], parked["state"]) == ("applied", "parked")
    assert parked["fields"]["old"]["client"] == "\ud800\x00"
    settled = post_raw(phone.api, f"/items/{parked['id']}/resolve", as_json({"keep": "server"}))
    assert settled.json()["fields"]["old"]["client"] == "\ud800\x00"


@pytest.mark.parametrize(
    "query", ["start=-1", "start=x", "start=%00", "state=lost", "state=%00", "start=" + "9" * 40]
)
def test_a_query_that_makes_no_sense_is_malformed(phone: Device, reset: str, query: str) -> None:
    recovery = accepted(phone, reset, snapshot(header(phone, reset), row(1)))

    problem_of(phone.api.get(f"{PREFIX}/recoveries/{recovery.pk}/items?{query}"), 400, "malformed")
