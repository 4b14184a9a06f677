"""What the server says of each pushed change, taken over into the store."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.changes import ROW_CLOCK, Change, same
from ...protocol.steps import is_steps, parse_steps, sum_of
from ..store.marks import UNKNOWN, Marks
from ..store.schema import ModelSchema
from ..store.steps import drop_steps, note_answered, note_unsent, on_top_of, still_pending
from ..store.store import Store
from .outbox import REFUSED, TAKEN, Frozen


def take_results(store: Store, sent: Iterable[Frozen], results: Mapping[int, Mapping[str, Any]]) -> None:
    """Take over what the server says of each change, within the caller's transaction.

    ``results`` are the protocol's, by sequence number.
    """
    for frozen in sent:
        change, result = frozen.change, results[frozen.seq]
        model = store.schema.models.get(change.model)
        if model is not None:
            take = _take_delete if change.op == "delete" else _take_put
            take(store, model, change, result)
        answer = TAKEN if result["state"] in ("applied", "identical") or _is_missing(result) else REFUSED
        store.connection.execute("UPDATE _syncreset_outbox SET acked = ? WHERE seq = ?", (answer, frozen.seq))


def _is_missing(result: Mapping[str, Any]) -> bool:
    """Whether the server has no such row, so that this replica sends it as a whole."""
    return bool(result["state"] == "rejected" and _code(result) == "row_missing")


def _take_put(store: Store, model: ModelSchema, change: Change, result: Mapping[str, Any]) -> None:
    state, row, clocks = result["state"], result.get("row"), result.get("clocks") or {}
    marks = store.marks(model.name, change.pk)
    if _is_missing(result) and marks is not None and change.base is not None:
        note_unsent(store, change.seq or 0, refused=True)
        _send_whole(store, model, change.pk, marks)
        return
    if state in ("parked", "rejected") or (state == "superseded" and row is None):
        drop_steps(store, change.seq or 0)
    else:
        known = clocks or (row or {}).get("clocks") or {}
        note_answered(store, change.seq or 0, known, known.get(ROW_CLOCK, result.get("updated", 0)))
    if row is not None:
        _keep_what_lost(store, model, change, result)
        _replace(store, model, change, marks, row)
    elif state in ("applied", "identical"):
        _acknowledge(store, model, change, marks, clocks, result.get("updated", 0))
    else:
        _keep_what_lost(store, model, change, result)
        _withdraw(store, model, change, marks)


def _code(result: Mapping[str, Any]) -> Any:
    return (result.get("problem") or {}).get("code")


def _send_whole(store: Store, model: ModelSchema, pk: str, marks: Marks) -> None:
    """The server does not have the row at all: what this replica has of it is sent as a new one."""
    local = dict(marks.clocks) | marks.local
    local.setdefault(ROW_CLOCK, min(local.values(), default=marks.updated))
    store.set_marks(model.name, pk, Marks(base=None, local=local, origin=marks.origin))


def _edited_since(change: Change, marks: Marks, name: str) -> bool:
    """Whether a field was written again after the change was frozen."""
    if marks.base is not None and name not in marks.base:
        return False
    sent = change.clock(name) if name in change.fields or change.base is None else 0
    return marks.written(name) > sent


def _acknowledge(
    store: Store,
    model: ModelSchema,
    change: Change,
    marks: Marks | None,
    clocks: Mapping[str, int],
    updated: int,
) -> None:
    """Take the server's clocks. ``updated`` counts for a row made here alone: others may hide edits not yet pulled."""
    pk, newest = change.pk, max([updated, *clocks.values()])
    store.observe(newest)
    if marks is None:
        _acknowledge_deleted(store, model, pk, clocks, newest)
        return
    whole = change.base is None
    if marks.base is None and not whole:
        return  # deleted and made anew since: that is a change of its own
    known = dict(clocks) if whole and marks.base is None else dict(marks.clocks)
    for name in change.fields:
        if name in clocks:
            known[name] = clocks[name]
    candidates = (
        list(model.fields) if marks.base is None else [name for name in marks.base if name in model.fields]
    )
    server = Marks(clocks=known)
    bases: dict[str, int] = {}
    local: dict[str, int] = {}
    origins: dict[str, list[Any]] = {}
    row = store.row(model, pk) or {}
    for name in candidates:
        field, acknowledged_now = model.fields[name], name in change.fields or marks.base is None
        if name in marks.origin:
            origins[name] = marks.origin[name]
        if still_pending(store, model, pk, field, marks, row.get(name)):
            bases[name] = server.clock(name) if acknowledged_now else (marks.base or {})[name]
            local[name] = marks.written(name)
        elif name in change.fields and is_steps(change.fields[name]):
            continue
        elif _edited_since(change, marks, name):
            bases[name] = server.clock(name) if acknowledged_now else (marks.base or {}).get(name, UNKNOWN)
            local[name] = marks.written(name)
        elif name not in change.fields and marks.base is not None:
            bases[name], local[name] = marks.base[name], marks.written(name)
    seen = newest if whole and marks.base is None else marks.updated
    store.set_marks(
        model.name, pk, Marks(updated=seen, clocks=known, base=bases, local=local, origin=origins)
    )


def _acknowledge_deleted(
    store: Store, model: ModelSchema, pk: str, clocks: Mapping[str, int], newest: int
) -> None:
    """The row was deleted here since: the deletion is based on what the server has now."""
    deletion = store.deletion(model.name, pk)
    if deletion is not None and not deletion.pulled:
        base = newest if deletion.base is None else deletion.base
        known = {**deletion.clocks, **clocks}
        store.set_deletion(model.name, pk, replace(deletion, base=base, clocks=known))


def _replace(
    store: Store, model: ModelSchema, change: Change, marks: Marks | None, row: Mapping[str, Any]
) -> None:
    """The server's row takes the place of the local one, except for fields edited again since."""
    pk = change.pk
    server = Marks(
        updated=max(row["updated"], *row["clocks"].values()) if row["clocks"] else row["updated"],
        clocks=dict(row["clocks"]),
    )
    if marks is None:
        deletion = store.deletion(model.name, pk)
        if deletion is None or deletion.pulled:
            store.drop_deletion(model.name, pk)
            store.write_row(model, pk, row["fields"])
            store.set_marks(model.name, pk, server)
        elif deletion.base is None:
            store.set_deletion(model.name, pk, replace(deletion, base=server.updated))
        return
    bases: dict[str, int] = {}
    fields, held = dict(row["fields"]), store.row(model, pk) or {}
    moved: set[str] = set()
    candidates = (
        list(model.fields) if marks.base is None else [name for name in marks.base if name in model.fields]
    )
    for name in candidates:
        in_flight = name in change.fields
        stepped = (
            on_top_of(store, model, pk, model.fields[name], marks, held.get(name), fields[name])
            if name in fields
            else None
        )
        if stepped is not None:
            bases[name], fields[name] = server.clock(name), stepped.value
            moved.add(name)
            if stepped.origin is not None:
                server.origin[name] = stepped.origin
        elif in_flight and is_steps(change.fields[name]):
            continue
        elif _edited_since(change, marks, name) or (marks.base is not None and not in_flight):
            won = in_flight and name in row["fields"] and same(row["fields"][name], change.fields[name])
            before = UNKNOWN if marks.base is None else marks.base[name]
            bases[name] = server.clock(name) if won else before
    server.base, server.local = bases, {name: marks.written(name) for name in bases}
    kept = bases.keys() - moved
    store.write_row(model, pk, {name: value for name, value in fields.items() if name not in kept})
    store.set_marks(model.name, pk, server)


def _withdraw(store: Store, model: ModelSchema, change: Change, marks: Marks | None) -> None:
    """The server has no row to show for it. The local one goes, unless it was edited again since."""
    pk = change.pk
    if marks is None:
        deletion = store.deletion(model.name, pk)
        if deletion is not None and not deletion.pulled and deletion.base is None:
            store.drop_deletion(model.name, pk)
        return
    row = store.row(model, pk) or {}
    names = [name for name in (model.fields if marks.base is None else marks.base) if name in model.fields]
    if not any(_left(store, model, change, marks, row, name) for name in names):
        store.drop_row(model, pk)


def _left(
    store: Store, model: ModelSchema, change: Change, marks: Marks, row: Mapping[str, Any], name: str
) -> bool:
    """Whether something was done to a field that the refused change did not hold."""
    if still_pending(store, model, change.pk, model.fields[name], marks, row.get(name)):
        return True
    if is_steps(change.fields.get(name)):
        return False
    return _edited_since(change, marks, name)


def _keep_what_lost(store: Store, model: ModelSchema, change: Change, result: Mapping[str, Any]) -> None:
    row = result.get("row")
    fields = change.fields
    if row is not None and result["state"] in ("applied", "identical", "merged", "superseded"):
        fields = {
            name: value
            for name, value in fields.items()
            if not is_steps(value) and not same(value, row["fields"].get(name))
        }
        if not fields and change.op == "put":
            return
    store.add_unresolved(
        seq=change.seq or 0,
        model=model.name,
        pk=change.pk,
        op=change.op,
        state=result["state"],
        fields={
            name: sum_of(parse_steps(value)) if is_steps(value) else value for name, value in fields.items()
        },
        server=None if row is None else row["fields"],
        problem=result.get("problem"),
        item=result.get("item"),
    )


def _take_delete(store: Store, model: ModelSchema, change: Change, result: Mapping[str, Any]) -> None:
    state, row, pk = result["state"], result.get("row"), change.pk
    deletion = store.deletion(model.name, pk)
    ours = deletion is not None and not deletion.pulled
    if row is not None:
        _keep_what_lost(store, model, change, result)
        if ours or store.marks(model.name, pk) is not None:
            _restore(store, model, pk, row)
    elif state in ("applied", "identical"):
        if deletion is not None and not deletion.pulled:
            at = max((result.get("clocks") or {}).values(), default=change.clock(ROW_CLOCK))
            store.set_deletion(
                model.name, pk, replace(deletion, at=at, base=None, pulled=True, checkpoint=None)
            )
    else:
        _keep_what_lost(store, model, change, result)
        if ours:
            store.drop_deletion(model.name, pk)


def _restore(store: Store, model: ModelSchema, pk: str, row: Mapping[str, Any]) -> None:
    """The server kept the row: so does the replica, unless the row has been made anew here meanwhile."""
    if store.marks(model.name, pk) is None:
        store.drop_deletion(model.name, pk)
        store.write_row(model, pk, row["fields"])
        store.set_marks(model.name, pk, Marks(updated=row["updated"], clocks=dict(row["clocks"])))
