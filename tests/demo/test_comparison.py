"""The walk-through's last word rests on a comparison that tells every difference."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import override_settings

from demo_project.comparison import Rows, count_by_model, differences
from demo_project.ground.release_2.models import Vehicle
from demo_project.ramp.models import Airport, Assignment

HELD: Rows = {("ramp.defect", "1"): {"code": "29-10", "deferred": False}, ("ramp.defect", "2"): {"code": "x"}}


def test_equal_rows_have_no_differences() -> None:
    assert differences(HELD, {key: dict(fields) for key, fields in HELD.items()}) == []


def test_a_missing_row_one_too_many_and_another_value_are_told() -> None:
    other: Rows = {("ramp.defect", "1"): {"code": "29-11", "deferred": False}, ("ramp.plane", "N1"): {}}

    assert differences(HELD, other) == [
        "ramp.defect 2 is missing",
        "ramp.plane N1 should not be there",
        "ramp.defect 1.code is '29-11', not '29-10'",
    ]


def test_a_field_that_one_side_lacks_is_told() -> None:
    one: Rows = {("ramp.defect", "1"): {"code": "29-10"}}
    more: Rows = {("ramp.defect", "1"): {"code": "29-10", "note": "new"}}

    assert differences(more, one) == ["ramp.defect 1.note is None, not 'new'"]
    assert differences(one, more) == ["ramp.defect 1.note is 'new', not None"]


def test_rows_are_counted_by_model() -> None:
    assert count_by_model({**HELD, ("ramp.plane", "N1"): {}}) == {"ramp.defect": 2, "ramp.plane": 1}


def airport(faa: str) -> Airport:
    return Airport.objects.create(
        faa=faa, name=faa, latitude=40.6, longitude=-73.8, altitude_ft=13, time_zone="America/New_York"
    )


def rows_of(username: str) -> list[Any]:
    written = StringIO()
    call_command("rows_of", username, stdout=written)
    rows: list[Any] = json.loads(written.getvalue())
    return rows


@pytest.mark.django_db
@override_settings(SYNCRESET={"SCOPES": "demo_project.ramp.scopes.scopes_for"})
def test_the_server_is_asked_for_what_a_user_may_hold() -> None:
    jfk, lga = airport("JFK"), airport("LGA")
    tug = Vehicle.objects.create(airport=jfk, name="Tug 7", stand="B20", fuel=75)
    Vehicle.objects.create(airport=lga, name="Tug 8")
    ada = User.objects.create(username="ada")
    Assignment.objects.create(user=ada, airport=jfk)

    held = rows_of("ada")

    assert [(model, pk) for model, pk, _ in held] == [
        ("ramp.airport", "JFK"),
        ("ramp.airport", "LGA"),
        ("ground.vehicle", str(tug.pk)),
    ]
    assert held[2][2] == {"airport": "JFK", "name": "Tug 7", "stand": "B20", "fuel": 75}


@pytest.mark.django_db
def test_somebody_unknown_holds_nothing_and_that_is_said() -> None:
    with pytest.raises(CommandError, match="no user eve"):
        rows_of("eve")
