"""A client of an older schema: it goes on where the new one only adds, and resets where something broke."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.migrations.executor import MigrationExecutor

from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.feed.entries import Entry
from syncreset.protocol.clock import now
from syncreset.protocol.compatibility import breaking_changes
from syncreset.sdk.store.schema import only_adds, parse_schema
from syncreset.wire import schema
from syncreset.wire.schema import current_schema, published
from tests.schema_changes.older import Described, field, publish_newer, publish_older
from tests.shelters.models import Dog, Shelter
from tests.support.device import PREFIX
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def without(*names: str) -> Callable[[Described], object]:
    """The dog before these fields were added to it."""

    def alter(models: Described) -> None:
        models[DOG]["fields"] = [known for known in models[DOG]["fields"] if known["name"] not in names]

    return alter


def test_a_row_made_under_the_older_schema_gets_the_defaults_of_new_columns(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.schema = publish_older(without("notes", "weight", "born"))
    phone.pull()

    made = phone.create(
        DOG, {"shelter": str(shelter.pk), "name": "Rex", "age": 3, "mother": None, "chip": None}
    )
    (result,) = phone.push(made)

    assert result["state"] == "applied", result
    dog = Dog.objects.get()
    assert (dog.name, dog.notes, dog.weight, dog.born) == ("Rex", "", None, None)


def test_new_columns_keep_their_values_when_an_older_client_writes(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3, notes="bites", weight="12.50")
    phone = device(shelter)
    phone.schema = publish_older(without("notes", "weight", "born"))
    phone.pull()
    older = {"shelter": str(shelter.pk), "age": 4, "mother": None, "chip": None}

    edited, whole = phone.push(
        phone.put(DOG, str(dog.pk), {"age": 4}),
        phone.create(DOG, {**older, "name": "Max"}, pk=str(dog.pk)),
    )

    assert edited["state"] == "applied"
    assert whole["state"] in ("applied", "merged"), whole
    dog.refresh_from_db()
    assert (dog.age, dog.notes, str(dog.weight)) == (4, "bites", "12.50")


def test_a_row_that_an_older_client_restores_keeps_what_the_tombstone_knows_of_new_columns(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3, notes="bites")
    phone = device(shelter)
    phone.schema = publish_older(without("notes"))
    phone.pull()
    change = phone.put(DOG, str(dog.pk), {"age": 4})
    Dog.objects.all().delete()

    (result,) = phone.push(change)

    assert result["state"] == "applied", result
    restored = Dog.objects.get()
    assert (restored.age, restored.notes) == (4, "bites")


def _change(name: str, **description: Any) -> Callable[[Described], object]:
    return lambda models: field(models[DOG], name).update(description)


def _add(**description: Any) -> Callable[[Described], object]:
    return lambda models: models[DOG]["fields"].append(description)


BREAKING = {
    "a model was removed": (
        lambda models: models.update({"shelters.cat": {**models[DOG], "name": "shelters.cat"}}),
        "shelters.cat was removed",
    ),
    "a field was removed": (_add(name="tag", type="Char", null=True), "shelters.dog.tag was removed"),
    "a type changed": (
        _change("age", type="Char"),
        "shelters.dog.age changed its type from Char to Integer",
    ),
    "a relation points elsewhere": (
        _change("mother", to="shelters.vet"),
        "shelters.dog.mother changed its type from ForeignKey to shelters.vet to ForeignKey to shelters.dog",
    ),
    "null was taken away": (_change("name", null=True), "shelters.dog.name can no longer be null"),
    "a text was cut": (_change("name", max_length=300), "shelters.dog.name became shorter"),
    "a length was set": (_change("name", max_length=None), "shelters.dog.name became shorter"),
    "a number lost places": (
        _change("weight", max_digits=7, decimal_places=3),
        "shelters.dog.weight became shorter",
    ),
    "a number lost digits": (_change("weight", max_digits=7), "shelters.dog.weight became shorter"),
    "the key got another name": (
        lambda models: models[DOG].update(primary_key="code"),
        "the primary key of shelters.dog changed",
    ),
    "the key got another type": (
        lambda models: models[DOG].update(primary_key_type="Integer"),
        "the primary key of shelters.dog changed",
    ),
    "a counter is none any more": (_change("age", counter=True), "shelters.dog.age is no longer a counter"),
}


@pytest.mark.parametrize(("alter", "detail"), BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_is_a_reset_that_names_what_broke(
    device: DeviceFactory, shelter: Shelter, alter: Callable[[Described], object], detail: str
) -> None:
    phone = device(shelter)
    phone.pull()
    phone.schema = publish_older(alter)

    told = [phone.pull(status=409), phone.push(phone.create(DOG, dog_fields(shelter)), status=409)]

    for problem in told:
        assert (problem["code"], problem["reason"]) == ("client_reset", "schema_incompatible")
        assert detail in problem["detail"]
    assert told[0]["reset"] == told[1]["reset"]
    assert not Dog.objects.exists()


def test_a_client_ahead_of_a_process_that_is_about_to_be_replaced_is_asked_to_wait(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    phone.schema = publish_newer(_change("age", type="Char"))

    answers = [
        phone.api.post(f"{PREFIX}/pull", {**phone.body(), "limit": 10}),
        phone.api.post(f"{PREFIX}/push", phone.body(phone.create(DOG, dog_fields(shelter)))),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "server_outdated")
        assert int(answer["Retry-After"]) > 0
    assert not Reset.objects.exists()


ADDING = {
    "a model is new": lambda models: models.pop("shelters.visit"),
    "a field is new": without("weight"),
    "null became allowed": _change("age", null=False),
    "a text became longer": _change("name", max_length=100),
    "a limit was lifted": _change("notes", max_length=100),
    "a number got digits": _change("weight", max_digits=5),
    "other choices": lambda models: field(models["shelters.visit"], "kind").update(choices=[["x", "X"]]),
    "a field became read-only": _change("intake_no", read_only=False),
    "another scope": lambda models: models[DOG].update(scope=None),
}


@pytest.mark.parametrize("alter", ADDING.values(), ids=ADDING.keys())
def test_what_only_adds_lets_the_client_go_on(
    device: DeviceFactory, shelter: Shelter, alter: Callable[[Described], object]
) -> None:
    phone = device(shelter)
    phone.schema = publish_older(alter)
    phone.pull()

    (result,) = phone.push(phone.create(DOG, dog_fields(shelter)))

    assert result["state"] == "applied", result
    assert not Reset.objects.exists()


@pytest.mark.parametrize("breaks", [True, False])
def test_the_sdk_alters_its_tables_exactly_where_the_server_lets_it_go_on(db: None, breaks: bool) -> None:
    alterations = [alter for alter, _ in BREAKING.values()] if breaks else list(ADDING.values())
    current = parse_schema(current_schema())

    for alter in alterations:
        older = published(publish_older(alter))
        assert older is not None
        assert only_adds(parse_schema(older), current) is not breaks
        assert bool(breaking_changes(older, current.document)) is breaks


def test_a_schema_that_was_never_published_is_a_reset(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.schema = "0" * 32

    problem = phone.pull(status=409)

    assert problem["reason"] == "schema_incompatible"
    assert "unknown" in problem["detail"]


def test_a_bootstrap_under_the_broken_schema_is_not_served(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    current, phone.schema = phone.schema, publish_older(_change("age", type="Char"))
    reset = phone.pull(status=409)["reset"]
    phone.checkpoint = None

    assert phone.pull(status=409, reset=reset)["reset"] == reset
    phone.schema = current
    phone.pull(reset=reset)
    phone.pull()


def test_a_second_breaking_change_is_another_reset(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)
    phone.pull()
    phone.schema = publish_older(_change("age", type="Char"))
    first = phone.pull(status=409)["reset"]
    phone.schema = publish_older(_change("age", type="Float"))

    second = phone.pull(status=409)["reset"]

    assert second != first
    assert phone.get(f"/resets/{second}")["state"] == "ordered"


def test_a_reset_that_wants_everything_still_does_after_a_schema_change_took_its_place(
    device: DeviceFactory, shelter: Shelter
) -> None:
    phone = device(shelter)
    phone.pull()
    Reset.objects.force(Client.objects.all(), full=True)
    phone.schema = publish_older(_change("age", type="Char"))

    problem = phone.pull(status=409)

    assert (problem["reason"], problem["recovery"]["full"]) == ("schema_incompatible", True)


def test_a_column_newer_than_a_tombstone_has_its_default_there(
    device: DeviceFactory, shelter: Shelter
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=3)
    phone = device(shelter)
    phone.pull()
    change = phone.put(DOG, str(dog.pk), {"notes": "bites", "weight": "3.00"})
    Dog.objects.all().delete()
    entry = Entry.objects.get(model=DOG)
    assert entry.row is not None
    for name in ("notes", "weight"):  # added by a migration after the deletion
        entry.row["fields"].pop(name)
    entry.save(update_fields=["row"])

    (result,) = phone.push(change)

    assert result["state"] in ("applied", "merged"), result
    restored = Dog.objects.get()
    assert (restored.name, str(restored.weight)) == ("Rex", "3.00")


def test_what_migrate_has_published_is_newer_than_who_starts_before_it_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published_hash = schema.current_schema()["hash"]
    schema.publish_after_migrate(using=DEFAULT_DB_ALIAS)
    monkeypatch.setattr(schema, "_LOADED", now())
    assert schema.is_of_newer_release(published_hash)

    schema.publish()

    assert schema.is_of_newer_release(published_hash)
    monkeypatch.setattr(schema, "_LOADED", now())
    assert not schema.is_of_newer_release(published_hash), (
        "it is served, so whoever starts now is of it or later"
    )


def test_a_migrate_that_leaves_something_out_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: [("left out", False)])

    schema.publish_after_migrate(using=DEFAULT_DB_ALIAS)

    assert not schema.PublishedSchema.objects.exists()
