"""`SyncTrackedAdmin`, as an application's own ModelAdmins use it."""

import pytest
from django.urls import reverse

from syncreset.admin import SyncTrackedAdmin
from tests.admin.urls import site
from tests.shelters.models import Dog, Shelter
from tests.support.operators import OperatorFactory, page_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dog(shelter: Shelter) -> Dog:
    made = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    Dog.objects.filter(pk=made.pk).update(age=2)
    made.refresh_from_db()
    return made


def test_a_row_shows_when_each_field_was_written_as_dates(dog: Dog, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)

    page = boss.page_of(dog)

    for shown in (page, boss.page_of(dog.shelter)):
        assert shown.count("Synchronisation") == 1
        assert shown.count("Fields written") == 1
    assert "<th>age</th>" in page
    assert "all others" in page
    assert str(dog.last_updated) not in page
    assert str(dog.field_timestamps["*"]) not in page


def test_a_row_is_edited_as_ever_and_its_clocks_are_not(
    dog: Dog, shelter: Shelter, operator: OperatorFactory
) -> None:
    boss = operator(superuser=True)
    before = dog.field_timestamps
    data = {"shelter": str(shelter.pk), "name": "Max", "age": "2", "last_updated": "5", "sync_updated": "5"}

    assert boss.browser.post(page_url(dog), data).status_code == 302

    dog = Dog.objects.get(pk=dog.pk)
    assert dog.name == "Max"
    assert dog.field_timestamps["name"] > before["*"]
    assert dog.field_timestamps["age"] == before["age"]


def test_a_new_row_has_no_clocks_to_show(operator: OperatorFactory) -> None:
    boss = operator(superuser=True)

    for model in ("dog", "shelter"):
        page = boss.get(reverse(f"admin:shelters_{model}_add"))
        assert 'name="name"' in page
        assert "Synchronisation" not in page


def test_lists_show_and_sort_by_the_last_update(
    dog: Dog, shelter: Shelter, operator: OperatorFactory
) -> None:
    Dog.objects.create(shelter=shelter, name="Newer")
    boss = operator(superuser=True)

    page = boss.list_of("shelters_dog", o="-3")

    assert page.index(">Newer<") < page.index(">Rex<")
    assert "just now" in page


def test_own_actions_stay_beside_the_reset(dog: Dog, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)

    page = boss.list_of("shelters_dog")
    boss.act("shelters_dog", "grow", dog)

    assert 'value="grow"' in page
    assert 'value="force_reset_of_holders"' in page
    assert Dog.objects.get().age == 3


def test_a_popup_has_no_actions(dog: Dog, operator: OperatorFactory) -> None:
    assert "force_reset_of_holders" not in operator(superuser=True).list_of("shelters_dog", _popup="1")


def test_actions_can_be_turned_off(
    dog: Dog, operator: OperatorFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.get_model_admin(Dog), "actions", None)

    assert "force_reset_of_holders" not in operator(superuser=True).list_of("shelters_dog")


def test_it_may_be_registered_as_it_is_or_without_actions() -> None:
    class Quiet(SyncTrackedAdmin):
        actions = None

    assert SyncTrackedAdmin(Shelter, site).check() == []
    assert SyncTrackedAdmin(Shelter, site).actions == ["force_reset_of_holders"]
    assert Quiet(Shelter, site).actions is None
