"""Many-to-many fields: who adds or removes an element has written the owner's field."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations import AlterField, Migration

from syncreset.feed.entries import Entry, EntryKind
from syncreset.tracking.migrate import after_migrate, before_migrate
from syncreset.tracking.registry import dependency_order, many_to_many_fields, tracked_models
from syncreset.tracking.triggers import install as triggers
from tests.market.models import Product, Stand, Tag, Trader
from tests.support.feed import clocks_of, entries_of, stamp_all, unstamped
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db


@pytest.fixture
def apples() -> Product:
    return Product.objects.create(name="Apples")


@pytest.fixture
def tags() -> list[Tag]:
    return [Tag.objects.create(name=name) for name in ("red", "ripe")]


def entry_clocks(trader: Trader) -> dict[str, int]:
    entry = Entry.objects.get(model="market.trader", pk_text=str(trader.pk), kind=EntryKind.ROW)
    assert entry.clocks is not None
    return dict(entry.clocks)


def test_fields_with_an_automatic_table_are_synced() -> None:
    assert [field.name for field in many_to_many_fields(Product)] == ["tags", "goes_with"]
    assert [field.name for field in many_to_many_fields(Trader)] == ["sells", "knows"]
    order = dependency_order()
    assert order.index(Tag) < order.index(Product) < order.index(Trader)


@pytest.mark.parametrize(
    "write",
    [
        lambda product, tags: product.tags.add(tags[1]),
        lambda product, tags: product.tags.remove(tags[0]),
        lambda product, tags: product.tags.set([tags[1]]),
        lambda product, tags: product.tags.clear(),
        lambda product, tags: tags[1].products.add(product),
        lambda product, tags: Product.tags.through.objects.update(tag=tags[1]),
        lambda product, tags: tags[0].delete(),
    ],
    ids=["add", "remove", "set", "clear", "reverse", "update", "delete an element"],
)
def test_a_change_of_the_elements_stamps_the_owners_field(
    apples: Product, tags: list[Tag], write: Callable[..., Any]
) -> None:
    other = Product.objects.create(name="Pears")
    apples.tags.add(tags[0])
    before = clocks_of(apples)
    stamp_all()

    write(apples, tags)

    after = clocks_of(apples)
    assert after.updated > before.updated
    assert after.fields == {"*": before.fields["*"], "tags": after.updated}
    assert ("market.product", str(apples.pk)) in unstamped()
    assert ("market.product", str(other.pk)) not in unstamped()


def test_an_element_that_is_there_already_stamps_nothing(apples: Product, tags: list[Tag]) -> None:
    apples.tags.add(*tags)
    stamp_all()

    apples.tags.add(tags[0])

    assert unstamped() == set()


def test_a_symmetrical_relation_stamps_both_sides(apples: Product) -> None:
    pears, figs = (Product.objects.create(name=name) for name in ("Pears", "Figs"))

    apples.goes_with.add(pears)

    assert clocks_of(apples).fields.keys() == clocks_of(pears).fields.keys() == {"*", "goes_with"}
    assert clocks_of(figs).fields.keys() == {"*"}


def test_a_registered_owner_is_stamped_in_its_entry(apples: Product) -> None:
    ann = Trader.objects.create(stand=Stand.objects.create(code="A1", name="Fruit"), name="Ann", phone="1")
    before = entry_clocks(ann)
    stamp_all()

    ann.sells.add(apples)
    ann.hides.add(apples)

    after = entry_clocks(ann)
    assert after.keys() == {"*", "sells"}
    assert after["sells"] > before["*"]
    assert unstamped() == {("market.trader", str(ann.pk))}


def test_a_deleted_owner_leaves_its_tombstone(apples: Product, tags: list[Tag]) -> None:
    apples.tags.add(*tags)
    pk = apples.pk

    apples.delete()

    (entry,) = entries_of(apples, pk).values()
    assert entry.kind == EntryKind.DELETED
    assert not Product.tags.through.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_element_added_by_another_program_is_tracked(outside_sql: Callable[[str], str]) -> None:
    Tag.objects.create(name="red")
    apples = Product.objects.create(name="Apples")
    key = apples.pk.hex if connection.vendor == "sqlite" else apples.pk

    outside_sql(f"INSERT INTO market_product_tags (product_id, tag_id) VALUES ('{key}', 'red')")

    assert clocks_of(apples).fields.keys() == {"*", "tags"}


def test_triggers_installed_late_have_the_rows_read_again(apples: Product, tags: list[Tag]) -> None:
    drop_triggers(Product)
    assert triggers.missing_or_stale(connection, [Product])
    stamp_all()
    apples.tags.add(tags[0])
    assert unstamped() == set()

    triggers.install(connection, tracked_models())

    assert ("market.product", str(apples.pk)) in unstamped()
    assert triggers.missing_or_stale(connection, tracked_models()) == []


@pytest.mark.parametrize("altered", ["product", "tag", "trader"])
def test_tables_may_be_altered(altered: str, apples: Product, tags: list[Tag]) -> None:
    name: Any = models.CharField(max_length=41, primary_key=altered == "tag")
    name.set_attributes_from_name("name")
    model = apps.get_model("market", altered)
    migration = type("Migration", (Migration,), {"operations": [AlterField(altered, "name", name)]})
    carriers = {trigger.table for trigger in triggers.installed(connection).values()}

    before_migrate(using=connection.alias, plan=[(migration("9999_alter", "market"), False)], apps=apps)
    dropped = carriers - {trigger.table for trigger in triggers.installed(connection).values()}
    after_migrate(using=connection.alias)

    assert model._meta.db_table in dropped
    throughs: set[Any] = {
        field.remote_field.through for owner in (Product, Trader) for field in many_to_many_fields(owner)
    }
    for through in throughs:
        refers = {field.related_model for field in through._meta.fields if field.is_relation}
        if model in refers:
            assert through._meta.db_table in dropped
    assert triggers.missing_or_stale(connection, tracked_models()) == []
    apples.tags.add(tags[0])
    assert clocks_of(apples).fields.keys() == {"*", "tags"}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has TRUNCATE")
def test_a_truncated_set_begins_a_new_epoch(apples: Product, tags: list[Tag]) -> None:
    apples.tags.add(tags[0])
    connection.check_constraints()

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE market_product_tags")

    assert Entry.objects.filter(model="market.product", kind=EntryKind.TRUNCATED).exists()
