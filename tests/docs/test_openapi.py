"""The OpenAPI document: it is the code's, it agrees with the protocol page, and live answers are as it says."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import RowLine
from syncreset.recovery.run import run
from tests.shelters.models import Dog, Shelter
from tests.support.factories import DeviceFactory
from tests.support.pages import ROOT, headings, page
from tools.openapi import document as openapi
from tools.openapi.operations import OPERATIONS, Operation

DOG = "shelters.dog"
TARGET = ROOT / "docs" / "reference" / "openapi.json"


def faults(schema: str, value: Any) -> list[str]:
    """Where a value is not what a named schema of the document says."""
    components = openapi.document()["components"]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def without_names(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_the_committed_document_is_the_codes() -> None:
    committed = json.loads(TARGET.read_text(encoding="utf-8"))

    assert committed == openapi.document(), "run: python -m tools.openapi"


def test_the_protocol_page_has_every_path_and_method_and_no_other() -> None:
    documented = {
        f"{method} {without_names(path)}"
        for heading in headings(page("docs/reference/protocol.md"))
        for method, path in re.findall(r"^(GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE) (/\S*)$", heading)
    }
    described = {
        f"{method.upper()} {without_names(path)}"
        for path, item in openapi.document()["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert documented == described


def test_the_document_is_well_formed() -> None:
    document = openapi.document()
    text = json.dumps(document)

    assert document["openapi"].startswith("3.1")
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, f"{name} is used nowhere"
    assert {reference.rpartition("/")[2] for reference in re.findall(r'"\$ref": "([^"]+)"', text)} <= set(
        document["components"]["schemas"]
    )
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))


def test_a_path_that_is_not_described_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {key: value for key, value in OPERATIONS.items() if key != ("pull", "post")}
    monkeypatch.setattr(openapi, "OPERATIONS", fewer)

    with pytest.raises(LookupError, match="POST /pull"):
        openapi.document()


def test_a_description_of_what_is_not_served_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**OPERATIONS, ("nowhere", "get"): Operation(summary="nothing")}
    monkeypatch.setattr(openapi, "OPERATIONS", more)

    with pytest.raises(LookupError, match="nowhere"):
        openapi.document()


def test_a_wrong_answer_is_found() -> None:
    assert faults("Reset", {"id": 3}) != []
    assert faults("PulledChange", {"model": DOG, "pk": "1"}) != []


def test_live_answers_of_sync_are_as_described(device: DeviceFactory, shelter: Shelter) -> None:
    old = Dog.objects.create(shelter=shelter, name="Old")
    gone = Dog.objects.create(shelter=shelter, name="Gone")
    phone = device(shelter)

    assert faults("Root", phone.get("/")) == []
    schema = phone.get("/schema")
    assert faults("Schema", schema) == []
    assert faults("Schema", phone.get(f"/schema/{schema['hash']}")) == []
    assert faults("Client", phone.post("/clients", {"client": phone.client}, 201)) == []
    assert faults("Page", phone.pull()) == []
    gone.delete()
    page_of_deletion = phone.pull()
    assert [change for change in page_of_deletion["changes"] if "deleted" in change]
    assert faults("Page", page_of_deletion) == []

    Dog.objects.filter(pk=old.pk).update(notes="the server's")
    body = phone.body(
        phone.create(DOG, {"shelter": str(shelter.pk), "name": "New"}),
        phone.put(DOG, str(old.pk), {"age": 3}),
        phone.put(DOG, str(old.pk), {"notes": "the client's"}),
        phone.put(DOG, str(old.pk), {"nonsense": 1}, base={}),
    )
    assert faults("PushRequest", body) == []
    answer = phone.post("/push", body)
    assert [result["state"] for result in answer["results"]] == ["applied", "applied", "parked", "rejected"]
    assert faults("PushAnswer", answer) == []


def test_live_answers_of_a_reset_are_as_described(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    Reset.objects.force(Client.objects.all())

    ordered = phone.pull(409)
    assert faults("ClientReset", ordered) == []
    reset = ordered["reset"]
    assert faults("Reset", phone.get(f"/resets/{reset}")) == []

    clocks = {"*": now()}
    lines = [
        RowLine(
            model=DOG,
            pk=f"0190a5b4-0000-7000-8000-00000000000{number}",
            row=Row(fields={"shelter": str(shelter.pk), **fields}, updated=now(), clocks=clocks),
            base=None,
        )
        for number, fields in enumerate([{"name": "New"}, {"name": "Wrong", "age": "x"}])
    ]
    recovery = phone.upload(reset, phone.snapshot(reset, lines))
    assert faults("Recovery", phone.get(f"/recoveries/{recovery}")) == []
    run(recovery)

    merged = phone.get(f"/recoveries/{recovery}")
    assert (merged["totals"]["applied"], merged["totals"]["rejected"]) == (1, 1)
    assert faults("Recovery", merged) == []
    items = phone.get(f"/recoveries/{recovery}/items")
    assert len(items["items"]) == 2
    assert faults("Items", items) == []
    assert faults("Reset", phone.get(f"/resets/{reset}")) == []


def test_the_answer_to_a_decision_is_as_described(device: DeviceFactory, shelter: Shelter) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone = device(shelter)
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes="the server's")
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"notes": "the client's"}))
    decision = {"keep": "client"}
    assert faults("Decide", decision) == []

    resolved = phone.post(f"/items/{result['item']}/resolve", decision)

    assert faults("Item", resolved) == []
    assert resolved["state"] == "applied"
    assert faults("Problem", phone.post(f"/items/{result['item']}/resolve", decision, 409)) == []


def test_problems_are_as_described(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)

    for answer in (
        phone.post("/pull", {}, 400),
        phone.post("/pull", {"protocol": 9}, 426),
        phone.api.get("/sync/v1/schema/unknown").json(),
        phone.api.get("/sync/v1/pull").json(),
    ):
        assert faults("Problem", answer) == []


def test_whatever_names_something_says_that_it_may_not_be_there() -> None:
    silent = [
        f"{method} {path}"
        for path, item in openapi.document()["paths"].items()
        for method, operation in item.items()
        if "{" in path and method != "parameters" and "404" not in operation["responses"]
    ]

    assert silent == []


@pytest.mark.parametrize("path", ["resets/seven/snapshot", "uploads/seven"])
def test_an_address_that_cannot_be_one_is_not_there_by_any_method(device: DeviceFactory, path: str) -> None:
    phone = device()

    for method in ("options", "get", "delete"):
        answer = getattr(phone.api, method)(f"/sync/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_statuses_of_the_page_are_in_the_document() -> None:
    table = page("docs/reference/protocol.md").split("## Status codes")[1]
    documented = {
        int(status)
        for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
        for status in row.split(",")
    }
    answered = {
        int(status)
        for item in openapi.document()["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
        if int(status) >= 400
    }

    assert answered == documented - {405}
