"""Which models are tracked, and in which order."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import models
from django.test.utils import isolate_apps, override_settings

from syncreset.models import SyncTrackedModel
from syncreset.tracking import registry
from syncreset.tracking.options import SyncOptions
from syncreset.tracking.registry import (
    dependency_order,
    is_tracked,
    options_for,
    scope_key,
    scope_model,
    synced_fields,
    tracked_by_label,
    tracked_models,
)
from tests.shelters.models import Dog, Membership, Shelter, Vet, Visit
from tests.zoo.models import OneToOneKeyed, Specimen, UUIDKeyed


def test_models_that_inherit_are_tracked_and_others_are_not() -> None:
    assert {Dog, Shelter, Vet, Visit, Specimen} <= set(tracked_models())
    assert is_tracked(Dog)
    assert not is_tracked(Membership)
    assert not is_tracked(User)
    assert tracked_by_label("shelters.dog") is Dog
    assert tracked_by_label("shelters.membership") is None
    assert tracked_by_label("shelters.Dog") is None


def test_another_set_of_apps_has_other_tracked_models() -> None:
    assert Specimen in tracked_models()

    with override_settings(
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "tests.shelters"]
    ):
        assert Specimen not in tracked_models()
        assert Dog in dependency_order()

    assert Specimen in tracked_models()


@isolate_apps("tests.shelters")
def test_models_of_isolated_apps_are_not_tracked() -> None:
    class Cat(SyncTrackedModel):
        name = models.CharField(max_length=20, primary_key=True)

        class Meta:
            app_label = "shelters"

    assert Cat not in tracked_models()
    assert not is_tracked(Cat)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the registry see exactly the given models."""

    def register(*models: type[models.Model]) -> None:
        monkeypatch.setattr(apps, "get_models", lambda: list(models))

    return register


@isolate_apps("tests.shelters")
def test_only_models_with_a_table_of_their_own_are_tracked(registered: Any) -> None:
    class Base(SyncTrackedModel):
        name = models.CharField(max_length=20, primary_key=True)

        class Meta:
            app_label = "shelters"

    class Child(Base):
        class Meta:
            app_label = "shelters"

    class Proxy(Base):
        class Meta:
            app_label = "shelters"
            proxy = True

    class Elsewhere(SyncTrackedModel):
        name = models.CharField(max_length=20, primary_key=True)

        class Meta:
            app_label = "shelters"
            managed = False

    registered(Base, Child, Proxy, Elsewhere)

    assert tracked_models() == [Base]
    assert is_tracked(Proxy)


def test_parents_come_before_children() -> None:
    order = dependency_order()

    assert set(order) == set(tracked_models())
    for child, parent in ((Dog, Shelter), (Visit, Dog), (Visit, Vet), (OneToOneKeyed, UUIDKeyed)):
        assert order.index(parent) < order.index(child)


@isolate_apps("tests.shelters")
def test_a_cycle_is_entered_where_null_is_allowed(registered: Any) -> None:
    class Author(SyncTrackedModel):
        favourite = models.ForeignKey("Book", models.CASCADE, null=True)

        class Meta:
            app_label = "shelters"

    class Book(SyncTrackedModel):
        author = models.ForeignKey(Author, models.CASCADE)

        class Meta:
            app_label = "shelters"

    for order in ((Author, Book), (Book, Author)):
        registered(*order)
        assert dependency_order() == [Author, Book]


@isolate_apps("tests.shelters")
def test_a_cycle_without_null_is_entered_at_the_first_label(registered: Any) -> None:
    class Hen(SyncTrackedModel):
        egg = models.ForeignKey("Egg", models.CASCADE)

        class Meta:
            app_label = "shelters"

    class Egg(SyncTrackedModel):
        hen = models.ForeignKey(Hen, models.CASCADE)

        class Meta:
            app_label = "shelters"

    registered(Hen, Egg)

    assert dependency_order() == [Egg, Hen]


def test_options_are_what_sync_meta_says() -> None:
    assert options_for(Dog) == SyncOptions(
        scope="shelter", read_only=("intake_no",), conflicts={"notes": "review"}, on_delete="keep"
    )
    assert options_for(Vet).scope is None


@isolate_apps("tests.shelters")
def test_sync_meta_is_inherited_from_abstract_models() -> None:
    class Kept(SyncTrackedModel):
        class Meta:
            abstract = True
            app_label = "shelters"

        class SyncMeta:
            on_delete = "delete"
            can_write = "tests.shelters.scopes.scopes_for"

    class Plain(Kept):
        class Meta:
            app_label = "shelters"

    class Extended(Kept):
        class Meta:
            app_label = "shelters"

        class SyncMeta(Kept.SyncMeta):
            recovery = "by_field"

    assert options_for(Plain).on_delete == "delete"
    assert callable(options_for(Plain).can_write)
    assert (options_for(Extended).on_delete, options_for(Extended).recovery) == ("delete", "by_field")


@isolate_apps("tests.shelters")
def test_a_model_without_sync_meta_has_the_defaults() -> None:
    class Plain(SyncTrackedModel):
        class Meta:
            app_label = "shelters"

    assert options_for(Plain) == SyncOptions()


def test_the_key_and_the_clocks_do_not_travel_among_the_fields() -> None:
    assert [field.name for field in synced_fields(Visit)] == [
        "shelter",
        "dog",
        "vet",
        "at",
        "kind",
        "remarks",
    ]


def test_a_scope_is_a_row_of_the_model_that_the_column_points_to() -> None:
    assert scope_model(Dog) is Shelter
    assert scope_model(Shelter) is Shelter
    assert scope_model(Vet) is None
    assert scope_key(Shelter, "0190") == "shelters.shelter:0190"
    assert registry.EVERYONE == "*"
