"""Snapshots of older schemas: what is declared is carried over, the rest waits for a person with its raw value."""

from typing import Any

import pytest

from syncreset.feed.checkpoints import begin_epoch
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Change, Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import ChangeLine, Line, RowLine, TombstoneLine, UpdateLine
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview, recover_again, undo
from syncreset.recovery.run import run
from syncreset.recovery.upcast.register import upcast
from tests.schema_changes.older import Described, field, publish_older
from tests.shelters.models import Dog, Shelter, Vet, Visit
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import Declare, DeviceFactory
from tests.support.snapshots import made_here

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "0190a5b4-0000-7000-8000-000000000001"
OTHER = "0190a5b4-0000-7000-8000-000000000002"


def changed(known: str, **description: Any) -> Any:
    """The dog's field, as it is known now, before it became what it is."""
    return lambda models: field(models[DOG], known).update(description)


def added(**description: Any) -> Any:
    """A field of the dog that has been removed since."""
    return lambda models: models[DOG]["fields"].append({"null": True, **description})


def hounds(models: Described) -> None:
    """Dogs were called hounds."""
    models["shelters.hound"] = {**models.pop(DOG), "name": "shelters.hound"}
    field(models["shelters.hound"], "mother")["to"] = "shelters.hound"
    field(models["shelters.visit"], "dog")["to"] = "shelters.hound"


def ordered(phone: Device, schema: str) -> str:
    """The reset of a phone whose store is of another schema."""
    phone.schema = schema
    problem = phone.pull(status=409)
    assert problem["reason"] == "schema_incompatible"
    return str(problem["reset"])


def edited(
    row: dict[str, Any], *, model: str = DOG, old: dict[str, Any] | None = None, **edits: Any
) -> RowLine:
    """A pulled row with edits, as the store of the older schema holds it: ``old`` are values of fields it had then."""
    clocks, at = row["clocks"], now()
    fields = {**row["fields"], **(old or {}), **edits}
    return RowLine(
        model=model,
        pk=row["pk"],
        row=Row(fields=fields, updated=at, clocks={**clocks, **dict.fromkeys(edits, at)}),
        base={name: clocks.get(name, clocks["*"]) for name in edits},
    )


def untouched(row: dict[str, Any]) -> RowLine:
    """A pulled row with nothing unsynced in it."""
    held = Row(fields=row["fields"], updated=row["updated"], clocks=row["clocks"])
    return RowLine(model=row["model"], pk=row["pk"], row=held, base={})


def recover(phone: Device, reset: str, *lines: Line, **header: Any) -> Recovery:
    data = phone.snapshot(reset, lines, **header)
    recovery = phone.upload(reset, data)
    run(recovery)
    recovered = Recovery.objects.get(pk=recovery)
    assert recovered.problem is None, recovered.problem
    return recovered


def parked() -> list[tuple[int | None, int, str, str, dict[str, Any]]]:
    """Line, part, code, field told and the clients' values of every parked item."""
    return [
        (
            item.line,
            item.part,
            item.code,
            (item.problem or {}).get("field", ""),
            {name: decision["client"] for name, decision in item.fields.items()},
        )
        for item in Item.objects.filter(state="parked").order_by("line", "part")
    ]


@pytest.fixture
def rex(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=3, notes="old notes")


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, rex: Dog) -> Device:
    phone = device(shelter)
    phone.pull()
    return phone


@pytest.fixture
def row(phone: Device, rex: Dog) -> dict[str, Any]:
    return phone.rows[DOG, str(rex.pk)]


def test_a_renamed_field_carries_its_edit_over(
    phone: Device, row: dict[str, Any], rex: Dog, declare: Declare
) -> None:
    declare(Dog, renamed={"years": "age"})
    reset = ordered(phone, publish_older(changed("age", name="years")))
    row["fields"].pop("age")

    recovery = recover(phone, reset, edited(row, old={"years": 3}, years=4))

    rex.refresh_from_db()
    assert (rex.age, recovery.totals["applied"], recovery.state) == (4, 1, "done")
    assert Item.objects.get().fields["age"]["client"] == 4


def test_a_field_renamed_twice_is_followed(
    phone: Device, row: dict[str, Any], rex: Dog, declare: Declare
) -> None:
    declare(Dog, renamed={"winters": "years", "years": "age"})
    reset = ordered(phone, publish_older(changed("age", name="winters")))
    row["fields"].pop("age")

    recover(phone, reset, edited(row, winters=4))

    rex.refresh_from_db()
    assert rex.age == 4


def test_a_name_that_was_given_away_and_taken_again_means_the_newer_field(
    phone: Device, row: dict[str, Any], rex: Dog, declare: Declare
) -> None:
    declare(Dog, renamed={"notes": "intake_no"})
    reset = ordered(phone, publish_older(changed("weight", type="Float")))

    recover(phone, reset, edited(row, notes="still the notes"))

    rex.refresh_from_db()
    assert (rex.notes, rex.intake_no) == ("still the notes", "")


def test_an_undeclared_rename_parks_the_value_and_applies_the_rest(
    phone: Device, row: dict[str, Any], rex: Dog
) -> None:
    reset = ordered(phone, publish_older(changed("age", name="years")))
    row["fields"].pop("age")

    recovery = recover(phone, reset, edited(row, old={"years": 3}, years=4, name="Max"))

    rex.refresh_from_db()
    assert (rex.name, rex.age) == ("Max", 3)
    assert recovery.state == "review"
    assert parked() == [(1, 1, "schema_changed", "years", {"years": 4})]
    assert "no field years any more" in str(Item.objects.get(state="parked").problem)


def test_what_a_replaced_change_has_no_place_for_any_more_is_parked(
    phone: Device, row: dict[str, Any]
) -> None:
    reset = ordered(phone, publish_older(added(name="tag", type="Char")))
    change = Change(
        model=DOG,
        pk=row["pk"],
        op="put",
        fields={"name": "Max", "tag": "A1"},
        clocks={"*": now()},
        base={},
        seq=1,
    )

    recovery = recover(phone, reset, ChangeLine(change=change, replaced=True))

    (told,) = Item.objects.filter(recovery=recovery, state="superseded")
    assert (told.code, told.change["fields"]) == ("replaced", {"name": "Max"})
    (left,) = Item.objects.filter(recovery=recovery, state="parked")
    assert (left.code, left.change["fields"]) == ("schema_changed", {"tag": "A1"})


def test_what_was_not_edited_is_not_parked(phone: Device, row: dict[str, Any]) -> None:
    reset = ordered(phone, publish_older(added(name="tag", type="Char")))

    recovery = recover(phone, reset, edited(row, old={"tag": "A1"}, name="Max"))

    assert (recovery.state, recovery.totals["applied"], recovery.totals["parked"]) == ("done", 1, 0)


def test_a_renamed_model_takes_its_rows_deletions_and_relations_along(
    phone: Device, row: dict[str, Any], rex: Dog, shelter: Shelter, declare: Declare
) -> None:
    declare(Dog, renamed_from=("shelters.hound",))
    gone = Dog.objects.create(shelter=shelter, name="Gone")
    phone.pull()
    updated = phone.rows[DOG, str(gone.pk)]["updated"]
    reset = ordered(phone, publish_older(hounds))
    visit = {"shelter": str(shelter.pk), "dog": NEW, "at": "2026-11-22T08:00:00.000000Z", "kind": "check"}

    recovery = recover(
        phone,
        reset,
        edited(row, model="shelters.hound", age=4),
        made_here("shelters.hound", NEW, dog_fields(shelter, name="Pup", mother=str(rex.pk))),
        made_here("shelters.visit", OTHER, visit),
        TombstoneLine(model="shelters.hound", pk=str(gone.pk), at=now(), base=updated, pulled=False),
    )

    assert recovery.totals["applied"] == 4, list(Item.objects.values("state", "problem"))
    assert dict(Dog.objects.values_list("name", "age")) == {"Rex": 4, "Pup": 3}
    assert str(Dog.objects.get(name="Pup").mother_id) == str(rex.pk)
    assert str(Visit.objects.get().dog_id) == NEW
    assert set(Item.objects.values_list("model", flat=True)) == {DOG, "shelters.visit"}


def test_a_model_that_is_gone_parks_what_was_unsynced_and_nothing_else(
    phone: Device, row: dict[str, Any], shelter: Shelter
) -> None:
    reset = ordered(
        phone,
        publish_older(
            lambda models: models.update({"shelters.cat": {**models[DOG], "name": "shelters.cat"}})
        ),
    )

    recovery = recover(
        phone,
        reset,
        edited(row, model="shelters.cat", age=4),
        RowLine(
            model="shelters.cat",
            pk=OTHER,
            row=Row(fields={"name": "Tom"}, updated=1, clocks={"*": 1}),
            base={},
        ),
        made_here("shelters.cat", NEW, {"name": "Kit"}),
        TombstoneLine(model="shelters.cat", pk=NEW, at=now(), base=5, pulled=False),
        TombstoneLine(model="shelters.cat", pk=OTHER, at=now(), base=None, pulled=True),
    )

    assert (recovery.totals["parked"], recovery.unchanged) == (3, 2)
    assert [(line, told) for line, _, _, _, told in parked()] == [
        (1, {"age": 4}),
        (3, {"name": "Kit"}),
        (4, {}),
    ]
    assert set(Item.objects.values_list("code", "model")) == {("schema_changed", "shelters.cat")}


def test_an_upcaster_turns_old_values_into_new_ones(phone: Device, row: dict[str, Any], rex: Dog) -> None:
    described = []

    @upcast(DOG, "age")
    def years(value: Any, old: Any) -> Any:
        described.append(old)
        return None if value is None else int(value.removesuffix(" years"))

    reset = ordered(phone, publish_older(changed("age", type="Char", max_length=20)))

    recovery = recover(phone, reset, edited(row, age="4 years"))

    rex.refresh_from_db()
    assert (rex.age, recovery.state) == (4, "done")
    assert described == [{"name": "age", "type": "Char", "null": True, "label": "age", "max_length": 20}]


def test_an_upcaster_is_not_asked_where_nothing_changed(phone: Device, row: dict[str, Any], rex: Dog) -> None:
    @upcast(DOG, "age")
    def never(value: Any, old: Any) -> Any:
        raise AssertionError("the age is what it was")

    reset = ordered(phone, publish_older(changed("weight", type="Float")))

    recover(phone, reset, edited(row, age=4))

    rex.refresh_from_db()
    assert rex.age == 4


def test_one_old_field_may_become_several(phone: Device, row: dict[str, Any], rex: Dog) -> None:
    upcast(DOG, "name", source="label")(lambda value, old: value.split(" / ")[0])
    upcast(DOG, "notes", source="label")(lambda value, old: value.split(" / ")[1])

    def labelled(models: Described) -> None:
        told = [known for known in models[DOG]["fields"] if known["name"] not in ("name", "notes")]
        models[DOG]["fields"] = [{"name": "label", "type": "Char", "null": False, "max_length": 100}, *told]

    reset = ordered(phone, publish_older(labelled))
    fields = {name: value for name, value in row["fields"].items() if name not in ("name", "notes")}

    recovery = recover(phone, reset, edited({**row, "fields": fields}, label="Max / barks"))

    rex.refresh_from_db()
    assert (rex.name, rex.notes) == ("Max", "barks")
    assert (recovery.state, Item.objects.count()) == ("done", 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("no number"), "no number"), (KeyError("x"), "KeyError")],
    ids=["a refusal", "a bug"],
)
def test_an_upcaster_that_fails_leaves_the_value_parked(
    phone: Device, row: dict[str, Any], rex: Dog, error: Exception, told: str
) -> None:
    @upcast(DOG, "age")
    def fail(value: Any, old: Any) -> Any:
        raise error

    reset = ordered(phone, publish_older(changed("age", type="Char")))

    recover(phone, reset, edited(row, age="many", name="Max"))

    rex.refresh_from_db()
    assert (rex.name, rex.age) == ("Max", 3)
    assert parked() == [(1, 1, "schema_changed", "age", {"age": "many"})]
    assert told in str(Item.objects.get(state="parked").problem)


def test_an_upcaster_whose_value_does_not_fit_leaves_the_old_one_parked(
    phone: Device, row: dict[str, Any]
) -> None:
    upcast(DOG, "age")(lambda value, old: "not a number either")
    reset = ordered(phone, publish_older(changed("age", type="Char")))

    recover(phone, reset, edited(row, age="many"))

    assert parked() == [(1, 0, "schema_changed", "age", {"age": "many"})]


@pytest.mark.parametrize(
    ("name", "older", "raw", "kept"),
    [
        ("notes", {"type": "Char", "max_length": 300}, "longer", "longer"),
        ("age", {"type": "BigInteger"}, "12", 12),
        ("weight", {"type": "Integer"}, 12, "12.00"),
    ],
    ids=["text", "whole numbers", "a number that got decimals"],
)
def test_types_that_mean_the_same_need_no_upcaster(
    phone: Device, row: dict[str, Any], rex: Dog, name: str, older: dict[str, Any], raw: Any, kept: Any
) -> None:
    reset = ordered(phone, publish_older(changed(name, **older)))

    recovery = recover(phone, reset, edited(row, **{name: raw}))

    rex.refresh_from_db()
    assert recovery.state == "done", parked()
    assert str(getattr(rex, name)) == str(kept)


@pytest.mark.parametrize(
    ("name", "older", "raw"),
    [
        ("age", {"type": "Char", "max_length": 9}, "4"),
        ("born", {"type": "DateTime"}, "2026-01-01T00:00:00.000000Z"),
        ("mother", {"to": "shelters.vet"}, "V1"),
        ("age", {"type": "BigInteger"}, str(2**40)),
        ("name", {"max_length": 300}, "x" * 201),
        ("weight", {"decimal_places": 3, "max_digits": 7}, "1.125"),
        ("name", {"null": True}, None),
    ],
    ids=["type", "date", "relation", "range", "length", "places", "null"],
)
def test_a_value_that_cannot_be_carried_over_is_parked_and_the_other_fields_are_applied(
    phone: Device, row: dict[str, Any], rex: Dog, name: str, older: dict[str, Any], raw: Any
) -> None:
    reset = ordered(phone, publish_older(changed(name, **older)))
    before = getattr(rex, name)

    recover(phone, reset, edited(row, **{name: raw, "chip": "C1"}))

    rex.refresh_from_db()
    assert (rex.chip, getattr(rex, name)) == ("C1", before)
    assert parked() == [(1, 1, "schema_changed", name, {name: raw})]


def test_values_that_still_fit_a_shorter_field_are_applied(
    phone: Device, row: dict[str, Any], rex: Dog
) -> None:
    reset = ordered(phone, publish_older(changed("name", max_length=300)))

    recovery = recover(phone, reset, edited(row, name="Max"))

    rex.refresh_from_db()
    assert (rex.name, recovery.state) == ("Max", "done")


def test_a_row_made_offline_is_made_without_what_cannot_be_carried_over(
    phone: Device, shelter: Shelter
) -> None:
    reset = ordered(
        phone,
        publish_older(
            added(name="tag", type="Char"), added(name="scent", type="Char"), changed("age", type="Char")
        ),
    )

    recover(
        phone, reset, made_here(DOG, NEW, dog_fields(shelter, name="Pup", age="young", tag="A1", scent=None))
    )

    pup = Dog.objects.get(pk=NEW)
    assert (pup.name, pup.age) == ("Pup", None)
    assert [(part, told) for _, part, _, _, told in parked()] == [(1, {"age": "young"}), (2, {"tag": "A1"})]


def test_keys_of_another_type_are_carried_over_by_a_function_also_in_relations(
    phone: Device, row: dict[str, Any], shelter: Shelter, rex: Dog
) -> None:
    upcast(DOG, "id")(lambda value, old: f"0190a5b4-0000-7000-8000-{int(value):012d}")
    schema = publish_older(lambda models: models[DOG].update(primary_key_type="Integer"))
    reset = ordered(phone, schema)
    visit = {"shelter": str(shelter.pk), "dog": "1", "at": "2026-11-22T08:00:00.000000Z", "kind": "check"}

    recovery = recover(
        phone,
        reset,
        made_here(DOG, "1", dog_fields(shelter, name="One")),
        made_here(DOG, "2", dog_fields(shelter, name="Two", mother="1")),
        made_here("shelters.visit", OTHER, visit),
    )

    assert recovery.totals["applied"] == 3, list(Item.objects.values("state", "problem"))
    assert str(Dog.objects.get(name="Two").mother_id) == NEW
    assert str(Visit.objects.get().dog_id) == NEW


def test_rows_with_keys_of_another_type_are_parked_as_a_whole(phone: Device, shelter: Shelter) -> None:
    reset = ordered(phone, publish_older(lambda models: models[DOG].update(primary_key_type="Integer")))
    fields = dog_fields(shelter, name="One")
    visit = {"shelter": str(shelter.pk), "dog": "1", "at": "2026-11-22T08:00:00.000000Z", "kind": "check"}

    recover(phone, reset, made_here(DOG, "1", fields), made_here("shelters.visit", OTHER, visit))

    assert [(line, code) for line, _, code, _, _ in parked()] == [
        (1, "schema_changed"),
        (2, "row_missing"),
        (2, "schema_changed"),
    ]
    assert parked()[0][4] == fields


@pytest.mark.parametrize("strategy", ["by_base", "by_object", "by_field", "by_update_log", "overwrite"])
def test_every_strategy_carries_over_and_parks(
    phone: Device, row: dict[str, Any], rex: Dog, declare: Declare, strategy: str
) -> None:
    declare(Dog, renamed={"years": "age"}, renamed_from="shelters.hound")

    def older(models: Described) -> None:
        changed("age", name="years")(models)
        added(name="tag", type="Char")(models)
        hounds(models)

    reset = ordered(phone, publish_older(older))
    row["fields"].pop("age")
    line = edited(row, model="shelters.hound", old={"years": 3, "tag": "A0"}, years=4, tag="A1")
    logged = [
        UpdateLine(model="shelters.hound", pk=row["pk"], field=name, at=line.row.clock(name))
        for name in ("years", "tag")
    ]
    shelter_line = untouched(phone.rows["shelters.shelter", str(rex.shelter_id)])

    recover(
        phone,
        reset,
        shelter_line,
        line,
        *logged,
        strategy=strategy,
        last_synced={"shelters.hound": row["updated"], "shelters.shelter": now()},
    )

    rex.refresh_from_db()
    assert rex.age == 4
    assert parked() == [(2, 1, "schema_changed", "tag", {"tag": "A1"})]
    assert Dog.objects.count() == 1


@pytest.mark.parametrize("strategy", ["by_object", "by_field"])
def test_absence_deletes_nothing_that_the_older_client_could_not_hold(
    phone: Device, row: dict[str, Any], shelter: Shelter, strategy: str
) -> None:
    vet = Vet.objects.create(code="V1", name="Vera")
    phone.pull()

    def older(models: Described) -> None:
        models.pop("shelters.vet")
        models["shelters.visit"]["fields"] = [
            known for known in models["shelters.visit"]["fields"] if known["name"] != "vet"
        ]
        models[DOG].update(primary_key_type="Integer")

    reset = ordered(phone, publish_older(older))
    line = untouched(phone.rows["shelters.shelter", str(shelter.pk)])

    recover(phone, reset, line, strategy=strategy)

    assert Vet.objects.filter(pk=vet.pk).exists()
    assert Dog.objects.count() == 1


def test_two_lines_of_one_row_are_not_merged_twice(phone: Device, row: dict[str, Any]) -> None:
    reset = ordered(phone, publish_older(added(name="tag", type="Char")))

    recovery = recover(phone, reset, edited(row, tag="A1"), edited(row, tag="A2"))

    assert (recovery.totals["parked"], recovery.totals["rejected"]) == (1, 1)
    assert Item.objects.get(state="rejected").code == "duplicate_row"


def test_what_was_parked_is_carried_over_once_there_is_a_function(
    phone: Device, row: dict[str, Any], rex: Dog
) -> None:
    reset = ordered(phone, publish_older(changed("age", type="Char")))
    first = recover(phone, reset, edited(row, age="4 years"))
    assert first.totals["parked"] == 1
    upcast(DOG, "age")(lambda value, old: int(value.removesuffix(" years")))

    again = recover_again(first)
    run(again.pk)

    rex.refresh_from_db()
    again.refresh_from_db()
    assert (rex.age, again.state) == (4, "done")


def test_a_preview_and_an_undo_see_the_same(phone: Device, row: dict[str, Any], rex: Dog) -> None:
    reset = ordered(phone, publish_older(added(name="tag", type="Char")))
    recovery = recover(phone, reset, edited(row, tag="A1", name="Max"))

    undoing = undo(recovery)
    run(undoing.pk)
    rex.refresh_from_db()
    assert rex.name == "Rex"
    shown = preview(recovery)
    run(shown.pk)

    shown.refresh_from_db()
    assert shown.totals["parked"] == recovery.totals["parked"] == 1
    rex.refresh_from_db()
    assert rex.name == "Rex"


def test_acknowledged_data_heals_a_restored_server_through_the_renames(
    phone: Device, row: dict[str, Any], rex: Dog, shelter: Shelter, declare: Declare
) -> None:
    declare(Dog, renamed={"years": "age"})
    phone.schema = publish_older(changed("age", name="years"))
    begin_epoch()
    problem = phone.pull(status=409)
    assert (problem["reason"], problem["recovery"]["full"]) == ("history_diverged", True)
    row["fields"].pop("age")
    at = now()
    newer = RowLine(
        model=DOG,
        pk=row["pk"],
        row=Row(fields={**row["fields"], "years": 9}, updated=at, clocks={**row["clocks"], "years": at}),
        base={},
    )

    recovery = recover(phone, problem["reset"], newer)

    rex.refresh_from_db()
    assert (rex.age, recovery.totals["applied"]) == (9, 1)


@pytest.mark.parametrize("lost", [True, False])
def test_a_field_that_is_gone_is_parked_where_the_restored_server_never_had_its_value(
    phone: Device, row: dict[str, Any], lost: bool
) -> None:
    phone.schema = publish_older(added(name="tag", type="Char"))
    begin_epoch()
    problem = phone.pull(status=409)
    # What was written before the client's last pull stood in this history, and the release gave it up.
    at = now() if lost else row["clocks"]["*"]
    held = Row(
        fields={**row["fields"], "tag": "A1"}, updated=row["updated"], clocks={**row["clocks"], "tag": at}
    )

    recover(phone, problem["reset"], RowLine(model=DOG, pk=row["pk"], row=held, base={}))

    assert parked() == ([(1, 0, "schema_changed", "tag", {"tag": "A1"})] if lost else [])
