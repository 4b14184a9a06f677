"""`syncreset plan` before a deploy: what the unapplied migrations break, for whom, and what is declared for it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test.utils import override_settings

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.recovery.upcast.register import upcast
from tests.schema_changes.older import Described, describe, field, publish_older
from tests.support.commands import command, data_of
from tests.support.factories import Declare, UserFactory
from tests.tracking.farm.models import Animal, Stall

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def farm() -> Iterator[None]:
    """The farm as it was deployed first; the code is of its last migration."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.tracking.farm"]):
        try:
            call_command("migrate", "farm", "0001", verbosity=0, interactive=False)
            yield
        finally:
            call_command("migrate", "farm", "zero", verbosity=0, interactive=False)
    call_command("migrate", verbosity=0, interactive=False)


def first_release(models: Described) -> None:
    """What the farm's first release published."""
    animal = models["farm.animal"]
    field(animal, "legs")["name"] = "feet"
    field(animal, "weight").update(type="Integer")
    field(animal, "weight").pop("max_length")
    animal["fields"] = [known for known in animal["fields"] if known["name"] != "colour"]
    animal["fields"].append({"name": "junk", "type": "Char", "null": False, "max_length": 20})
    models["farm.pen"] = {**models.pop("farm.stall"), "name": "farm.pen"}


def told(plan: Any) -> dict[tuple[str, str | None], Any]:
    return {(entry["model"], entry["field"]): entry for entry in plan["differences"]}


def becomes(entry: Any) -> list[tuple[str, str | None]]:
    return [(fate["becomes"], fate["target"]) for fate in entry["unsynced"]]


def test_nothing_to_apply_breaks_nothing() -> None:
    plan = data_of("plan")

    assert (plan["migrations"], plan["differences"], plan["breaking"], plan["drifted"]) == (
        [],
        [],
        False,
        False,
    )
    assert "Nothing breaks" in command("plan")


def test_what_migrations_break_is_told_with_what_to_declare(farm: None) -> None:
    plan = data_of("plan")

    assert plan["migrations"] == ["farm.0002_rename_feet", "farm.0003_rewrite", "farm.0004_rename_pen"]
    assert plan["breaking"] is True
    assert plan["drifted"] is False
    entries = told(plan)
    assert {(entry["kind"], *place) for place, entry in entries.items()} == {
        ("field_removed", "farm.animal", "feet"),
        ("field_added", "farm.animal", "legs"),
        ("type_changed", "farm.animal", "weight"),
        ("field_added", "farm.animal", "colour"),
        ("field_removed", "farm.animal", "junk"),
        ("model_removed", "farm.pen", None),
        ("model_added", "farm.stall", None),
    }
    assert entries["farm.animal", "feet"]["advice"] == 'SyncMeta.renamed = {"feet": "legs"}'
    assert entries["farm.animal", "weight"]["advice"] == 'register @upcast("farm.animal", "weight")'
    assert entries["farm.pen", None]["advice"] == 'SyncMeta.renamed_from = "farm.pen" in Stall'
    for place in (
        ("farm.animal", "feet"),
        ("farm.animal", "weight"),
        ("farm.animal", "junk"),
        ("farm.pen", None),
    ):
        assert becomes(entries[place]) == [("parked", None)], place


def test_what_is_declared_is_told_to_be_carried_over(farm: None, declare: Declare) -> None:
    declare(Animal, renamed={"feet": "legs"})
    declare(Stall, renamed_from="farm.pen")
    upcast("farm.animal", "weight")(lambda value, old: str(value))
    plan = data_of("plan")

    entries = told(plan)
    assert plan["breaking"] is True
    assert becomes(entries["farm.animal", "feet"]) == [("renamed", "legs")]
    assert becomes(entries["farm.animal", "weight"]) == [("upcast", "weight")]
    assert becomes(entries["farm.pen", None]) == [("renamed", "farm.stall")]
    assert becomes(entries["farm.animal", "junk"]) == [("parked", None)]
    assert ("farm.stall", None) not in entries
    assert plan["renamed"]["farm.animal"] == {"feet": "legs"}
    assert plan["renamed_from"]["farm.stall"] == ["farm.pen"]
    assert ("farm.animal", "weight") in [(entry["model"], entry["field"]) for entry in plan["upcasters"]]
    text = command("plan")
    assert "farm.animal: the field feet is legs now" in text
    assert "unsynced values: carried over to weight by a function" in text


def test_the_clients_whom_it_hits_are_counted(farm: None, user_factory: UserFactory) -> None:
    user = user_factory(name="ada")
    ancient = publish_older(
        first_release, lambda models: models["farm.pen"]["fields"].append({"name": "x", "type": "Char"})
    )
    current = publish_older(first_release)
    for schema, pending in ((current, 0), (current, 3), (current, 4), (ancient, 5), ("0" * 32, 6)):
        Client.objects.create(user=user, schema=schema, pending=pending)

    plan = data_of("plan")

    assert plan["clients"] == {
        "total": 5,
        "go_on": 0,
        "must_reset": 3,
        "unsynced": 2,
        "changes": 7,
        "already_due": 2,
    }
    assert not Reset.objects.exists()
    assert "of these with unsynced changes  2" in command("plan")


def test_clients_go_on_where_nothing_breaks(user_factory: UserFactory) -> None:
    schema = publish_older(
        lambda models: models["shelters.dog"]["fields"].remove(field(models["shelters.dog"], "weight"))
    )
    Client.objects.create(user=user_factory(name="ada"), schema=schema, pending=2)

    assert data_of("plan")["clients"] == {
        "total": 1,
        "go_on": 1,
        "must_reset": 0,
        "unsynced": 0,
        "changes": 0,
        "already_due": 0,
    }


def test_what_sync_meta_says_differently_is_told_without_any_migration() -> None:
    def older(models: Described) -> None:
        field(models["shelters.dog"], "intake_no").pop("read_only")
        field(models["shelters.dog"], "age")["counter"] = True

    publish_older(older)
    plan = data_of("plan")

    assert {(entry["kind"], entry["field"], entry["breaking"]) for entry in plan["differences"]} == {
        ("read_only", "intake_no", False),
        ("counter_removed", "age", True),
    }


def test_models_ahead_of_their_migrations_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"hash": "x", "models": list(describe().values())[1:]}
    monkeypatch.setattr("syncreset.operations.deploy_plan.current_schema", lambda: document)

    assert data_of("plan")["drifted"] is True
    assert "makemigrations" in command("plan")
