"""The way from a row of a tracked model to its items in the ledger, and what its lists cost."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from syncreset.ledger.item import Item
from tests.market.models import Stand, Trader
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory, page_url

pytestmark = pytest.mark.django_db(transaction=True)

Bounded = Callable[..., Any]


@pytest.fixture
def rex(device: DeviceFactory, shelter: Shelter) -> Dog:
    """A dog with two items in the ledger; another one has a third."""
    rex, rita = (Dog.objects.create(shelter=shelter, name=name) for name in ("Rex", "Rita"))
    phone = device(shelter)
    phone.pull()
    for dog in (rex, rex, rita):
        phone.push(phone.put(DOG, str(dog.pk), {"age": "two"}))
    return rex


def traders(*names: str) -> list[Trader]:
    stand, _ = Stand.objects.get_or_create(code="A1", name="Fruit")
    return [Trader.objects.create(stand=stand, name=name) for name in names]


def queries(boss: Operator, listed: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        boss.list_of(listed)
    return len(captured)


def test_a_rows_page_leads_to_its_items_and_no_others(rex: Dog, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)
    items = f"{reverse('admin:syncreset_item_changelist')}?model=shelters.dog&pk_text__exact={rex.pk}"

    page = boss.page_of(rex)
    listed = boss.browser.get(items).context["cl"]

    assert f'<a href="{items.replace("&", "&amp;")}">Sync history (2)</a>' in page
    assert [item.pk_text for item in listed.result_list] == [str(rex.pk)] * 2
    assert reverse("admin:shelters_dog_history", args=[rex.pk]) in page


def test_who_may_not_see_items_is_not_led_to_them(rex: Dog, operator: OperatorFactory) -> None:
    keeper = operator("shelters.change_dog", "shelters.view_vet", "market.view_trader")
    Vet.objects.create(code="A1", name="Dr. A")
    traders("Ann")

    pages = [keeper.page_of(rex), keeper.list_of("shelters_vet"), keeper.list_of("market_trader")]

    for page in pages:
        assert "ync history" not in page
        assert "/syncreset/item/" not in page


def test_a_new_row_has_no_history(operator: OperatorFactory) -> None:
    assert "Sync history" not in operator(superuser=True).get(reverse("admin:shelters_dog_add"))


def test_a_list_counts_the_items_of_each_row(device: DeviceFactory, operator: OperatorFactory) -> None:
    known, new = traders("Ann", "Ben")
    client = device().client
    Item.objects.create(
        client_id=client, model="market.trader", pk_text=str(known.pk), op="put", state="parked"
    )
    Item.objects.create(client_id=client, model="market.stand", pk_text=str(new.pk), op="put", state="parked")

    page = operator(superuser=True).list_of("market_trader")

    assert f'model=market.trader&amp;pk_text__exact={known.pk}">1</a>' in page
    assert '<td class="field-sync_history">0</td>' in page


@pytest.mark.parametrize("listed", ["market_trader", "shelters_vet", "shelters_dog"])
def test_a_list_costs_the_same_queries_however_many_rows_it_has(
    shelter: Shelter, operator: OperatorFactory, django_assert_max_num_queries: Bounded, listed: str
) -> None:
    boss = operator(superuser=True)

    def add(number: int) -> None:
        traders(f"Trader {number}")
        Vet.objects.create(code=f"A{number}", name="Dr. A")
        Dog.objects.create(shelter=shelter, name=f"Dog {number}")

    add(0)
    few = queries(boss, listed)
    for number in range(1, 5):
        add(number)

    with django_assert_max_num_queries(few):
        page = boss.list_of(listed)

    assert page.count('name="_selected_action"') == 5


def test_a_list_of_registered_rows_shows_when_each_was_written(operator: OperatorFactory) -> None:
    traders("Ann", "Ben")

    page = operator(superuser=True).list_of("market_trader")

    assert page.count("just now") == 2


def test_the_page_of_a_registered_row_has_its_clocks_and_its_history(operator: OperatorFactory) -> None:
    (ann,) = traders("Ann")
    Trader.objects.update(phone="1")

    page = operator(superuser=True).page_of(ann)

    assert "<th>phone</th>" in page
    assert "Sync history (0)" in page


def test_an_applications_own_template_of_the_page_stays(
    rex: Dog, operator: OperatorFactory, settings: Settings
) -> None:
    own = '{% extends "admin/change_form.html" %}{% block content_title %}Our own page{% endblock %}'
    (engine,) = settings.TEMPLATES
    loaders = [
        ("django.template.loaders.locmem.Loader", {"admin/shelters/dog/change_form.html": own}),
        "django.template.loaders.app_directories.Loader",
    ]
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": {**engine["OPTIONS"], "loaders": loaders}}]
    boss = operator(superuser=True)

    page = boss.get(page_url(rex))
    other = boss.get(page_url(rex.shelter))

    assert "Our own page" in page
    assert "Sync history (2)" in page
    assert "Our own page" not in other
    assert "Sync history (0)" in other
