"""What is declared for schema changes is checked like everything else."""

from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks

from syncreset.checks import models as checks
from syncreset.recovery.upcast.register import upcast
from tests.shelters.models import Dog, Vet
from tests.support.factories import Declare


def ids(messages: list[CheckMessage]) -> list[str | None]:
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def test_renames_that_lead_to_fields_are_right(declare: Declare) -> None:
    declare(Dog, renamed={"winters": "years", "years": "age", "dam": "mother"}, renamed_from="Shelters.Hound")

    assert ids(checks.check_model(Dog)) == []


@pytest.mark.parametrize(
    "renamed", [{"years": "ages"}, {"age": "age"}, {"years": "id"}, {"mother_id": "mother_key"}]
)
def test_a_rename_that_leads_nowhere_is_an_error(declare: Declare, renamed: dict[str, str]) -> None:
    declare(Dog, renamed=renamed)

    assert ids(checks.check_model(Dog)) == ["syncreset.E020"]


@pytest.mark.parametrize("labels", ["hound", "shelters.dog", ["shelters.hound", "a.b.c"]])
def test_what_cannot_have_been_a_label_is_an_error(declare: Declare, labels: Any) -> None:
    declare(Dog, renamed_from=labels)

    assert ids(checks.check_model(Dog)) == ["syncreset.E021"]


def test_two_models_cannot_have_been_the_same(declare: Declare) -> None:
    declare(Dog, renamed_from="shelters.animal")
    declare(Vet, renamed_from=["shelters.animal"])

    (message,) = checks.check_model(Dog)
    assert message.id == "syncreset.E021"
    assert "shelters.Vet" in message.msg


@pytest.mark.parametrize("options", [{"renamed": "age"}, {"renamed_from": 5}, {"renamed_from": [5]}])
def test_declarations_of_another_shape_are_told(declare: Declare, options: dict[str, Any]) -> None:
    declare(Dog, **options)

    assert ids(checks.check_model(Dog)) == ["syncreset.E010"]


@pytest.mark.parametrize(
    "place", [("shelters.hound", "age"), ("shelters.dog", "years"), ("auth.user", "name")]
)
def test_a_function_for_no_field_is_an_error(place: tuple[str, str]) -> None:
    upcast(*place)(lambda value, old: value)

    assert ids(checks.check_upcasters(None)) == ["syncreset.E022"]
    assert "syncreset.E022" in {message.id for message in run_checks()}


def test_functions_for_fields_and_keys_are_right() -> None:
    upcast("Shelters.Dog", "age")(lambda value, old: value)
    upcast("shelters.dog", "id")(lambda value, old: value)
    upcast("shelters.dog", "notes", source="remarks")(lambda value, old: value)

    assert checks.check_upcasters(None) == []
