"""Many-to-many fields as sets of keys: read for many rows at once, and written as the elements added and removed."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.db.models import Count

from .fields.codec import decode_key, encode_key
from .model import WireModel, wire_model

Pair = tuple[str, str]


def elements_of(model: WireModel, keys: Collection[Any]) -> dict[str, dict[str, list[str]]]:
    """The elements of the rows with these primary keys: wire key to field name to sorted wire keys of elements."""
    if not model.sets:
        return {}
    found: dict[str, dict[str, list[str]]] = {
        model.key_text(key): {name: [] for name in model.sets} for key in keys
    }
    for name, field in model.sets.items():
        through, owner, element = _columns(field)
        rows = through._base_manager.filter(**{f"{owner}__in": keys})
        for key, other in rows.values_list(owner, element):
            found[model.key_text(key)][name].append(encode_key(_key(field), other))
    for sets in found.values():
        for elements in sets.values():
            elements.sort()
    return found


def element_counts(model: WireModel, keys: Collection[Any]) -> dict[Any, int]:
    """How many elements the sets of the rows with these primary keys have together, by key."""
    counts: dict[Any, int] = {}
    for field in model.sets.values():
        through, owner, _ = _columns(field)
        rows = through._base_manager.filter(**{f"{owner}__in": keys}).order_by()
        for key, count in rows.values_list(owner).annotate(Count("pk")):
            counts[key] = counts.get(key, 0) + count
    return counts


def living(field: Any, elements: Collection[str]) -> list[str]:
    """Those elements of a many-to-many field whose rows are still there, sorted."""
    key = _key(field)
    rows = field.related_model._base_manager.filter(pk__in=[decode_key(key, element) for element in elements])
    return sorted(encode_key(key, pk) for pk in rows.values_list("pk", flat=True))


def write_elements(
    field: Any, before: Mapping[str, Iterable[str]], after: Mapping[str, Iterable[str]]
) -> None:
    """Give a field of several rows (by wire key) their elements, writing only what was added and removed.

    What others have added meanwhile stays. In a symmetrical relation both sides are written.
    """
    through, owner, element = _columns(field)
    had = {(pk, other) for pk, elements in before.items() for other in elements}
    has = {(pk, other) for pk, elements in after.items() for other in elements}
    added, removed = _both_sides(field, has - had), _both_sides(field, had - has)
    owners, key = wire_model(field.model), _key(field)
    gone: dict[str, list[str]] = {}
    for row, other in sorted(removed):
        gone.setdefault(row, []).append(other)
    for row, others in gone.items():
        elements = [decode_key(key, other) for other in others]
        through._base_manager.filter(**{owner: owners.key_value(row), f"{element}__in": elements}).delete()
    through._base_manager.bulk_create(
        [
            through(**{owner: owners.key_value(row), element: decode_key(key, other)})
            for row, other in sorted(added)
        ],
        ignore_conflicts=True,
    )


def _both_sides(field: Any, pairs: set[Pair]) -> set[Pair]:
    return pairs | {(other, row) for row, other in pairs} if field.remote_field.symmetrical else pairs


def _key(field: Any) -> Any:
    return field.related_model._meta.pk


def _columns(field: Any) -> tuple[Any, str, str]:
    """The model of the field's table, and its attributes with the keys of owner and element."""
    through = field.remote_field.through
    owner = through._meta.get_field(field.m2m_field_name()).attname
    return through, owner, through._meta.get_field(field.m2m_reverse_field_name()).attname
