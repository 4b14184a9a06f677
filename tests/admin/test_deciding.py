"""Parked items decided in the admin: field by field, as a whole, and many at once."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client as Browser
from django.urls import reverse

from syncreset.clients.client import Client
from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview, undo
from syncreset.recovery.run import run
from tests.admin.urls import site
from tests.shelters.models import Dog, Shelter
from tests.support import pages
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory, page_url
from tests.support.snapshots import edited, forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

ITEMS = "syncreset_item"
MAY_DECIDE = ("syncreset.view_item", "syncreset.resolve_item")
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


def parked_notes(phone: Device, shelter: Shelter, name: str = "Rex") -> tuple[Dog, Item]:
    """A pushed edit of notes, on a dog whose notes the server has changed meanwhile."""
    dog = Dog.objects.create(shelter=shelter, name=name, notes="old")
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes="the server's")
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"notes": "the client's", "age": 5}))
    return dog, Item.objects.get(pk=result["item"])


def resolve_url(item: Item) -> str:
    return reverse("admin:syncreset_item_resolve", args=[item.pk])


def post(boss: Operator, item: Item, **answers: str) -> str:
    """What the page says after the decision."""
    response = boss.browser.post(resolve_url(item), answers, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def as_shown(boss: Operator, item: Item) -> dict[str, str]:
    """What the form on the item's page would send of itself."""
    response = boss.browser.get(page_url(item))
    return {"seen": str(response.context["decision_form"]["seen"].value())}


def test_the_page_of_a_parked_item_has_both_values_and_the_servers_as_it_is_now(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    Dog.objects.filter(pk=dog.pk).update(notes="changed since")
    boss = operator(*MAY_DECIDE)

    page = boss.page_of(item)

    decide, _, rest = page.partition("<h2>Merged already</h2>")
    decide = decide.partition("<h2>Decide</h2>")[2]
    for value in ("the client&#x27;s", "changed since", "when parked: ", "the server&#x27;s"):
        assert value in decide
    assert ">age<" not in decide, "it was merged when it was pushed"
    assert ">age<" in rest
    assert f'action="{resolve_url(item)}"' in page
    assert "Keep the client's side: write the client&#x27;s values" in page


@pytest.mark.parametrize(
    ("side", "notes", "state"),
    [("client", "the client's", "applied"), ("server", "the server's", "superseded")],
)
def test_one_side_is_kept_and_the_ledger_says_who_decided_it(
    phone: Device, shelter: Shelter, operator: OperatorFactory, side: str, notes: str, state: str
) -> None:
    dog, item = parked_notes(phone, shelter)
    boss = operator(*MAY_DECIDE)

    page = post(boss, item, keep=side)

    dog.refresh_from_db()
    item.refresh_from_db()
    assert (dog.notes, dog.age, item.state) == (notes, 5, state)
    assert (item.resolution, item.resolved_by) == (side, boss.user)
    assert f"keep the {side}&#x27;s side, by {boss.user}" in page
    assert "Decided: " in page
    assert LogEntry.objects.get().object_id == str(item.pk)
    assert item.fields["age"]["kept"] == "client", "what was merged at once stays told"


def test_each_field_is_decided_by_itself(phone: Device, shelter: Shelter, operator: OperatorFactory) -> None:
    item = _clash(phone, shelter)
    boss = operator(*MAY_DECIDE)
    names = list(item.fields)

    answers = {f"choice__{number}": "client" for number in range(len(names))}
    chip, age = names.index("chip"), names.index("age")
    answers |= {f"choice__{chip}": "other", f"value__{chip}": '"free"', f"choice__{age}": "server"}
    post(boss, item, **as_shown(boss, item), **answers)

    item.refresh_from_db()
    dog = Dog.objects.get(pk=item.pk_text)
    assert item.state == "merged", "the client's age was left out"
    assert (dog.name, dog.chip, dog.age) == ("Mine", "free", 1)
    assert {name: side["kept"] for name, side in item.fields.items()} == {
        "name": "client",
        "chip": "client",
        "age": "server",
    }
    assert item.fields["age"]["server"] == 1
    assert item.resolution == {"name": "Mine", "chip": "free"}


def test_the_same_choice_for_every_field_is_a_choice_of_the_side(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    _, first = parked_notes(phone, shelter)
    _, second = parked_notes(phone, shelter, "Rita")
    boss = operator(*MAY_DECIDE)

    post(boss, first, choice__0="client")
    post(boss, second, choice__0="server")

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.resolution, second.resolution) == ("client", "server")


def test_another_value_is_kept_and_shown_beside_the_clients(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    boss = operator(*MAY_DECIDE)

    page = post(boss, item, **as_shown(boss, item), choice__0="other", value__0='"of both"')

    dog.refresh_from_db()
    assert dog.notes == "of both"
    assert "another value: " in page
    assert "&quot;of both&quot;" in page
    assert "&quot;the client&#x27;s&quot;" in page


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"choice__0": "other", "value__0": "no quotes"}, "A text stands in quotes"),
        ({"choice__0": "other", "value__0": ""}, "A text stands in quotes"),
        ({"choice__0": "other", "value__0": "5"}, "this field takes a string"),
        ({"choice__0": "other", "value__0": "null"}, "this field cannot be null"),
        ({"choice__0": "other", "value__0": '"\\ud800"'}, "surrogate"),
        ({"choice__0": "other", "value__0": '"\\u0000"'}, "U+0000"),
        ({"choice__0": "other", "value__0": '"a\x00b"'}, "Null characters are not allowed"),
        ({"choice__0": "other", "value__0": '{"a": 1, "a": 2}'}, "stands twice"),
        ({"choice__0": "other", "value__0": "[" * 200}, "not JSON"),
        ({"choice__0": "other", "value__0": SCRIPT}, "not JSON"),
        ({"choice__0": "client", "value__0": '"typed"'}, "To keep this value, choose it"),
        ({"choice__0": ""}, "Choose whose value to keep"),
        ({"choice__0": SCRIPT}, "Select a valid choice"),
        ({"keep": SCRIPT}, "decide each field"),
        ({"keep": "client", "seen": "[]"}, "seen is not an object"),
        ({"keep": "client", "seen": '{"notes": "1"}'}, "something else than integers"),
        ({}, "Choose whose value to keep"),
    ],
)
def test_what_is_no_decision_is_shown_again_and_writes_nothing(
    phone: Device, shelter: Shelter, operator: OperatorFactory, answers: dict[str, str], told: str
) -> None:
    dog, item = parked_notes(phone, shelter)
    before = Item.objects.values().get(pk=item.pk)

    page = post(operator(*MAY_DECIDE), item, **answers)

    assert told in page
    assert SCRIPT not in page
    assert Dog.objects.get(pk=dog.pk).notes == "the server's"
    assert Item.objects.values().get(pk=item.pk) == before
    assert not LogEntry.objects.exists()


def test_a_row_that_changed_while_it_was_looked_at_is_asked_about_again(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    boss = operator(*MAY_DECIDE)
    shown = as_shown(boss, item)
    Dog.objects.filter(pk=dog.pk).update(notes="changed since")

    page = post(boss, item, **shown, keep="client")

    assert "is still parked: the server&#x27;s row was changed meanwhile" in page
    assert Dog.objects.get(pk=dog.pk).notes == "changed since"
    assert not LogEntry.objects.exists()
    post(boss, item, **as_shown(boss, item), keep="client")
    assert Dog.objects.get(pk=dog.pk).notes == "the client's"


def test_what_changed_before_the_page_was_opened_has_been_seen(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    Dog.objects.filter(pk=dog.pk).update(notes="changed since")
    boss = operator(*MAY_DECIDE)

    post(boss, item, **as_shown(boss, item), choice__0="client")

    assert Dog.objects.get(pk=dog.pk).notes == "the client's"


def test_a_row_that_went_while_it_was_looked_at_does_not_come_back_unasked(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    boss = operator(*MAY_DECIDE)
    shown = as_shown(boss, item)
    dog.delete()

    page = post(boss, item, **shown, keep="client")

    assert "the row was deleted meanwhile" in page
    assert not Dog.objects.exists()


def test_a_value_that_the_database_refuses_leaves_the_item_as_it_was(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    item = _clash(phone, shelter)
    boss = operator(*MAY_DECIDE)
    fields = item.fields

    page = post(boss, item, keep="client")

    item.refresh_from_db()
    assert "is still parked: another row already has this value (field chip)" in page
    assert (item.state, item.fields, item.resolved) == ("parked", fields, None)
    answers = {f"choice__{number}": "client" for number in range(len(fields))}
    chip = list(fields).index("chip")
    answers |= {f"choice__{chip}": "other", f"value__{chip}": '"given"'}
    Dog.objects.create(shelter=shelter, name="Second", chip="given")
    post(boss, item, **answers)
    item.refresh_from_db()
    assert item.fields["chip"]["client"] == "taken", "the client's value stays to be chosen"


def test_a_delete_is_decided_as_a_whole(phone: Device, shelter: Shelter, operator: OperatorFactory) -> None:
    undoing = _parked_delete(phone, shelter)
    item = Item.objects.get(recovery=undoing)
    boss = operator(*MAY_DECIDE)

    page = boss.page_of(item)
    assert "Keep the client's side: delete the row" in page
    assert "choice__0" not in page
    refused = post(boss, item, choice__0="client")
    assert "decided as a whole" in refused
    post(boss, item, **as_shown(boss, item), keep="client")

    item.refresh_from_db()
    undoing.refresh_from_db()
    assert (item.state, undoing.state) == ("applied", "done")
    assert not Dog.objects.exists()


def test_a_delete_of_a_row_that_changed_while_it_was_looked_at_is_asked_about_again(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    item = Item.objects.get(recovery=_parked_delete(phone, shelter))
    boss = operator(*MAY_DECIDE)
    shown = as_shown(boss, item)
    Dog.objects.update(age=9)

    page = post(boss, item, **shown, keep="client")

    assert "the server&#x27;s row was changed meanwhile" in page
    assert Dog.objects.get().age == 9


def test_a_row_that_the_server_lacks_is_made_or_left_out_as_a_whole(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    reset = forced(phone)
    made = made_here(DOG, str(uuid7()), dog_fields(shelter, name="Clash", chip="taken"))
    Dog.objects.create(shelter=shelter, name="First", chip="taken")
    recover(phone, reset, [made])
    item = Item.objects.get(state="parked")
    boss = operator(*MAY_DECIDE)
    chip = list(item.fields).index("chip")

    page = boss.page_of(item)
    assert "Keep the client's side: make the row" in page
    assert 'value="server" required' not in page
    answers = {f"choice__{number}": "client" for number in range(len(item.fields))}
    answers |= {f"choice__{chip}": "other", f"value__{chip}": "null"}
    post(boss, item, **as_shown(boss, item), **answers)

    assert Dog.objects.get(name="Clash").chip is None


def test_an_operator_may_keep_what_its_client_could_not_write(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    boss = operator(*MAY_DECIDE)
    shelter.memberships.all().delete()

    post(boss, item, **as_shown(boss, item), keep="client")

    assert Dog.objects.get(pk=dog.pk).notes == "the client's"


def test_deciding_needs_its_own_permission_a_post_and_a_token(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    guest, blind = (
        operator("syncreset.view_item", "syncreset.change_item"),
        operator("syncreset.resolve_item"),
    )
    boss = operator(*MAY_DECIDE)

    page = guest.page_of(item)
    assert "Decide" in page
    assert "choice__0" not in page
    assert resolve_url(item) not in page
    assert "keep_client" not in guest.list_of(ITEMS)
    for somebody in (guest, blind):
        assert somebody.browser.post(resolve_url(item), {"keep": "client"}).status_code == 403
    boss.get(resolve_url(item), status=405)
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(boss.user)
    assert strict.post(resolve_url(item), {"keep": "client"}).status_code == 403
    assert Browser().post(resolve_url(item), {"keep": "client"}).status_code == 302

    assert Dog.objects.get(pk=dog.pk).notes == "the server's"


def test_what_somebody_else_has_decided_meanwhile_is_not_decided_again(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    first, second = operator(*MAY_DECIDE), operator(*MAY_DECIDE)
    post(first, item, keep="server")

    page = post(second, item, keep="client")

    item.refresh_from_db()
    assert "somebody has decided it meanwhile" in page
    assert (item.resolved_by, Dog.objects.get(pk=dog.pk).notes) == (first.user, "the server's")


def test_an_item_that_is_not_there_or_not_readable_is_no_error(operator: OperatorFactory) -> None:
    boss = operator(*MAY_DECIDE)

    for key in (str(uuid7()), "x", "_00"):
        url = reverse("admin:syncreset_item_resolve", args=[key])
        assert boss.browser.post(url, {"keep": "client"}).status_code == 404


def test_after_one_item_comes_the_next_of_its_recovery(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    recovery = _parked_recovery(phone, shelter)
    first, second, third = Item.objects.filter(recovery=recovery).order_by("line")
    boss = operator(*MAY_DECIDE)

    assert "then open the next of 2 more" in boss.page_of(first)
    visited = []
    for item in (second, third, first):
        response = boss.browser.post(resolve_url(item), {"keep": "server", "next": "on"})
        visited.append(response.headers["Location"])

    assert visited == [page_url(third), page_url(first), page_url(first)]
    recovery.refresh_from_db()
    assert recovery.state == "done"


def test_the_base_is_shown_with_its_value_where_the_ledger_has_it(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, _ = parked_notes(phone, shelter)
    phone.pull()
    old = phone.put(DOG, str(dog.pk), {"notes": "the client's second"})
    Dog.objects.filter(pk=dog.pk).update(notes="later still")
    (result,) = phone.push(old)
    item = Item.objects.get(pk=result["item"])

    page = operator(*MAY_DECIDE).page_of(item)

    (row,) = [row for row in page.split("<tr>") if "later still" in row and "choice__0" in row]
    assert "the server&#x27;s" in row, "what the second edit was based on"


@pytest.mark.parametrize("value", [SCRIPT, "</textarea>" + SCRIPT, "a\u202eb", "x" * 50_000, "é\u00a0犬"])
def test_hostile_values_can_be_decided_over(
    phone: Device, shelter: Shelter, operator: OperatorFactory, value: str
) -> None:
    dog = Dog.objects.create(shelter=shelter, name=SCRIPT)
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes=f"{SCRIPT}, the server's")
    (result,) = phone.push(phone.put(DOG, str(dog.pk), {"notes": value}))
    item = Item.objects.get(pk=result["item"])
    boss = operator(*MAY_DECIDE, "shelters.view_dog")

    for page in (boss.page_of(item), boss.act(ITEMS, "keep_client", item)):
        assert SCRIPT not in page
        assert "\u202e" not in page
        assert len(page) < 100_000
    shown = boss.browser.get(page_url(item)).context["decision_form"]["value__0"].value()
    assert shown == "" or json.loads(shown) == value
    post(boss, item, **as_shown(boss, item), choice__0="client", value__0=shown)

    assert Dog.objects.get(pk=dog.pk).notes == value


def test_a_change_of_very_many_fields_is_decided_as_a_whole(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    dog, item = parked_notes(phone, shelter)
    many = {f"field{number}": dict(item.fields["notes"], client=number) for number in range(1000)}
    Item.objects.filter(pk=item.pk).update(fields={**item.fields, **many})
    boss = operator(*MAY_DECIDE)

    page = boss.page_of(item)
    post(boss, item, keep="server")

    assert "too many to be decided one by one" in page
    assert "field999" in page
    assert "choice__0" not in page
    assert Item.objects.get(pk=item.pk).state == "superseded"
    assert Dog.objects.get(pk=dog.pk).notes == "the server's"


def test_items_of_a_preview_wait_for_nobody(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    recovery = _parked_recovery(phone, shelter)
    rehearsal = preview(recovery)
    run(rehearsal.pk)
    item = Item.objects.filter(recovery=rehearsal, state="parked")[0]
    boss = operator(*MAY_DECIDE)

    assert "<h2>Decide</h2>" not in boss.page_of(item)
    page = post(boss, item, keep="client")
    question = boss.act(ITEMS, "keep_client", item)

    item.refresh_from_db()
    assert "does not wait for a decision" in page
    assert "Left out: 1 of the selected" in question
    assert (item.state, Dog.objects.filter(notes="the client's").exists()) == ("parked", False)


@pytest.mark.parametrize(("side", "notes"), [("client", "the client's"), ("server", "the server's")])
def test_many_are_decided_at_once_after_a_question(
    phone: Device, shelter: Shelter, operator: OperatorFactory, side: str, notes: str
) -> None:
    recovery = _parked_recovery(phone, shelter)
    items = Item.objects.filter(recovery=recovery)
    boss = operator(*MAY_DECIDE, "syncreset.view_recovery")

    question = boss.act(ITEMS, f"keep_{side}", *items)
    assert "&quot;the client&#x27;s&quot;" in question
    assert "&quot;the server&#x27;s&quot;" in question
    assert f"Keep the {side}&#x27;s side of 3 items" in question
    assert not Item.objects.exclude(resolved=None).exists()
    answer = boss.act(ITEMS, f"keep_{side}", *items, confirmed="yes")

    recovery.refresh_from_db()
    assert "3 items decided." in answer
    assert set(Dog.objects.values_list("notes", flat=True)) == {notes}
    assert {(item.resolution, item.resolved_by) for item in items.all()} == {(side, boss.user)}
    assert recovery.state == "done"
    assert LogEntry.objects.count() == 3


def test_one_that_cannot_be_decided_does_not_stop_the_others(
    phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    recovery = _parked_recovery(phone, shelter)
    broken, changed, fine = Item.objects.filter(recovery=recovery).order_by("line")
    Dog.objects.filter(pk=changed.pk_text).update(notes="changed since")
    Item.objects.filter(pk=broken.pk).update(change={"model": DOG})
    boss = operator(*MAY_DECIDE)

    answer = boss.act(ITEMS, "keep_client", broken, changed, fine, confirmed="yes")

    assert "1 item decided." in answer
    assert "1 item not decided: the server&#x27;s row was changed meanwhile" in answer
    assert "1 item not decided: KeyError" in answer
    assert dict(Item.objects.filter(recovery=recovery).values_list("pk", "state")) == {
        broken.pk: "parked",
        changed.pk: "parked",
        fine.pk: "applied",
    }


def test_what_is_not_parked_is_left_out(phone: Device, shelter: Shelter, operator: OperatorFactory) -> None:
    _, decided = parked_notes(phone, shelter)
    _, parked = parked_notes(phone, shelter, "Rita")
    boss = operator(*MAY_DECIDE)
    post(boss, decided, keep="server")

    question = boss.act(ITEMS, "keep_client", decided, parked)
    nothing = boss.act(ITEMS, "keep_client", decided)
    boss.act(ITEMS, "keep_client", decided, parked, confirmed="yes")

    decided.refresh_from_db()
    assert "Left out: 1 of the selected" in question
    assert 'type="submit" class="default"' not in nothing
    assert decided.resolution == "server"
    assert Item.objects.get(pk=parked.pk).resolution == "client"


def test_the_page_and_the_question_cost_few_queries(
    phone: Device,
    shelter: Shelter,
    operator: OperatorFactory,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    recovery = _parked_recovery(phone, shelter, count=15)
    items = list(Item.objects.filter(recovery=recovery))
    boss = operator(*MAY_DECIDE)

    with django_assert_max_num_queries(25):
        boss.page_of(items[0])
    with django_assert_max_num_queries(15):
        boss.act(ITEMS, "keep_client", *items)


def test_the_documentation_names_the_actions_and_the_permissions_as_they_are() -> None:
    text = pages.page("docs/how-to/review.md")

    for model_admin in (site._registry[Item], site._registry[Recovery]):
        for name in model_admin.actions or ():
            assert f"*{getattr(model_admin, str(name)).short_description}*" in text
    for permissions in (Item._meta.permissions, Recovery._meta.permissions, Client._meta.permissions):
        for codename, _ in permissions:
            assert f"| `syncreset.{codename}` |" in text


def _parked_recovery(phone: Device, shelter: Shelter, count: int = 3) -> Recovery:
    """A recovery whose every item is a conflict over notes."""
    dogs = [Dog.objects.create(shelter=shelter, name=f"Dog {number}") for number in range(count)]
    phone.pull()
    Dog.objects.update(notes="the server's")
    lines = [edited(phone.rows[DOG, str(dog.pk)], notes="the client's") for dog in dogs]
    return recover(phone, forced(phone), lines)


def _parked_delete(phone: Device, shelter: Shelter) -> Recovery:
    """The undoing of a recovery that made a dog, which somebody has changed since."""
    recovery = recover(
        phone, forced(phone), [made_here(DOG, str(uuid7()), dog_fields(shelter, name="Made here"))]
    )
    Dog.objects.update(age=8)
    undoing = undo(recovery)
    run(undoing.pk)
    return undoing


def _clash(phone: Device, shelter: Shelter) -> Item:
    """An edit of a dog that wants a chip which another one has."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone.pull()
    Dog.objects.create(shelter=shelter, name="First", chip="taken")
    reset = forced(phone)
    recover(phone, reset, [edited(phone.rows[DOG, str(dog.pk)], name="Mine", chip="taken", age=7)])
    return Item.objects.get(state="parked")
