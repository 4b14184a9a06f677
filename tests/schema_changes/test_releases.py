"""Three releases of a project, each deployed with its own code and migrations, and a device offline meanwhile."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from syncreset.sdk import Replica
from tests.schema_changes.releases import Deployment

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]

SEED = """
from shelters.models import Hound, Shelter
shelter = Shelter.objects.create(name="North")
Hound.objects.create(shelter=shelter, name="Rex", winters=3, weight=20, tag="A1")
Hound.objects.create(shelter=shelter, name="Ben", winters=5)
print(shelter.pk)
"""

ROWS = """
import json
from shelters.models import Dog, Walk
rows = list(Dog.objects.order_by("name").values("name", "age", "weight", "colour"))
print(json.dumps({"dogs": rows, "walks": list(Walk.objects.values_list("dog__name", "miles"))}))
"""

ITEMS = """
import json
from syncreset.models import Item
items = Item.objects.order_by("line", "part")
told = [[item.state, item.code, item.model, {n: d["client"] for n, d in item.fields.items()}] for item in items]
print(json.dumps(told))
"""


@pytest.fixture
def deployment(db: None, tmp_path: Path) -> Iterator[Deployment]:
    connection.ensure_connection()
    with ExitStack() as stack:
        yield Deployment(tmp_path, stack)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def by_name(phone: Replica, model: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in phone.all(model)}


def test_a_device_that_was_offline_over_two_deploys_loses_nothing(
    deployment: Deployment, stack: ExitStack, tmp_path: Path
) -> None:
    deployment.unpack(1)
    deployment.serve()
    token = deployment.admit()
    shelter = deployment.shell(SEED)
    phone = stack.enter_context(Replica(tmp_path / "phone.db", deployment.url, token, name="phone"))
    tablet = stack.enter_context(Replica(tmp_path / "tablet.db", deployment.url, token, name="tablet"))
    phone.sync()
    tablet.sync()

    # The second release only adds: the tablet takes it over without a reset, with what it had not sent.
    rex = by_name(tablet, "shelters.hound")["Rex"]["id"]
    tablet.update("shelters.hound", rex, winters=4)
    deployment.unpack(2)
    plan = json.loads(deployment.manage("syncreset", "plan", "--json"))
    assert (plan["breaking"], plan["clients"]["must_reset"], plan["clients"]["go_on"]) == (False, 0, 2)
    deployment.serve()
    report = tablet.sync()
    assert (report.reset, dict(report.results)) == (None, {"applied": 1})
    assert by_name(tablet, "shelters.hound")["Rex"]["colour"] == "brown"
    assert "shelters.vet" in tablet.models

    # The phone goes on under the first release's schema, offline.
    hounds = by_name(phone, "shelters.hound")
    phone.update("shelters.hound", hounds["Rex"]["id"], weight=21, tag="A2")
    phone.update("shelters.hound", hounds["Ben"]["id"], winters=6)
    pup = phone.create("shelters.hound", shelter=shelter, name="Pup", winters=1, weight=2, tag="")
    phone.create("shelters.walk", hound=pup, miles=7)

    # The third release breaks.
    deployment.unpack(3)
    plan = json.loads(deployment.manage("syncreset", "plan", "--json"))
    assert plan["breaking"] is True
    assert (plan["clients"]["must_reset"], plan["clients"]["already_due"]) == (2, 0)
    assert plan["renamed_from"] == {"shelters.dog": ["shelters.hound"]}
    assert [entry["function"] for entry in plan["upcasters"]] == ["shelters.upcasters.weight"]
    deployment.serve()
    started = time.monotonic()
    report = phone.sync(wait=True)

    assert time.monotonic() - started < 60
    assert report.reset is not None, deployment.log()
    assert (report.reset.reason, report.reset.state) == ("schema_incompatible", "recovered")
    rows = json.loads(deployment.shell(ROWS))
    assert rows["dogs"] == [
        {"name": "Ben", "age": 6, "weight": None, "colour": "brown"},
        {"name": "Pup", "age": 1, "weight": "2 kg", "colour": "brown"},
        {"name": "Rex", "age": 4, "weight": "21 kg", "colour": "brown"},
    ]
    assert rows["walks"] == [["Pup", 7]]
    items = json.loads(deployment.shell(ITEMS))
    assert [item for item in items if item[0] != "applied"] == [
        ["parked", "schema_changed", "shelters.dog", {"tag": "A2"}],
        ["parked", "schema_changed", "shelters.dog", {"tag": ""}],
    ], items
    assert by_name(phone, "shelters.dog")["Rex"] == {
        "id": rex,
        "shelter": shelter,
        "name": "Rex",
        "age": 4,
        "weight": "21 kg",
        "colour": "brown",
    }
    assert "shelters.hound" not in phone.models

    # The tablet has nothing unsynced: it resets and goes on.
    report = tablet.sync(wait=True)
    assert report.reset is not None
    assert by_name(tablet, "shelters.dog") == by_name(phone, "shelters.dog")
    tablet.update("shelters.dog", rex, age=5)
    assert dict(tablet.sync().results) == {"applied": 1}
