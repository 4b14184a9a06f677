"""Changes that an earlier push had to park and that this one has cured: it is no matter how changes are cut."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import ForeignKey, ManyToManyField

from ..apply.context import Context
from ..apply.slots import Applied
from ..ledger.item import Item
from ..ledger.retry import curable, merge_again
from ..protocol.changes import RowKey
from ..wire.model import model_labelled, wire_model

#: How many parked changes of a client one push looks at, the oldest first.
MOST = 1000


def cure(context: Context, applied: Sequence[Applied]) -> None:
    """Merge what this client has parked, where this push wrote what it waited for.

    That is a row that it refers to, or a row of its model that may have given up the value which was taken.
    """
    written = {result.change.row_key for result in applied if result.outcome.writes}
    if not written:
        return
    parked = curable(client=context.client, recovery=None).order_by("created", "pk")[:MOST]
    freed = _freed(applied)
    if any(_waits_for(item, written, freed) for item in parked):
        # Those of one survey refer to each other: what one of them waits for may be another one.
        merge_again(parked, context)


def _freed(applied: Sequence[Applied]) -> dict[str, set[str]]:
    """The fields, by model, whose values rows may have given up. A row that was made has given up none."""
    freed: dict[str, set[str]] = defaultdict(set)
    for result in applied:
        if result.outcome.writes and result.before is not None:
            names = result.before.fields if result.outcome.deletes else result.change.fields
            freed[result.change.model].update(names)
    return freed


def _waits_for(item: Item, written: set[RowKey], freed: Mapping[str, set[str]]) -> bool:
    model, name = model_labelled(item.change["model"]), item.problem.get("field")
    if model is None:
        return False
    if item.code == "unique":
        names = freed.get(model.label, set())
        return bool(names) if name is None else name in names
    return any(
        _is_brought(field, item, written)
        for field in (model.key, *model.fields.values())
        if name in (None, field.name)
    )


def _is_brought(field: Any, item: Item, written: set[RowKey]) -> bool:
    """Whether a row that was written may be the one that a parked change refers to."""
    if not isinstance(field, ForeignKey | ManyToManyField):
        return False
    label = wire_model(field.related_model).label
    if isinstance(field, ForeignKey) and field.target_field.primary_key:
        key = item.change["pk"] if field.primary_key else item.change["fields"].get(field.name)
        return (label, key) in written
    return label in {other for other, _ in written}
