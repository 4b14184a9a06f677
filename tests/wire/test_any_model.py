"""Rows of models that nobody has written, on every way they take: none of it changes a value or a clock."""

import io
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, models, transaction
from hypothesis import example, given
from rest_framework.test import APIClient

from syncreset.checks import models as checks
from syncreset.ledger.item import Item, ItemState
from syncreset.protocol.snapshot.lines import Header, Line, RowLine
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.protocol.snapshot.write import write_snapshot
from syncreset.recovery.context import context_of
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import recover_again
from syncreset.recovery.review import resolve
from syncreset.recovery.run import run
from syncreset.sdk.reset.snapshot import lines_of
from syncreset.sdk.store.marks import Marks
from syncreset.sdk.store.schema import parse_schema
from syncreset.sdk.store.store import Store
from syncreset.tracking.register import registered_models
from syncreset.tracking.registry import EVERYONE, many_to_many_fields, synced_fields
from syncreset.tracking.triggers import install as triggers
from syncreset.wire.fields.codec import is_server_computed
from syncreset.wire.model import model_labelled, wire_model
from syncreset.wire.rows import StoredRow, all_rows
from tests.support.any_model import AnyModel, Existing, any_model, existing, related_in_every_way
from tests.support.device import Device
from tests.support.properties import examples
from tests.support.snapshots import forced, recover

pytestmark = pytest.mark.django_db(transaction=True)

models_and_rows = examples(20, shrink=False)

Fields = dict[str, dict[str, Any]]


@pytest.fixture
def phones(api_for: Callable[[User], APIClient], user_factory: Any) -> Callable[[], Device]:
    """Makes devices of one user who may write everything."""
    api = api_for(user_factory(is_superuser=True))
    return lambda: Device(api).register()


@contextmanager
def forgotten() -> Iterator[None]:
    """What the block wrote is gone afterwards, as on a server restored from a backup of before."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- What is compared ----------------------------------------------------------------------------------------------


def as_wire(model: Any) -> dict[str, StoredRow]:
    return {row.pk: row for row in all_rows(wire_model(model), {EVERYONE})}


def as_python(model: Any) -> Fields:
    """The rows as the ORM gives them, in a form in which equal values are equal."""
    names = [column.attname for column in (model._meta.pk, *synced_fields(model))]
    rows = model._base_manager.order_by("pk").values(*names)
    return {
        str(row["pk" if "pk" in row else names[0]]): {name: _comparable(value) for name, value in row.items()}
        for row in rows
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def as_stored(model: Any) -> Fields:
    """The rows as the database has them, each column as a literal with its type; documents parsed."""
    quote = connection.ops.quote_name
    columns = [column for column in model._meta.concrete_fields if not _is_json(column)]
    shown = "quote({})" if connection.vendor == "sqlite" else "CAST({} AS text)"
    listed = ", ".join(shown.format(quote(column.column)) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {listed} FROM {quote(model._meta.db_table)} ORDER BY 1")
        rows = cursor.fetchall()
    names = [column.name for column in columns]
    at = names.index(model._meta.pk.name)
    return {row[at]: dict(zip(names, row, strict=True)) for row in rows}


def _is_json(column: Any) -> bool:
    output = getattr(column, "output_field", column)
    return isinstance(output, models.JSONField)


def computed(model: Any) -> set[str]:
    """The fields that a device cannot bring: their values are the server's own, and made anew with the row."""
    return {
        column.name
        for column in synced_fields(model)
        if is_server_computed(column) and not getattr(column, "generated", False)
    }


def differences(before: Fields, after: Fields, *, but: set[str]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """(key, field) to the two values, where they are not the same; ``but`` names fields that may differ."""
    absent: dict[str, Any] = {}
    return {
        (pk, name): (before.get(pk, absent).get(name), after.get(pk, absent).get(name))
        for pk in before.keys() | after.keys()
        for name in (before.get(pk, absent).keys() | after.get(pk, absent).keys()) - but
        if before.get(pk, absent).get(name) != after.get(pk, absent).get(name)
    }


@dataclass(frozen=True, kw_only=True)
class State:
    """What stands in the tables of a drawn model, in three ways of looking at it."""

    wire: dict[tuple[str, str], StoredRow]
    python: dict[Any, Fields]
    stored: dict[Any, Fields]


def state(made: Existing) -> State:
    return State(
        wire={
            (model._meta.label_lower, pk): row for model in made.both for pk, row in as_wire(model).items()
        },
        python={model: as_python(model) for model in made.both},
        stored={model: as_stored(model) for model in made.both},
    )


# --- The ways ------------------------------------------------------------------------------------------------------


def accepted(made: Existing) -> None:
    """Neither Django nor syncreset has anything against the models."""
    for model in made.both:
        found = [*model.check(databases=["default"]), *checks.check_model(model)]
        assert [str(message) for message in found if message.is_serious()] == []


def snapshot_lines(phone: Device, directory: Path) -> list[Line]:
    """What the phone has pulled, put into a store of the SDK and taken out of it for a snapshot."""
    document = phone.get(f"/schema/{phone.schema}")
    held_models = {label for label, _ in phone.rows}
    schema = parse_schema(
        {**document, "models": [model for model in document["models"] if model["name"] in held_models]}
    )
    store = Store(directory / f"{uuid.uuid4()}.db")
    try:
        with store.applying():
            store.adopt_schema(schema)
            for (label, pk), row in phone.rows.items():
                store.write_row(schema.model(label), pk, row["fields"])
                store.set_marks(label, pk, Marks(updated=row["updated"], clocks=row["clocks"]))
        lines: list[Line] = [line for label in schema.models for line in lines_of(store, label)]
    finally:
        store.close()
    held = {(line.model, line.pk): line for line in lines if isinstance(line, RowLine)}
    assert exactly({key: dict(line.row.fields) for key, line in held.items()}) == exactly(
        {key: row["fields"] for key, row in phone.rows.items()}
    )
    return lines


def exactly(value: Any) -> Any:
    """Wire values with their types: 1 is not 1.0, and not true."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    return json.dumps(value, sort_keys=True)


def written_and_read(phone: Device, lines: list[Line]) -> list[Line]:
    header = Header(client=phone.client, reset="r", schema=phone.schema, checkpoint=None, strategy="by_base")
    target = io.BytesIO()
    write_snapshot(target, header, lines)
    return list(SnapshotReader(io.BytesIO(target.getvalue())))


def check_schema(phone: Device, made: Existing) -> None:
    """The published document says of each field what the model says."""
    document = {model["name"]: model for model in phone.get("/schema")["models"]}
    for model in made.both:
        described = document[model._meta.label_lower]
        fields = {column["name"]: column for column in described.pop("fields")}
        assert described["primary_key"] == model._meta.pk.name
        assert fields.keys() == {
            column.name for column in (*synced_fields(model), *many_to_many_fields(model))
        }
        for column in synced_fields(model):
            said = fields[column.name]
            assert said["null"] == column.null
            assert said.get("read_only", False) == is_server_computed(column)
            if isinstance(column, models.ForeignKey):
                assert said["to"] in document
            elif not isinstance(column, models.FileField):
                assert said.get("max_length") == column.max_length
                assert len(said.get("choices", [])) == len(column.flatchoices)
        for many in many_to_many_fields(model):
            assert fields[many.name]["to"] in document


# --- The properties ------------------------------------------------------------------------------------------------


@models_and_rows
@given(drawn=any_model())
@example(drawn=related_in_every_way())
def test_a_snapshot_of_any_model_changes_nothing_where_it_is_from_and_heals_a_server_that_forgot_it(
    phones: Callable[[], Device], tmp_path: Path, drawn: AnyModel
) -> None:
    with existing(drawn) as made, forgotten():
        accepted(made)
        phone = phones()
        with forgotten():
            made.write_rows()
            phone.pull()
            before = state(made)
            assert {key: row["fields"] for key, row in phone.rows.items()}.keys() >= before.wire.keys()
            check_schema(phone, made)
            lines = snapshot_lines(phone, tmp_path)
            assert written_and_read(phone, lines) == lines

            recovery = recover(phone, forced(phone), lines)

            assert (recovery.state, recovery.changes) == ("done", 0)
            assert state(made) == before
        assert not made.model._base_manager.exists()

        problem = phone.pull(status=409)
        recovery = recover(phone, problem["reset"], lines)

        assert problem["reason"] == "history_diverged"
        leave_files(recovery)
        waiting = written_by_servers_alone(before.wire)
        if waiting:
            parked = Item.objects.filter(recovery=recovery, state=ItemState.PARKED)
            assert waiting <= set(parked.values_list("model", "pk_text"))
            return
        decided = decide_numbered(recovery, made)
        if decided:
            recovery = once_more(recovery)
        recovery.refresh_from_db()
        assert (recovery.state, refusals(recovery)) == ("done", [])
        after = state(made)
        for model in made.both:
            made_anew = computed(model) | ({"last_updated"} if decided else set())
            assert differences(before.python[model], after.python[model], but=made_anew) == {}
            assert differences(before.stored[model], after.stored[model], but=made_anew) == {}
        for key, row in before.wire.items():
            assert key in decided or (after.wire[key].row.clocks, after.wire[key].row.updated) == (
                row.row.clocks,
                row.row.updated,
            )


def written_by_servers_alone(rows: Mapping[tuple[str, str], StoredRow]) -> set[tuple[str, str]]:
    """Rows with a value that no client may bring: they wait for a person, whoever held them."""
    found = set()
    for (label, pk), stored in rows.items():
        model = model_labelled(label)
        assert model is not None
        for name, value in stored.row.fields.items():
            field = model.fields[name]
            if isinstance(field, models.FloatField) and isinstance(value, str):
                found.add((label, pk))
            if isinstance(field, models.JSONField) and value is None and not field.null:
                found.add((label, pk))
    return found


def leave_files(recovery: Recovery) -> None:
    """What a snapshot says of files waits for an operator, who knows better."""
    for item in Item.objects.filter(recovery=recovery, state=ItemState.PARKED, code="forbidden_field"):
        assert all(
            value.keys() == {"name", "size", "sha256", "url"} for value in item.change["fields"].values()
        )
        resolve(item, "server", context_of(recovery, operator=True))


def once_more(recovery: Recovery) -> Recovery:
    """What waited for the numbered rows and refers to each other is written together."""
    repeated = recover_again(recovery)
    run(repeated.pk)
    leave_files(repeated)
    repeated.refresh_from_db()
    return repeated


def decide_numbered(recovery: Recovery, made: Existing) -> set[tuple[str, str]]:
    """Rows that the database numbers wait for an operator, and with them what refers to them. Returns their keys."""
    numbered = [model for model in made.both if model._meta.auto_field is not None]
    operator = context_of(recovery, operator=True)
    parked = Item.objects.filter(recovery=recovery, state=ItemState.PARKED)
    decided = set(parked.values_list("model", "pk_text"))
    for _ in decided if numbered else ():
        for item in parked.order_by("line"):
            assert item.code in ("server_assigned_pk", "invalid_reference")
            resolve(item, "client", operator)
    return decided


def refusals(recovery: Recovery) -> list[tuple[str, Any]]:
    return list(
        Item.objects.filter(recovery=recovery)
        .exclude(state=ItemState.APPLIED)
        .exclude(code="forbidden_field")
        .values_list("state", "problem")
    )


@models_and_rows
@given(drawn=any_model(by_devices=True))
@example(drawn=related_in_every_way(null=True))
@example(drawn=replace(related_in_every_way(null=True), registered=True))
def test_what_a_device_pushes_of_any_model_is_what_the_server_holds(
    phones: Callable[[], Device], drawn: AnyModel
) -> None:
    with existing(drawn) as made, forgotten():
        phone = phones()
        with forgotten():
            made.write_rows()
            phone.pull()
            wanted, rows = state(made), dict(phone.rows)
        phone.checkpoint = None
        phone.pull()

        results = phone.push(
            *(phone.create(label, writable(label, row["fields"]), pk) for (label, pk), row in rows.items())
        )

        assert [result for result in results if result["state"] != "applied"] == []
        held = state(made)
        for model in made.both:
            made_anew = computed(model) | {"last_updated"}
            assert differences(wanted.python[model], held.python[model], but=made_anew) == {}
            assert differences(wanted.stored[model], held.stored[model], but=made_anew) == {}

        phone.pull()
        label = made.model._meta.label_lower
        swapped = exchanges(made, {pk: row["fields"] for (name, pk), row in rows.items() if name == label})
        results = phone.push(
            *(
                phone.put(label, pk, {name: value})
                for pk, fields in swapped.items()
                for name, value in fields.items()
            )
        )

        assert [result for result in results if result["state"] not in ("applied", "identical")] == []
        written = as_wire(made.model)
        for pk, fields in swapped.items():
            assert exactly({name: written[pk].row.fields[name] for name in fields}) == exactly(fields)


def writable(label: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that no device may set."""
    model: Any = apps.get_model(label)
    refused = {column.name for column in synced_fields(model) if is_server_computed(column)}
    return {name: value for name, value in fields.items() if name not in refused}


def exchanges(made: Existing, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each row the values of another one, as far as two rows may have the same and none is both rows' own."""
    keys = list(rows)
    shared = {
        column.name
        for column in (*synced_fields(made.model), *many_to_many_fields(made.model))
        if not column.unique and not getattr(getattr(column, "remote_field", None), "symmetrical", False)
    }
    return {
        pk: {
            name: value
            for name, value in writable(made.model._meta.label_lower, rows[keys[place - 1]]).items()
            if name in shared
        }
        for place, pk in enumerate(keys)
    }


def test_nothing_of_a_drawn_model_is_left_behind() -> None:
    def present() -> tuple[Any, ...]:
        return (
            apps.get_models(include_auto_created=True),
            registered_models(),
            connection.introspection.table_names(),
            triggers.installed(connection),
        )

    before = present()

    with existing(replace(related_in_every_way(), registered=True)):
        assert all(now != then for now, then in zip(present(), before, strict=True))

    assert present() == before
