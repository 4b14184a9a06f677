"""Which rows a set of scopes may see at this moment, deleted ones included."""

from collections.abc import Collection, Iterable

from ..feed.entries import tombstones
from ..protocol.changes import RowKey
from .model import model_labelled
from .rows import visible


def seen_now(keys: Iterable[RowKey], scopes: Collection[str]) -> set[RowKey]:
    """Those of some rows that are within the scopes now, or were when they were deleted.

    A row that has moved to another scope is not among them, whatever its scope was before.
    """
    by_model: dict[str, set[str]] = {}
    for label, pk in keys:
        by_model.setdefault(label, set()).add(pk)
    seen: set[RowKey] = set()
    for label, pks in by_model.items():
        model = model_labelled(label)
        if model is None:
            continue
        texts = model.canonical_keys(pks)
        typed = model.key_values(texts)
        there = {model.key_text(key) for key in model.rows.filter(pk__in=typed).values_list("pk", flat=True)}
        shown = visible(model, scopes).filter(pk__in=typed).values_list("pk", flat=True)
        seen |= {(label, model.key_text(key)) for key in shown}
        seen |= {(label, pk) for pk in tombstones(label, texts - there, scopes)}
    return seen
