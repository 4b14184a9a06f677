"""What is answered before or beside the protocol's own code: unknown paths, and headers that Django reads first."""

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.test import Client
from rest_framework.test import APIClient

from tests.shelters.models import Shelter
from tests.support.device import PREFIX, Device
from tests.support.factories import DeviceFactory
from tests.support.snapshots import forced
from tests.support.wire import as_json, create_upload, patch, post_raw, problem_of

pytestmark = pytest.mark.django_db

TUS = {"Tus-Resumable": "1.0.0"}

UNKNOWN = [
    "/nothing",
    "/pull/",
    "//pull",
    "/push/more",
    "/schema/",
    "/clients/1",
    "/resets/seven",
    "/uploads/",
    "/recoveries/0190a5b4/items",
    "/resets/0190a5b4-0000-7000-8000-00000000000g",
    "/%0A",
    "/%FF",
    "/a%00b",
    "/%2E%2E/admin",
]

READ_BY_DJANGO = [
    "application/json; charset*=klingon''utf-8",
    "application/json; charset*=utf-8''%FF",
    "application/json; charset*=''utf-8",
    "application/json; charset*=utf-8'utf-8",
    "application/json; charset*='''",
    "application/json; charset*0=utf; charset*1=-9",
    "application/json; charset*0*=klingon''utf; charset*1=-8",
    "application/json; a*=\x00''b",
    'application/json; charset="a\x00b"',
    "application/json; charset=\ud7ff",
    "application/json; charset=" + "x" * 70_000,
    "application/json" + "; a=b" * 20_000,
]


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_path_is_a_problem(phone: Device, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        for api in (phone.api, APIClient()):
            problem_of(api.generic(method, PREFIX + path), 404, "not_found")
    answer = phone.api.head(PREFIX + path)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_an_unknown_path_outside_the_prefix_is_the_projects(phone: Device) -> None:
    answer = phone.api.get("/sync/v2/pull")

    assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (404, "text/html")


@pytest.mark.parametrize("header", READ_BY_DJANGO)
def test_a_content_type_that_django_cannot_read_is_refused(phone: Device, header: str) -> None:
    body = as_json(phone.body())

    answer = post_raw(phone.api, "/push", body, content_type=header)

    if answer.status_code != 200:
        assert answer.status_code in (400, 415)
        assert answer.json()["code"] in ("malformed", "unsupported_charset")


@pytest.mark.parametrize("parameters", ["charset*=klingon''utf-8", "charset=a\x00b"])
def test_unreadable_parameters_are_a_charset_that_is_not_supported(phone: Device, parameters: str) -> None:
    answer = post_raw(
        phone.api, "/push", as_json(phone.body()), content_type=f"application/json; {parameters}"
    )

    problem_of(answer, 415, "unsupported_charset")


def test_over_asgi_too(phone: Device) -> None:
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{PREFIX}/nothing",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"Content-Type", b"application/json; charset*=klingon''x")],
    }
    body = [{"type": "http.request", "body": b"{}"}]

    async def receive() -> Any:
        if not body:
            await asyncio.sleep(60)
        return body.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ASGIHandler()(scope, receive, send))

    assert sent[0]["status"] == 404


HEADERS = [
    "Accept",
    "Accept-Language",
    "Accept-Encoding",
    "Cookie",
    "Range",
    "If-Modified-Since",
    "If-None-Match",
    "Content-Encoding",
    "Syncreset-Protocol",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Checksum",
    "Tus-Resumable",
    "X-HTTP-Method-Override",
    "X-Forwarded-For",
    "Origin",
    "Referer",
    "Authorization",
    "Content-Length",
    "Host",
    "Expect",
]

VALUES = [
    "",
    ";;;",
    "a/b;q=x",
    "\u00ff\u00fe",
    "=?utf-8?q?=ff?=",
    "Token \u00ff",
    "sessionid=\u00ff;csrftoken=x",
    "-1",
    "9" * 400,
    "'''",
    "%FF%00",
    "a" * 9000,
    "sha256 ====",
    "x*=y''z",
]


@pytest.mark.parametrize("header", HEADERS)
def test_no_header_fails_the_server(phone: Device, header: str) -> None:
    reset = "0190a5b4-0000-7000-8000-000000000000"
    calls = [
        ("GET", "/"),
        ("POST", "/pull"),
        ("POST", f"/resets/{reset}/snapshot"),
        ("PATCH", f"/uploads/{reset}"),
        ("GET", f"/recoveries/{reset}/items?start=0"),
    ]
    for value in VALUES:
        named: dict[str, Any] = {"headers": {**TUS, header: value}}
        if header == "Content-Length":
            # One that is longer than the body never comes to its end, with the tests' client as on a network.
            named = {"CONTENT_LENGTH": value.replace("9" * 400, "1")}
        for method, path in calls:
            body: Any = b"{}"
            answer = phone.api.generic(method, PREFIX + path, body, content_type="application/json", **named)

            assert answer.status_code < 500, (value, method, path, answer.content[:300])


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\u00e9",
        "application/x-www-form-urlencoded; charset=latin-1",
    ],
)
def test_a_form_of_a_session_is_a_problem(db: None, content_type: str) -> None:
    """The session's check against forgery reads forms before any view does."""
    user = User.objects.create_user("ada")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)

    answer = browser.generic("POST", f"{PREFIX}/pull", b"a=\xff", content_type=content_type)

    assert answer["Content-Type"] == "application/problem+json"
    assert answer.status_code in (400, 403)


def test_the_method_of_an_upload_may_be_overridden(phone: Device) -> None:
    data = phone.snapshot(reset := forced(phone), [])
    location = create_upload(phone, reset, data)["Location"]
    half = len(data) // 2

    def override(method: str, body: bytes = b"", **headers: str) -> Any:
        return phone.api.generic(
            "POST",
            location,
            body,  # type: ignore[arg-type]
            content_type="application/offset+octet-stream",
            headers={**TUS, "X-HTTP-Method-Override": method, **headers},
        )

    assert override("PATCH", data[:half], **{"Upload-Offset": "0"}).status_code == 204
    assert override("HEAD")["Upload-Offset"] == str(half)
    problem_of(override("PUT"), 405, "method_not_allowed")
    assert override("DELETE").status_code == 204
    problem_of(override("PATCH", data[half:], **{"Upload-Offset": str(half)}), 404, "not_found")


def test_the_method_of_anything_else_may_not_be_overridden(phone: Device) -> None:
    answer = phone.api.post(f"{PREFIX}/events", headers={"X-HTTP-Method-Override": "HEAD"})
    problem_of(answer, 405, "method_not_allowed")
    answer = phone.api.post(f"{PREFIX}/pull", {}, headers={"X-HTTP-Method-Override": "DELETE"})
    problem_of(answer, 400, "malformed")


def test_a_finished_upload_says_its_recovery(phone: Device) -> None:
    data = phone.snapshot(reset := forced(phone), [])
    location = create_upload(phone, reset, data)["Location"]
    assert "Syncreset-Recovery" not in phone.api.head(location, headers=TUS)

    recovery = patch(phone, location, data)["Syncreset-Recovery"]

    assert phone.api.head(location, headers=TUS)["Syncreset-Recovery"] == recovery
