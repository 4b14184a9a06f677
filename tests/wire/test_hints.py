"""The hints of the schema: defaults, unique fields, what a deletion does, and labels that the hash does not see."""

import datetime
import decimal
from typing import Any

import pytest
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import translation
from django.utils.translation import gettext_lazy

from syncreset.protocol.compatibility import breaking_changes
from syncreset.wire.hints import hints_of
from syncreset.wire.schema import current_schema, document_of


def named(field: "models.Field[Any, Any]") -> "models.Field[Any, Any]":
    field.set_attributes_from_name("thing")
    return field


@pytest.mark.parametrize(
    ("field", "default"),
    [
        (models.IntegerField(default=3), 3),
        (models.BigIntegerField(default=3), "3"),
        (models.BooleanField(default=False), False),
        (models.CharField(max_length=5, default=""), ""),
        (models.IntegerField(null=True, default=None), None),
        (models.DecimalField(max_digits=5, decimal_places=2, default=decimal.Decimal("1.5")), "1.50"),
        (models.DateField(default=datetime.date(2026, 11, 22)), "2026-11-22"),
        (models.DateField(default="2026-11-22"), "2026-11-22"),
    ],
)
def test_a_constant_default_has_the_form_of_the_fields_values(field: Any, default: Any) -> None:
    hints = hints_of(named(field))

    assert "server_default" not in hints
    assert hints["default"] == default
    assert type(hints["default"]) is type(default)


@pytest.mark.parametrize(
    "field",
    [
        models.JSONField(default=dict),
        models.DateTimeField(db_default=Now()),
        models.DateTimeField(default=Now()),
        models.IntegerField(default="many"),
    ],
)
def test_what_only_the_server_can_work_out_is_named_and_not_told(field: Any) -> None:
    hints = hints_of(named(field))

    assert hints["server_default"] is True
    assert "default" not in hints


@pytest.mark.parametrize(
    "field",
    [models.DateTimeField(auto_now=True), models.CharField(max_length=5), models.FileField(default="a")],
)
def test_a_field_without_a_default_for_clients_has_no_hint_of_one(field: Any) -> None:
    assert hints_of(named(field)).keys() == {"label"}


@pytest.mark.parametrize(
    ("on_delete", "word"),
    [
        (models.CASCADE, "cascade"),
        (models.SET_NULL, "set_null"),
        (models.RESTRICT, "restrict"),
        (models.PROTECT, "protect"),
        (models.SET_DEFAULT, "set_default"),
        (models.DO_NOTHING, "do_nothing"),
        (models.SET(1), None),
    ],
)
def test_a_relation_says_what_a_deletion_does(on_delete: Any, word: str | None) -> None:
    field: Any = models.ForeignKey("shelters.Dog", on_delete, null=True)

    assert hints_of(named(field)).get("on_delete") == word


def test_unique_fields_say_so() -> None:
    assert hints_of(named(models.IntegerField(unique=True)))["unique"] is True
    assert "unique" not in hints_of(named(models.IntegerField()))


def described(**field: Any) -> dict[str, Any]:
    whole = {"name": "number", "type": "Integer", "null": True, "label": "number", **field}
    return {"name": "a.b", "label": "b", "primary_key": "id", "primary_key_type": "UUID", "fields": [whole]}


def test_the_hash_does_not_depend_on_labels() -> None:
    hashes = {
        document_of([described() | {"label": "B"}])["hash"],
        document_of([described(label="Nummer")])["hash"],
        document_of([described()])["hash"],
    }

    assert len(hashes) == 1


@pytest.mark.parametrize(
    "hint", [{"default": 1}, {"server_default": True}, {"unique": True}, {"on_delete": "cascade"}]
)
def test_other_hints_change_the_hash_and_break_no_older_device(hint: dict[str, Any]) -> None:
    plain, hinted = document_of([described()]), document_of([described(**hint)])

    assert plain["hash"] != hinted["hash"]
    assert breaking_changes(plain, hinted) == breaking_changes(hinted, plain) == []


def test_a_label_is_in_the_language_of_the_server_whoever_asks() -> None:
    field = named(models.IntegerField(verbose_name=gettext_lazy("Monday")))

    with translation.override("de"), translation.override(settings.LANGUAGE_CODE):
        assert hints_of(field)["label"] == "Monday"
    with translation.override("de"):
        labels = [model["label"] for model in current_schema()["models"]]
    assert "dog" in labels
