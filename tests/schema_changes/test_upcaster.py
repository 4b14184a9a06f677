"""The upcaster by itself: lines in, lines out."""

from dataclasses import replace
from typing import Any

import pytest

from syncreset.protocol.changes import Change, Row
from syncreset.protocol.snapshot.lines import (
    ChangeLine,
    FieldSteps,
    Line,
    MalformedLine,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from syncreset.protocol.steps import Step
from syncreset.recovery.upcast.carry import Upcaster, fates, upcaster_for
from syncreset.tracking.registry import many_to_many_fields, tracked_models
from syncreset.wire.schema import current_schema
from tests.schema_changes.older import describe, field

DOG = "shelters.dog"
PRODUCT = "market.product"
PK = "0190a5b4-0000-7000-8000-000000000001"


def document(models: Any) -> dict[str, Any]:
    return {"hash": "older", "models": list(models.values())}


def row(model: str, **fields: Any) -> RowLine:
    return RowLine(
        model=model, pk=PK, row=Row(fields=fields, updated=9, clocks={"*": 1}), base=dict.fromkeys(fields, 1)
    )


def test_lines_of_the_current_schema_pass_as_they_are() -> None:
    upcaster = upcaster_for(current_schema()["hash"])
    lines: list[Line] = [
        row(DOG, nothing="x"),
        row("no.such", a=1),
        TombstoneLine(model="no.such", pk=PK, at=1, base=None, pulled=False),
        UpdateLine(model=DOG, pk=PK, field="nothing", at=1),
        MalformedLine(text="{}", reason="odd"),
    ]

    assert [upcaster.upcast(line).line for line in lines] == lines
    assert upcaster.holds("no.such")
    assert upcaster.last_synced({DOG: 5}) == {DOG: 5}


def test_sets_of_keys_are_carried_over_unless_they_point_elsewhere() -> None:
    owner = next(model for model in tracked_models() if many_to_many_fields(model))
    label, name = owner._meta.label_lower, many_to_many_fields(owner)[0].name

    carried = Upcaster(document(describe())).upcast(row(label, **{name: ["1"]}))
    models = describe()
    field(models[label], name)["to"] = DOG
    left = Upcaster(document(models)).upcast(row(label, **{name: ["1"]}))

    assert isinstance(carried.line, RowLine)
    assert carried.line.row.fields == {name: ["1"]}
    assert [kept.problem.field for kept in left.left] == [name]


def test_steps_are_carried_over_in_the_form_of_the_values_of_now() -> None:
    models = describe()
    field(models[PRODUCT], "sold")["type"] = "Integer"
    line = replace(
        row(PRODUCT, stock=13, sold=5),
        steps={
            "stock": FieldSteps(steps=(Step(id="a", amount={"delta": 3}),)),
            "sold": FieldSteps(
                steps=(Step(id="b", amount={"delta": -2}, sent=True),),
                counted=(Step(id="c", amount={"delta": 1}, at=7),),
            ),
        },
    )

    carried = Upcaster(document(models)).upcast(line).line

    assert isinstance(carried, RowLine)
    assert carried.row.fields == {"stock": 13, "sold": "5"}
    assert carried.steps == {
        "stock": FieldSteps(steps=(Step(id="a", amount={"delta": 3}),)),
        "sold": FieldSteps(
            steps=(Step(id="b", amount={"delta": "-2"}, sent=True),),
            counted=(Step(id="c", amount={"delta": "1"}, at=7),),
        ),
    }


def pushed(model: str, **fields: Any) -> ChangeLine:
    clocks = dict.fromkeys(fields, 5)
    change = Change(model=model, pk=PK, op="put", fields=fields, clocks=clocks, base={}, seq=7)
    return ChangeLine(change=change)


def sold_as(kind: str) -> Upcaster:
    """Of an old schema in which a counter, which is of digits now, had another type."""
    models = describe()
    field(models[PRODUCT], "sold")["type"] = kind
    return Upcaster(document(models))


def test_a_change_that_was_pushed_is_carried_over_as_a_row_is() -> None:
    models = describe()
    field(models[PRODUCT], "sold")["type"] = "Integer"
    models[PRODUCT]["fields"].append({"name": "shape", "type": "Char", "null": False, "max_length": 9})

    upcast = Upcaster(document(models)).upcast(pushed(PRODUCT, name="Figs", sold=5, shape="round"))

    assert isinstance(upcast.line, ChangeLine)
    kept = upcast.line.change
    assert (kept.fields, kept.clocks, kept.seq) == (
        {"name": "Figs", "sold": "5"},
        {"name": 5, "sold": 5},
        7,
    )
    assert kept.base == {}
    (left,) = upcast.left
    assert isinstance(left.line, RowLine)
    assert (left.problem.field, left.line.row.fields) == ("shape", {"shape": "round"})


def test_the_steps_of_a_change_that_was_pushed_are_carried_over_as_those_of_a_row() -> None:
    steps = {"steps": [{"id": "a", "delta": 2, "sent": True}], "value": 9}

    upcast = sold_as("Integer").upcast(pushed(PRODUCT, sold=steps))

    assert upcast.left == ()
    assert isinstance(upcast.line, ChangeLine)
    assert upcast.line.change.fields == {
        "sold": {"steps": [{"id": "a", "delta": "2", "sent": True}], "value": "9"}
    }


@pytest.mark.parametrize(
    "value",
    [
        {"steps": None},
        {"steps": [{"delta": 2}]},
        {"steps": [{"id": "a", "delta": 2}, {"id": "a", "delta": 2}]},
    ],
    ids=str,
)
def test_steps_of_a_pushed_change_that_cannot_be_read_are_left_behind(value: Any) -> None:
    upcast = sold_as("Integer").upcast(pushed(PRODUCT, sold=value))

    assert upcast.line is None
    (left,) = upcast.left
    assert isinstance(left.line, RowLine)
    assert (left.problem.field, left.line.row.fields) == ("sold", {"sold": value})


def test_steps_that_have_no_form_in_the_values_of_now_are_left_behind_with_their_value() -> None:
    models = describe()
    field(models[PRODUCT], "stock")["type"] = "BigInteger"
    made = FieldSteps(steps=(Step(id="a", amount={"delta": "0.5"}),))
    line = replace(row(PRODUCT, stock="13", name="Figs"), steps={"stock": made})

    upcast = Upcaster(document(models)).upcast(line)

    assert isinstance(upcast.line, RowLine)
    assert (upcast.line.row.fields, upcast.line.steps) == ({"name": "Figs"}, {})
    assert [left.problem.field for left in upcast.left] == ["stock"]


def test_two_old_fields_that_become_one_keep_the_second_value_apart() -> None:
    models = describe()
    models[DOG]["fields"].append({"name": "years", "type": "Integer", "null": True})

    upcast = Upcaster(document(models)).upcast(row(DOG, age=3, years=4))

    assert isinstance(upcast.line, RowLine)
    assert upcast.line.row.fields == {"age": 3}
    assert [kept.line for kept in upcast.left] == [
        RowLine(
            model=DOG,
            pk=PK,
            row=Row(fields={"years": 4}, updated=9, clocks={"*": 1, "years": 1}),
            base={"years": 1},
        )
    ]


def test_every_field_of_the_same_schema_stays_what_it_is() -> None:
    assert {fate.kind for fate in fates(document(describe()))} == {"same"}
