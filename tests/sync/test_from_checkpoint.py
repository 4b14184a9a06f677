"""`"base": "checkpoint"`: changes of clients that keep no clocks, based on what they had at the checkpoint shown."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from pytest_django import Settings

from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol.changes import Change
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import ChangeLine
from syncreset.tracking import registry
from tests.market.models import Product, Stand, Tag, Trader
from tests.shelters.models import Dog, Membership, Shelter
from tests.support.device import Device, steps
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.market import PRODUCT, elements, new_product
from tests.support.snapshots import bootstrap, forced, recover
from tests.support.wire import problem_of

pytestmark = pytest.mark.django_db(transaction=True)

TRADER = "market.trader"


def edit(pk: object, fields: Mapping[str, Any], model: str = DOG, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "pk": str(pk),
        "op": "put",
        "fields": dict(fields),
        "base": "checkpoint",
        **more,
    }


def deletion(pk: object, model: str = DOG) -> dict[str, Any]:
    return {"model": model, "pk": str(pk), "op": "delete", "base": "checkpoint"}


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    return Dog.objects.create(shelter=shelter, name="Rex", age=1)


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter, dog: Dog) -> Device:
    phone = device(shelter)
    phone.pull()
    return phone


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has every model decide so."""
    options = registry.options_for

    def decide(rule: Any, on_delete: Any = "keep") -> None:
        decided = {"conflicts": {"*": rule}, "on_delete": on_delete}
        monkeypatch.setattr(registry, "options_for", lambda model: replace(options(model), **decided))

    return decide


def both(conflict: Any) -> str:
    return f"{conflict.server} and {conflict.client}"


RULES: dict[Any, tuple[str, str]] = {
    "newest": ("applied", "Mine"),
    "client": ("applied", "Mine"),
    "server": ("superseded", "Theirs"),
    "review": ("parked", "Theirs"),
    both: ("merged", "Theirs and Mine"),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_nobody_has_touched_since_the_checkpoint_is_no_conflict(
    phone: Device, dog: Dog, policy: Callable[..., None], rule: Any
) -> None:
    policy(rule)

    (result,) = phone.push(edit(dog.pk, {"name": "Mine"}))

    assert result["state"] == "applied"
    assert Dog.objects.get().name == "Mine"
    assert not Item.objects.exists()


@pytest.mark.parametrize("rule", RULES)
def test_what_somebody_else_has_touched_since_is_decided_by_the_policy(
    phone: Device, dog: Dog, policy: Callable[..., None], rule: Any
) -> None:
    policy(rule)
    Dog.objects.update(name="Theirs")

    (result,) = phone.push(edit(dog.pk, {"name": "Mine"}))

    assert (result["state"], Dog.objects.get().name) == RULES[rule]
    item = Item.objects.get()
    decision = item.fields["name"]
    assert (decision["client"], decision["server"], decision["base_clock"]) == ("Mine", "Theirs", None)


@pytest.mark.parametrize("rule", RULES)
def test_a_field_that_only_the_client_changed_is_a_conflict_all_the_same_where_the_row_was_touched(
    phone: Device, dog: Dog, policy: Callable[..., None], rule: Any
) -> None:
    policy(rule)
    Dog.objects.update(age=9)

    (result,) = phone.push(edit(dog.pk, {"name": "Mine", "age": 9}))

    expected = RULES[rule][0]
    assert result["state"] == expected
    assert Item.objects.get().fields["name"]["server"] == "Rex"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pulls", [True, False])
def test_the_clients_own_last_write_is_no_conflict(
    phone: Device, dog: Dog, policy: Callable[..., None], rule: Any, pulls: bool
) -> None:
    policy(rule)
    for name in ("One", "Two", "Three"):
        (result,) = phone.push(edit(dog.pk, {"name": name}))
        assert result["state"] == "applied"
        if pulls:
            phone.pull()

    assert Dog.objects.get().name == "Three"
    assert not Item.objects.exists()


def test_a_row_that_the_client_made_and_has_not_pulled_is_its_own(
    phone: Device, shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("server")
    pk = uuid.uuid4()

    (made,) = phone.push(edit(pk, dog_fields(shelter)))
    (edited,) = phone.push(edit(pk, {"age": 7}))
    (gone,) = phone.push(deletion(pk))

    assert [made["state"], edited["state"], gone["state"]] == ["applied"] * 3
    assert not Dog.objects.filter(pk=pk).exists()


def test_a_write_over_what_somebody_else_wrote_does_not_make_the_row_the_clients_own(
    phone: Device, dog: Dog, policy: Callable[..., None]
) -> None:
    Dog.objects.update(name="Theirs", age=5)
    phone.push(edit(dog.pk, {"name": "Mine"}))
    policy("server")

    (result,) = phone.push(edit(dog.pk, {"age": 2}))
    assert (result["state"], Dog.objects.get().age) == ("superseded", 5)

    phone.pull()
    (result,) = phone.push(edit(dog.pk, {"age": 2}))
    assert (result["state"], Dog.objects.get().age) == ("applied", 2)


def test_what_another_client_has_written_since_is_not_the_clients_own(
    phone: Device, device: DeviceFactory, shelter: Shelter, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    phone.push(edit(dog.pk, {"age": 2}))
    tablet = device(shelter)
    tablet.pull()
    tablet.push(edit(dog.pk, {"age": 3}))

    (result,) = phone.push(edit(dog.pk, {"age": 4}))

    assert (result["state"], Dog.objects.get().age) == ("superseded", 3)


def test_a_write_of_no_client_takes_the_row_from_its_client(
    phone: Device, dog: Dog, outside_sql: Callable[[str], str], policy: Callable[..., None]
) -> None:
    policy("server")
    phone.push(edit(dog.pk, {"age": 2}))
    assert Entry.objects.get(pk_text=str(dog.pk)).touched_by == uuid.UUID(phone.client)
    outside_sql("UPDATE shelters_dog SET age = 3")

    assert Entry.objects.get(pk_text=str(dog.pk)).touched_by is None
    (result,) = phone.push(edit(dog.pk, {"age": 4}))
    assert (result["state"], Dog.objects.get().age) == ("superseded", 3)


def test_a_recovery_does_not_write_for_its_client(phone: Device, dog: Dog) -> None:
    change = Change(model=DOG, pk=str(dog.pk), op="put", fields={"age": 4}, clocks={"*": now()}, seq=9)
    recover(phone, forced(phone), [ChangeLine(change=replace(change, base={}))])

    assert Dog.objects.get().age == 4
    assert Entry.objects.get(pk_text=str(dog.pk)).touched_by not in (None, uuid.UUID(phone.client))


def test_a_scope_that_the_client_did_not_hold_at_its_checkpoint_tells_it_nothing(
    phone: Device, other_shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("server")
    hidden = Dog.objects.create(shelter=other_shelter, name="Hidden", age=1)
    other = Device(phone.api)
    other.register().pull()  # Everything has a number now.
    phone.pull()
    user = User.objects.get(memberships__isnull=False)
    Membership.objects.create(user=user, shelter=other_shelter)

    (result,) = phone.push(edit(hidden.pk, {"age": 2}))
    assert (result["state"], Dog.objects.get(pk=hidden.pk).age) == ("superseded", 1)

    phone.pull()
    (result,) = phone.push(edit(hidden.pk, {"age": 2}))
    assert (result["state"], Dog.objects.get(pk=hidden.pk).age) == ("applied", 2)


def test_a_checkpoint_in_the_middle_of_a_bootstrap_tells_nothing_of_rows(
    device: DeviceFactory, shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("server")
    dogs = [Dog.objects.create(shelter=shelter, name=f"Dog {number}", age=1) for number in range(4)]
    phone = device(shelter)
    body = {"client": phone.client, "schema": phone.schema, "receipt": "", "checkpoint": None, "limit": 2}
    page = phone.post("/pull", body)
    assert page["more"]
    phone.checkpoint = page["checkpoint"]

    results = phone.push(*(edit(dog.pk, {"age": 2}) for dog in dogs))

    assert {result["state"] for result in results} == {"superseded"}


def test_of_a_checkpoint_that_is_told_in_part_the_rest_is_not_known(
    device: DeviceFactory, shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("server")
    dogs = [Dog.objects.create(shelter=shelter, name=f"Dog {number}", age=1) for number in range(2)]
    phone = device(shelter)
    phone.pull()
    Dog.objects.update(age=2)
    body = {"client": phone.client, "schema": phone.schema, "receipt": "", "checkpoint": phone.checkpoint}
    page = phone.post("/pull", {**body, "limit": 1})
    (told,) = page["changes"]
    assert page["more"]
    phone.checkpoint = page["checkpoint"]

    results = phone.push(*(edit(dog.pk, {"age": 3}) for dog in dogs))

    expected = {str(dog.pk): "applied" if str(dog.pk) == told["pk"] else "superseded" for dog in dogs}
    assert [result["state"] for result in results] == list(expected.values())


def test_a_row_that_the_feed_does_not_know_is_not_known_to_a_client(
    phone: Device, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    Entry.objects.filter(pk_text=str(dog.pk)).delete()

    (result,) = phone.push(edit(dog.pk, {"age": 2}))

    assert result["state"] == "superseded"


def test_of_a_row_that_was_deleted_in_two_scopes_both_deletions_are_to_be_known(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("newest", "delete")
    pk = uuid.uuid4()
    phone = device(shelter, other_shelter)
    for place in (shelter, other_shelter):
        Dog.objects.create(pk=pk, shelter=place, name="Rex").delete()
    phone.pull()
    Dog.objects.create(pk=pk, shelter=shelter, name="Rex").delete()

    (result,) = phone.push(edit(pk, dog_fields(shelter)))
    assert (result["state"], Dog.objects.count()) == ("superseded", 0)

    phone.pull()
    (result,) = phone.push(edit(pk, dog_fields(shelter)))
    assert (result["state"], Dog.objects.count()) == ("applied", 1)


def test_the_very_values_of_a_row_that_somebody_deleted_do_not_bring_it_back(phone: Device, dog: Dog) -> None:
    change = edit(dog.pk, {**dog_fields(dog.shelter), "age": 1, "weight": None, "born": None})
    dog.delete()

    (result,) = phone.push(change)

    assert (result["state"], result["problem"]["code"]) == ("superseded", "deleted")
    assert not Dog.objects.exists()


def test_a_row_that_was_moved_by_somebody_else_is_not_as_it_was(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, policy: Callable[..., None]
) -> None:
    policy("server")
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = device(shelter, other_shelter)
    phone.pull()
    Dog.objects.update(shelter=other_shelter)

    (result,) = phone.push(edit(dog.pk, {"age": 2}))
    assert result["state"] == "superseded"

    phone.pull()
    (moved,) = phone.push(edit(dog.pk, {"shelter": str(shelter.pk)}))
    (edited,) = phone.push(edit(dog.pk, {"age": 2}))
    assert (moved["state"], edited["state"]) == ("applied", "applied")


def test_a_deletion_needs_no_more_than_the_key(phone: Device, dog: Dog) -> None:
    (result,) = phone.push(deletion(dog.pk))

    assert result == {"seq": 1, "state": "applied"}
    assert not Dog.objects.exists()
    assert not Item.objects.exists()


@pytest.mark.parametrize(
    ("on_delete", "state", "left"),
    [("keep", "superseded", 1), ("delete", "applied", 0), ("review", "parked", 1)],
)
def test_a_deletion_that_meets_a_newer_write_is_decided_by_the_policy(
    phone: Device, dog: Dog, policy: Callable[..., None], on_delete: str, state: str, left: int
) -> None:
    policy("newest", on_delete)
    Dog.objects.update(age=5)

    (result,) = phone.push(deletion(dog.pk))

    assert (result["state"], Dog.objects.count()) == (state, left)
    assert Item.objects.get().before["fields"]["age"] == 5
    if left:
        assert (result["problem"]["code"], result["row"]["fields"]["age"]) == ("changed_since", 5)


@pytest.mark.parametrize("on_delete", ["keep", "delete", "review"])
def test_a_deletion_of_what_the_client_knows_asks_no_policy(
    phone: Device, dog: Dog, policy: Callable[..., None], on_delete: str
) -> None:
    policy("review", on_delete)
    phone.push(edit(dog.pk, {"age": 2}))

    (result,) = phone.push(deletion(dog.pk))

    assert (result["state"], Dog.objects.count(), Item.objects.count()) == ("applied", 0, 0)


@pytest.mark.parametrize(
    ("on_delete", "state", "left"),
    [("keep", "applied", 1), ("delete", "superseded", 0), ("review", "parked", 0)],
)
def test_an_edit_of_a_row_that_somebody_deleted_is_decided_by_the_policy(
    phone: Device, dog: Dog, policy: Callable[..., None], on_delete: str, state: str, left: int
) -> None:
    policy("newest", on_delete)
    fields = dog_fields(dog.shelter, age=5)
    partial, whole = edit(dog.pk, {"age": 2}), edit(dog.pk, fields)
    dog.delete()

    (result,) = phone.push(partial)
    assert (result["state"], Dog.objects.count()) == (state, left)
    Dog.objects.all().delete()

    (result,) = phone.push(whole)
    assert (result["state"], Dog.objects.count()) == (state, left)


@pytest.mark.parametrize("on_delete", ["keep", "delete", "review"])
@pytest.mark.parametrize("pulls", [True, False])
@pytest.mark.parametrize("pushes", [1, 2])
def test_a_row_whose_deletion_the_client_knows_of_is_made_anew_by_all_of_its_fields(
    phone: Device, dog: Dog, policy: Callable[..., None], on_delete: str, pulls: bool, pushes: int
) -> None:
    policy("newest", on_delete)
    fields = {**dog_fields(dog.shelter), "age": 1, "weight": None, "born": None}
    changes = [deletion(dog.pk), edit(dog.pk, fields)]
    if pushes == 1:
        results = phone.push(*changes)
    else:
        results = phone.push(changes[0])
        if pulls:
            phone.pull()
        results += phone.push(changes[1])

    assert [result["state"] for result in results] == ["applied", "applied"]
    assert Dog.objects.get(pk=dog.pk).name == "Rex"
    (result,) = phone.push(edit(dog.pk, {"age": 3}))
    assert (result["state"], Item.objects.count()) == ("applied", 0)


def test_a_missing_row_is_made_by_all_fields_that_can_be_set_and_by_no_fewer(
    phone: Device, shelter: Shelter
) -> None:
    fields = dog_fields(shelter)
    for name in fields:
        few = {key: value for key, value in fields.items() if key != name}
        (result,) = phone.push(edit(uuid.uuid4(), few))
        assert (result["state"], result["problem"]["code"]) == ("rejected", "row_missing"), name
    pk = uuid.uuid4()

    (result,) = phone.push(edit(pk, fields))

    assert result["state"] == "applied"
    assert set(result["clocks"]) == {"*"}
    assert Dog.objects.get(pk=pk).born is not None


def test_a_row_that_the_user_may_not_see_looks_as_one_that_is_absent(
    phone: Device, shelter: Shelter, other_shelter: Shelter
) -> None:
    hidden = Dog.objects.create(shelter=other_shelter, name="Hidden", age=1)

    some, all_of_it, gone = phone.push(
        edit(hidden.pk, {"age": 2}), edit(hidden.pk, dog_fields(shelter)), deletion(hidden.pk)
    )

    assert (some["state"], some["problem"]["code"]) == ("rejected", "row_missing")
    assert (all_of_it["state"], all_of_it["problem"]["code"]) == ("rejected", "pk_unavailable")
    assert gone == {"seq": 3, "state": "identical"}
    assert Dog.objects.get(pk=hidden.pk).age == 1


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_two_changes_of_one_row_in_one_push_follow_each_other(
    phone: Device, dog: Dog, policy: Callable[..., None], rule: Any, touched: bool
) -> None:
    policy(rule)
    if touched:
        Dog.objects.update(name="Theirs")

    results = phone.push(edit(dog.pk, {"name": "One"}), edit(dog.pk, {"name": "Two", "notes": "n"}))

    if not touched:
        assert [result["state"] for result in results] == ["applied", "applied"]
        assert (Dog.objects.get().name, Dog.objects.get().notes) == ("Two", "n")
    elif rule in ("newest", "client"):
        assert [result["state"] for result in results] == ["applied", "applied"]
        assert Dog.objects.get().name == "Two"
    else:
        assert [result["state"] for result in results] == [RULES[rule][0]] * 2
        assert Item.objects.count() == 2


def test_changes_that_are_cut_in_halves_are_based_as_they_are_together(
    phone: Device, shelter: Shelter, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    Dog.objects.create(shelter=shelter, name="Other", chip="7")

    results = phone.push(
        edit(dog.pk, {"name": "One"}),
        edit(uuid.uuid4(), dog_fields(shelter, chip="7")),
        edit(dog.pk, {"name": "Two"}),
        edit(dog.pk, {"chip": "7", "name": "Three"}),
    )

    assert [result["state"] for result in results] == ["applied", "parked", "applied", "parked"]
    assert Dog.objects.get(pk=dog.pk).name == "Two"


@pytest.mark.parametrize("touched", [False, True])
def test_what_is_parked_is_kept_with_the_clocks_that_it_was_based_on(
    phone: Device, shelter: Shelter, dog: Dog, policy: Callable[..., None], touched: bool
) -> None:
    policy("server")
    other = Dog.objects.create(shelter=shelter, name="Other", chip="7")
    phone.pull()
    if touched:
        Dog.objects.filter(pk=dog.pk).update(name="Theirs")
    (result,) = phone.push(edit(dog.pk, {"chip": "7", "name": "Mine"}))
    assert result["state"] == ("superseded" if touched else "parked")
    if touched:
        return
    item = Item.objects.get(pk=result["item"])
    assert item.change["base"] == dict.fromkeys(("chip", "name"), Dog.objects.get(pk=dog.pk).last_updated)

    # The value is freed: what was parked is written as if it had come now, for nobody has touched the row.
    phone.push(edit(other.pk, {"chip": None}))

    item.refresh_from_db()
    assert item.state == "applied"
    assert Dog.objects.get(pk=dog.pk).name == "Mine"


def test_the_members_of_a_group_are_kept_with_their_bases(phone: Device, shelter: Shelter, dog: Dog) -> None:
    Dog.objects.create(shelter=shelter, name="Other", chip="7")

    phone.push(
        edit(dog.pk, {"name": "Mine"}, group="g"),
        edit(uuid.uuid4(), dog_fields(shelter, chip="7"), group="g"),
    )

    kept = Item.objects.get(pk_text=str(dog.pk))
    assert (kept.code, kept.change["base"]) == ("group", {"name": Dog.objects.get(pk=dog.pk).last_updated})
    assert Item.objects.get(code="unique").change["base"] is None


def test_a_change_without_clocks_was_made_when_it_was_received(phone: Device, dog: Dog) -> None:
    before = now()

    one, two = phone.push(edit(dog.pk, {"name": "One"}), edit(dog.pk, {"age": 2}))

    assert before <= one["clocks"]["name"] < two["clocks"]["age"] <= now()
    assert two["clocks"]["age"] - one["clocks"]["name"] == 1


def test_clocks_may_be_given_all_the_same(phone: Device, dog: Dog) -> None:
    Dog.objects.update(name="Theirs", age=5)
    early = now() - 60_000_000

    (result,) = phone.push(edit(dog.pk, {"name": "Mine", "age": 6}, clocks={"name": early}))

    assert result["state"] == "merged"
    assert (Dog.objects.get().name, Dog.objects.get().age) == ("Theirs", 6)


@pytest.mark.parametrize("base", ["Checkpoint", "", "checkpoint ", 7, [], True, ["checkpoint"], {"age": "1"}])
def test_another_base_is_malformed(phone: Device, dog: Dog, base: Any) -> None:
    body = phone.body(edit(dog.pk, {"age": 2}), edit(dog.pk, {"age": 3}))
    body["changes"][1]["base"] = base
    body["changes"][1]["clocks"] = {"*": now()}

    problem = problem_of(phone.api.post("/sync/v1/push", body), 400, "malformed")

    assert problem["detail"].startswith("changes[1].base ")
    assert Dog.objects.get().age == 1


def test_without_the_checkpoint_as_base_clocks_are_required(phone: Device, dog: Dog) -> None:
    body = phone.body(edit(dog.pk, {"age": 2}, base={}))

    assert (
        "changes[0].clocks" in problem_of(phone.api.post("/sync/v1/push", body), 400, "malformed")["detail"]
    )


def test_a_push_that_shows_no_checkpoint_says_what_to_do(phone: Device, dog: Dog) -> None:
    body = {**phone.body(edit(dog.pk, {"age": 2})), "checkpoint": None}

    problem = problem_of(phone.api.post("/sync/v1/push", body), 400, "malformed")

    assert problem["detail"].startswith(
        "changes[0].base names the checkpoint, and this push shows none: pull first"
    )
    assert Dog.objects.get().age == 1


def test_the_checkpoint_of_another_client_is_no_base(
    phone: Device, device: DeviceFactory, shelter: Shelter, dog: Dog
) -> None:
    tablet = device(shelter)
    tablet.pull()
    phone.checkpoint = tablet.checkpoint

    problem = phone.push(edit(dog.pk, {"age": 2}), status=400)

    assert problem["code"] == "invalid_checkpoint"
    assert Dog.objects.get().age == 1


def test_a_lost_answer_is_given_again_whatever_has_happened_since(
    phone: Device, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    body = phone.body(edit(dog.pk, {"age": 2}), edit(dog.pk, {"name": "Mine"}))
    first = phone.post("/push", body)
    Dog.objects.update(age=7)

    again = phone.post("/push", {**body, "again": True})
    parts = [phone.post("/push", {**body, "changes": [change]}) for change in reversed(body["changes"])]

    assert again["results"] == first["results"]
    assert [part["results"][0] for part in reversed(parts)] == first["results"]
    assert Dog.objects.get().age == 7


def test_what_comes_with_a_repeated_push_is_based_on_what_is_there_now(
    phone: Device, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    body = phone.body(edit(dog.pk, {"age": 2}))
    phone.post("/push", body)
    own = {"seq": 2, **edit(dog.pk, {"age": 3})}
    kept = phone.post("/push", {**body, "changes": [*body["changes"], own]})
    Dog.objects.update(age=7)
    late = {"seq": 3, **edit(dog.pk, {"age": 4})}
    lost = phone.post("/push", {**body, "receipt": kept["receipt"], "changes": [late]})

    assert [result["state"] for result in kept["results"]] == ["applied", "applied"]
    assert [result["state"] for result in lost["results"]] == ["superseded"]
    assert Dog.objects.get().age == 7


def test_a_push_from_before_a_bootstrap_is_refused(phone: Device, dog: Dog) -> None:
    body = phone.body(edit(dog.pk, {"age": 2}))
    Dog.objects.update(name="Theirs")
    bootstrap(phone, forced(phone))

    assert phone.send(body, 409)["code"] == "overtaken"
    assert Dog.objects.get().age == 1


@pytest.mark.parametrize("touched", [False, True])
def test_steps_add_up_whatever_they_are_based_on(
    device: DeviceFactory, apples: Product, policy: Callable[..., None], touched: bool
) -> None:
    policy("review")
    red, green, ripe = (Tag.objects.create(name=name) for name in ("red", "green", "ripe"))
    apples.tags.set([red, green])
    phone = device()
    phone.pull()
    if touched:
        Product.objects.update(stock=20)
        apples.tags.add(ripe)
    fields = {"stock": steps({"delta": 3}), "tags": steps({"remove": ["green"]})}
    body = phone.body(edit(apples.pk, fields, PRODUCT))

    (result,) = phone.send(body)
    (again,) = phone.push(edit(apples.pk, fields, PRODUCT))

    assert (result["state"], again["state"]) == ("applied", "identical")
    assert Product.objects.get().stock == (23 if touched else 13)
    assert elements(apples) == (["red", "ripe"] if touched else ["red"])


@pytest.mark.parametrize("touched", [False, True])
def test_whole_values_of_counters_and_sets_are_as_other_values(
    device: DeviceFactory, apples: Product, touched: bool
) -> None:
    red, green, ripe = (Tag.objects.create(name=name) for name in ("red", "green", "ripe"))
    apples.tags.set([red, green])
    phone = device()
    phone.pull()
    if touched:
        apples.tags.add(ripe)

    (result,) = phone.push(edit(apples.pk, {"stock": 3, "tags": ["red"]}, PRODUCT))

    assert (result["state"], Product.objects.get().stock) == ("merged" if touched else "applied", 3)
    assert elements(apples) == (["green", "red", "ripe"] if touched else ["red"])
    assert Item.objects.count() == touched
    # An own write of elements leaves the row the client's own.
    (result,) = phone.push(edit(apples.pk, {"tags": []}, PRODUCT))
    assert elements(apples) == (["green", "red", "ripe"] if touched else [])


def test_a_whole_row_with_steps_counts_from_their_value(device: DeviceFactory, apples: Product) -> None:
    phone = device()
    phone.pull()
    pk = uuid.uuid4()
    fields = new_product(stock=steps({"delta": 3}, value=5), tags=[], goes_with=[str(apples.pk)])

    (result,) = phone.push(edit(pk, fields, PRODUCT))

    assert (result["state"], Product.objects.get(pk=pk).stock) == ("applied", 5)


@pytest.fixture
def trader(settings: Settings) -> Trader:
    settings.SYNCRESET = {**settings.SYNCRESET, "SCOPES": lambda user: [Stand.objects.all()]}
    return Trader.objects.create(stand=Stand.objects.create(code="A1", name="Fruit"), name="Ann")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("touched", [False, True])
def test_rows_of_registered_models_are_based_alike(
    device: DeviceFactory, trader: Trader, policy: Callable[..., None], rule: Any, touched: bool
) -> None:
    policy(rule)
    phone = device()
    phone.pull()
    (first,) = phone.push(edit(trader.pk, {"name": "Bea"}, TRADER))
    if touched:
        Trader.objects.update(name="Theirs")

    (result,) = phone.push(edit(trader.pk, {"name": "Mine"}, TRADER))

    assert first["state"] == "applied"
    assert (result["state"], Trader.objects.get().name) == (RULES[rule] if touched else ("applied", "Mine"))
    assert Item.objects.count() == touched


def test_a_write_that_is_rolled_back_leaves_the_row_as_it_was(
    phone: Device, dog: Dog, policy: Callable[..., None]
) -> None:
    policy("server")
    with transaction.atomic():
        Dog.objects.update(name="Theirs")
        transaction.set_rollback(True)

    (result,) = phone.push(edit(dog.pk, {"name": "Mine"}))

    assert result["state"] == "applied"


def line(change: Mapping[str, Any], seq: int) -> ChangeLine:
    made = {name: value for name, value in change.items() if name != "base"}
    return ChangeLine(change=Change(**made, base={}, from_checkpoint=True, seq=seq))


@pytest.mark.parametrize("rule", RULES)
def test_in_a_snapshot_the_base_is_unknown(
    phone: Device, dog: Dog, shelter: Shelter, policy: Callable[..., None], rule: Any
) -> None:
    policy(rule)
    pk = str(uuid.uuid4())
    lines = [
        line(edit(dog.pk, {"name": "Mine"}), 5),
        line(edit(pk, dog_fields(shelter)), 6),
        line(edit(uuid.uuid4(), {"age": 3}), 7),
    ]

    recovery = recover(phone, forced(phone), lines, full=False)

    expected = {
        "newest": "applied",
        "client": "applied",
        "server": "superseded",
        "review": "parked",
        both: "merged",
    }
    items = {item.seq: item for item in Item.objects.filter(recovery=recovery)}
    assert items[5].state == expected[rule]
    assert items[5].fields["name"]["base_clock"] is None
    assert (items[6].state, Dog.objects.filter(pk=pk).count()) == ("applied", 1)
    assert (items[7].state, items[7].code) == ("parked", "row_missing")


@pytest.mark.parametrize(("on_delete", "left"), [("keep", 1), ("delete", 0), ("review", 1)])
def test_in_a_snapshot_a_deletion_by_key_is_one_of_a_row_that_may_have_changed(
    phone: Device, dog: Dog, policy: Callable[..., None], on_delete: str, left: int
) -> None:
    policy("newest", on_delete)

    recover(phone, forced(phone), [line(deletion(dog.pk), 5)], full=False)

    assert Dog.objects.count() == left
