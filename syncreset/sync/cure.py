"""Changes that an earlier push had to park and that this one has cured: it is no matter how changes are cut."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from django.db.models import ForeignKey, ManyToManyField

from ..apply.changes import CURABLE
from ..apply.context import Context
from ..apply.slots import Applied
from ..ledger.item import Item, ItemState
from ..ledger.retry import merge_again
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
    items = Item.objects.filter(
        client=context.client, recovery=None, state=ItemState.PARKED, code__in=CURABLE
    )
    parked = list(items.order_by("created", "pk")[:MOST])
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
    if item.code == "unique":
        names = freed.get(item.change["model"], set())
        field = item.problem.get("field")
        return bool(names) if field is None else field in names
    return not written.isdisjoint(_referred(item))


def _referred(item: Item) -> Iterator[RowKey]:
    """The rows that a parked change refers to."""
    model = model_labelled(item.change["model"])
    if model is None:
        return
    for name, value in item.change["fields"].items():
        field = model.fields.get(name)
        if isinstance(field, ForeignKey | ManyToManyField) and value is not None:
            label = wire_model(field.related_model).label
            keys = value if isinstance(value, list) else [value]
            yield from ((label, key) for key in keys if isinstance(key, str))
