"""The upcaster by itself: lines in, lines out."""

from dataclasses import replace
from typing import Any

from syncreset.protocol.changes import Row
from syncreset.protocol.snapshot.lines import (
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
            "sold": FieldSteps(steps=(Step(id="b", amount={"delta": -2}, sent=True),), counted={"c": 7}),
        },
    )

    carried = Upcaster(document(models)).upcast(line).line

    assert isinstance(carried, RowLine)
    assert carried.row.fields == {"stock": 13, "sold": "5"}
    assert carried.steps == {
        "stock": FieldSteps(steps=(Step(id="a", amount={"delta": 3}),)),
        "sold": FieldSteps(steps=(Step(id="b", amount={"delta": "-2"}, sent=True),), counted={"c": 7}),
    }


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
