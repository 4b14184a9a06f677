"""What the server says of each pushed change, taken over into the store."""

from collections.abc import Iterable, Mapping
from typing import Any

from ...protocol.changes import ROW_CLOCK, Change, same
from ..store.marks import UNKNOWN, Deletion, Marks
from ..store.schema import ModelSchema
from ..store.steps import is_step, rest_of
from ..store.store import Store
from .outbox import REFUSED, TAKEN, Frozen


def take_results(store: Store, sent: Iterable[Frozen], results: Mapping[int, Mapping[str, Any]]) -> None:
    """Take over what the server says of each change, within the caller's transaction.

    ``results`` are the protocol's, by sequence number. A change without one counts as a replay of which nothing is
    known: its row's marks stay, so that it is sent once more under a new number. Steps are not: they have been counted.
    """
    for frozen in sent:
        change = frozen.change
        result = results.get(frozen.seq, {"state": "duplicate"})
        if result["state"] == "duplicate" and "outcome" in result:
            result = {**result, "state": result["outcome"]}
        model = store.schema.models.get(change.model)
        if model is not None:
            take = _take_delete if change.op == "delete" else _take_put
            take(store, model, change, result)
        answer = REFUSED if result["state"] in ("parked", "rejected") else TAKEN
        store.connection.execute("UPDATE _syncreset_outbox SET acked = ? WHERE seq = ?", (answer, frozen.seq))


def _take_put(store: Store, model: ModelSchema, change: Change, result: Mapping[str, Any]) -> None:
    state, row, clocks = result["state"], result.get("row"), result.get("clocks")
    marks = store.marks(model.name, change.pk)
    if (
        state == "rejected"
        and _code(result) == "row_missing"
        and marks is not None
        and change.base is not None
    ):
        _send_whole(store, model, change.pk, marks)
    elif state in ("applied", "identical"):
        _acknowledge(
            store, model, change, marks, clocks or (row or {}).get("clocks") or {}, result.get("updated", 0)
        )
    elif row is not None:
        _keep_what_lost(store, model, change, result)
        _replace(store, model, change, marks, row)
    elif state == "duplicate":
        if clocks:
            _acknowledge(store, model, change, marks, clocks, result.get("updated", 0))
        elif marks is not None and marks.base is not None:
            _acknowledge_steps(store, model, change, marks)
    else:
        _keep_what_lost(store, model, change, result)
        _withdraw(store, model, change, marks)


def _code(result: Mapping[str, Any]) -> Any:
    return (result.get("problem") or {}).get("code")


def _send_whole(store: Store, model: ModelSchema, pk: str, marks: Marks) -> None:
    """The server does not have the row at all: what this replica has of it is sent as a new one."""
    local = dict(marks.clocks) | marks.local
    local.setdefault(ROW_CLOCK, min(local.values(), default=marks.updated))
    store.set_marks(model.name, pk, Marks(base=None, local=local, known=marks.updated))


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
        rest = rest_of(model.fields[name], marks, row.get(name), change)
        acknowledged_now = name in change.fields or marks.base is None
        if rest is not None:
            if not (rest.settled and acknowledged_now):
                bases[name] = server.clock(name) if acknowledged_now else (marks.base or {})[name]
                local[name], origins[name] = marks.written(name), [rest.origin]
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
        store.set_deletion(model.name, pk, Deletion(at=deletion.at, base=base, clocks=known, pulled=False))


def _acknowledge_steps(store: Store, model: ModelSchema, change: Change, marks: Marks) -> None:
    """The server has decided of the change, who knows how. Values can be sent again without harm, steps cannot."""
    row = store.row(model, change.pk) or {}
    base = marks.base or {}
    for field in model.stepped:
        rest = rest_of(field, marks, row.get(field.name), change) if field.name in change.fields else None
        if rest is None or field.name not in base:
            continue
        marks.origin[field.name] = [rest.origin]
        if rest.settled:
            del base[field.name], marks.origin[field.name]
    store.set_marks(model.name, change.pk, marks)


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
            store.set_deletion(model.name, pk, Deletion(at=deletion.at, base=server.updated, pulled=False))
        return
    bases: dict[str, int] = {}
    fields, held = dict(row["fields"]), store.row(model, pk) or {}
    candidates = (
        list(model.fields) if marks.base is None else [name for name in marks.base if name in model.fields]
    )
    for name in candidates:
        in_flight = name in change.fields
        rest = rest_of(model.fields[name], marks, held.get(name), change) if name in fields else None
        if rest is not None:
            if not (rest.settled and (in_flight or marks.base is None)):
                bases[name] = server.clock(name)
                fields[name], origin = rest.moved_to(fields[name])
                server.origin[name] = [origin]
        elif _edited_since(change, marks, name) or (marks.base is not None and not in_flight):
            won = in_flight and name in row["fields"] and same(row["fields"][name], change.fields[name])
            before = UNKNOWN if marks.base is None else marks.base[name]
            bases[name] = server.clock(name) if won else before
    server.base, server.local = bases, {name: marks.written(name) for name in bases}
    kept = {name for name in bases if name not in server.origin}
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
    names = [name for name in (model.fields if marks.base is None else marks.base) if name in model.fields]
    row = store.row(model, pk) or {}
    rests = {name: rest_of(model.fields[name], marks, row.get(name), change) for name in names}
    sent_names = names if change.base is None else change.fields
    if all(
        not _edited_since(change, marks, name) if rest is None else rest.settled and name in sent_names
        for name, rest in rests.items()
    ):
        store.drop_row(model, pk)
    elif marks.base is not None:
        marks.origin |= {name: [rest.origin] for name, rest in rests.items() if rest is not None}
        store.set_marks(model.name, pk, marks)


def _keep_what_lost(store: Store, model: ModelSchema, change: Change, result: Mapping[str, Any]) -> None:
    row = result.get("row")
    fields = change.fields
    if row is not None and result["state"] in ("applied", "identical", "merged", "superseded", "duplicate"):
        fields = {
            name: value
            for name, value in fields.items()
            if not same(value, row["fields"].get(name))
            and not (name in model.fields and is_step(model.fields[name], value))
        }
        if not fields and change.op == "put":
            return
    store.add_unresolved(
        seq=change.seq or 0,
        model=model.name,
        pk=change.pk,
        op=change.op,
        state=result["state"],
        fields=fields,
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
        if ours:
            at = max((result.get("clocks") or {}).values(), default=change.clock(ROW_CLOCK))
            store.set_deletion(model.name, pk, Deletion(at=at, base=None, pulled=True))
    elif state != "duplicate":
        _keep_what_lost(store, model, change, result)
        if ours:
            store.drop_deletion(model.name, pk)


def _restore(store: Store, model: ModelSchema, pk: str, row: Mapping[str, Any]) -> None:
    """The server kept the row: so does the replica, unless the row has been made anew here meanwhile."""
    if store.marks(model.name, pk) is None:
        store.drop_deletion(model.name, pk)
        store.write_row(model, pk, row["fields"])
        store.set_marks(model.name, pk, Marks(updated=row["updated"], clocks=dict(row["clocks"])))
