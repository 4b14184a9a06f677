"""What the many-to-many fields of a deleted row held: kept in its tombstone, so that a restored row has it again.

Nothing else can know. Django, as any database with foreign keys, empties a row's sets before it deletes the row, and a
trigger cannot tell that from elements being removed one by one. Deletions in plain SQL leave no sets behind.
"""

from typing import Any

from django.apps import apps
from django.db.models import Model
from django.db.models.signals import post_delete, pre_delete

from ..feed.entries import Entry, EntryKind
from ..tracking.registry import is_tracked
from .model import wire_model
from .sets import elements_of

#: Where an instance carries what its sets hold, between the two signals of its deletion.
_CARRIED = "_syncreset_sets"


def watch_deletions() -> None:
    """Connect the receivers, for tracked models with many-to-many fields alone: whoever listens slows deletions."""
    for model in apps.get_models():
        if is_tracked(model) and wire_model(model).sets:
            pre_delete.connect(_look, sender=model, dispatch_uid="syncreset.look_at_sets")
            post_delete.connect(_keep, sender=model, dispatch_uid="syncreset.keep_sets")


def _look(*, sender: type[Model], instance: Any, **kwargs: Any) -> None:
    model = wire_model(sender)
    sets = elements_of(model, [instance.pk]).get(model.key_of(instance), {})
    setattr(instance, _CARRIED, {name: elements for name, elements in sets.items() if elements})


def _keep(*, sender: type[Model], instance: Any, **kwargs: Any) -> None:
    sets = instance.__dict__.pop(_CARRIED, {})
    if not sets:
        return
    model = wire_model(sender)
    entries = Entry.objects.filter(
        model=model.label,
        pk_text=model.key_of(instance),
        kind=EntryKind.DELETED,
        row__isnull=False,
    )
    for entry in entries:
        entry.row = {**(entry.row or {}), "sets": sets}
        entry.save(update_fields=["row"])
