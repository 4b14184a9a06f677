"""An app in a browser on another origin: what the constants name is what the API sends and reads."""

import re
from typing import Any

import pytest
from corsheaders.defaults import default_headers
from pytest_django import Settings
from rest_framework.test import APIClient

from syncreset.api.cors import EXPOSED_HEADERS, REQUEST_HEADERS
from syncreset.clients.client import Client
from tests.shelters.models import Shelter
from tests.support.device import PREFIX, Device
from tests.support.factories import DeviceFactory
from tests.support.pages import ROOT
from tests.support.snapshots import forced
from tests.support.wire import create_upload, patch

pytestmark = pytest.mark.django_db

ORIGIN = "https://app.example.org"
TUS = {"Tus-Resumable": "1.0.0"}

#: What every script may read, or that browsers alone care for.
NOT_FOR_SCRIPTS = {
    "Allow",
    "Cache-Control",
    "Content-Length",
    "Content-Type",
    "Cross-Origin-Opener-Policy",
    "Referrer-Policy",
    "Vary",
    "X-Accel-Buffering",
    "X-Content-Type-Options",
    "X-Frame-Options",
}


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


def test_all_headers_that_the_api_sends_are_exposed(phone: Device) -> None:
    sent: set[str] = set()

    def read(answer: Any) -> Any:
        sent.update(answer.headers)
        return answer

    reset = forced(phone)
    body = {"client": phone.client, "schema": phone.schema, "checkpoint": phone.checkpoint, "receipt": ""}
    assert read(phone.api.post(f"{PREFIX}/pull", body)).status_code == 409
    data = phone.snapshot(reset, [])
    assert read(phone.api.options(f"{PREFIX}/resets/{reset}/snapshot")).status_code == 204
    location = read(create_upload(phone, reset, data))["Location"]
    assert read(patch(phone, location, data[:9])).status_code == 204
    assert read(phone.api.head(location, headers=TUS)).status_code == 200
    assert read(patch(phone, location, data[9:], 9)).status_code == 204
    assert read(phone.api.head(location)).status_code == 412
    assert read(APIClient().get(f"{PREFIX}/")).status_code == 401
    assert read(phone.api.get(f"{PREFIX}/events")).status_code == 503
    assert read(phone.api.put(f"{PREFIX}/pull")).status_code == 405

    assert sent - NOT_FOR_SCRIPTS == set(EXPOSED_HEADERS)


def test_all_headers_that_the_api_reads_are_allowed() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "syncreset" / "api").glob("*.py")]
    read = {name.lower() for text in sources for name in re.findall(r'headers\.get\(\s*"([\w-]+)"', text)}

    assert read - set(default_headers) == set(REQUEST_HEADERS)


def test_a_browser_is_let_in(phone: Device, settings: Settings) -> None:
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    settings.CORS_ALLOW_HEADERS = [*default_headers, *REQUEST_HEADERS]
    settings.CORS_EXPOSE_HEADERS = list(EXPOSED_HEADERS)
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": ",".join(REQUEST_HEADERS),
    }

    preflight = APIClient().options(f"{PREFIX}/uploads/0190a5b4-0000-7000-8000-000000000000", headers=asked)
    browser = APIClient()
    browser.force_authenticate(Client.objects.get(pk=phone.client).user)
    answer = browser.get(f"{PREFIX}/", headers={"Origin": ORIGIN})
    unknown = browser.get(f"{PREFIX}/nothing", headers={"Origin": ORIGIN})

    allowed = preflight["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    assert set(REQUEST_HEADERS) <= set(allowed)
    assert "PATCH" in preflight["Access-Control-Allow-Methods"]
    for response in (answer, unknown):
        assert response["Access-Control-Allow-Origin"] == ORIGIN
        assert set(response["Access-Control-Expose-Headers"].replace(" ", "").split(",")) == set(
            EXPOSED_HEADERS
        )
