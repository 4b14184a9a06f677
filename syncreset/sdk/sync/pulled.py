"""Changes from the server: staged page by page, then committed to the store at once, so that it never shows a half.

Fields with a change of their own that the server has not seen are left alone, with the base that the user knew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.changes import same
from ...protocol.strict_json import dumps
from ..store.faults import loaded
from ..store.marks import UNKNOWN, Deletion, Marks
from ..store.schema import ModelSchema
from ..store.steps import note_pulled, on_top_of, pending_steps
from ..store.store import Store
from ..transport.messages import member
from . import outbox

#: The problem by which the server tells that a checkpoint is none of its own, or another client's.
INVALID_CHECKPOINT = "invalid_checkpoint"


def stage(store: Store, changes: list[Any], checkpoint: str) -> None:
    """Keep a page until the last one has come. A kill in between loses nothing: the pull continues from here.

    Each change is kept by itself, so that only one at a time is in memory when they are applied. Raises
    ProtocolViolation where a change has not the protocol's shape.
    """
    for change in changes:
        _check_change(change)
    with store.transaction():
        store.connection.executemany(
            "INSERT INTO _syncreset_staging (change) VALUES (?)", ((dumps(change),) for change in changes)
        )
        store.put(staged_checkpoint=checkpoint)


def _check_change(change: Any) -> None:
    member(change, "model", str)
    member(change, "pk", str)
    if change.get("removed"):
        return
    if "deleted" in change:
        member(change, "deleted", int)
    else:
        check_row(change)


def check_row(row: Any) -> None:
    """Raise ProtocolViolation for a row that has not the protocol's shape; its values are checked when written."""
    member(row, "fields", dict)
    member(row, "updated", int)
    for name in member(row, "clocks", dict):
        member(row["clocks"], name, int)


def bootstrap_again(store: Store) -> None:
    """Let the next pull bring everything: rows got new fields, also those staged. Within the caller's transaction."""
    _clear(store)
    store.put(bootstrap_again=store.get("checkpoint") is not None)


def forget_checkpoint(store: Store) -> None:
    """Let the next pull bring everything: the server has not given this store's checkpoint. What is pending stays."""
    with store.transaction():
        _clear(store)
        store.put(checkpoint=None)


def discard_staged(store: Store) -> None:
    """Forget an unfinished pull."""
    with store.transaction():
        _clear(store)


def _clear(store: Store) -> None:
    store.connection.execute("DELETE FROM _syncreset_staging")
    store.put(staged_checkpoint=None)


def commit(
    store: Store,
    *,
    checkpoint: str,
    scopes: list[str],
    acked: int,
    synced_at: int,
    bootstrap: bool,
    before: int,
    receipt: str | None = None,
) -> None:
    """Apply everything staged, and with it the checkpoint, of the time ``synced_at``.

    After a ``bootstrap`` the store holds nothing acknowledged that the server did not send. Pulled deletions and steps
    older than ``before`` (µs) are forgotten. After a reset's bootstrap the chain of pushes goes on from ``receipt``.
    """
    with store.applying():
        present: set[tuple[str, str]] = set()
        for change in _staged(store):
            _apply(store, change)
            if bootstrap:
                present.add((change["model"], change["pk"]))
        if bootstrap:
            _drop_absent(store, present)
        outbox.confirmed(store, acked)
        note_pulled(store, before)
        store.forget_deletions(before)
        _clear(store)
        if receipt is not None:
            store.put(receipt=receipt)
        store.put(checkpoint=checkpoint, scopes=scopes, synced_at=synced_at, bootstrap_again=False)


def _staged(store: Store) -> Iterator[dict[str, Any]]:
    following = "SELECT number, change FROM _syncreset_staging WHERE number > ? ORDER BY number LIMIT 1"
    number = 0
    while row := store.connection.execute(following, (number,)).fetchone():
        number = row[0]
        yield loaded(row[1])


def _drop_absent(store: Store, present: Iterable[tuple[str, str]]) -> None:
    held = store.connection.execute("SELECT model, pk FROM _syncreset_row WHERE base = '{}'").fetchall()
    for name, pk in set(held).difference(present):
        if name in store.schema.models:
            store.drop_row(store.schema.models[name], pk)


def _apply(store: Store, change: Mapping[str, Any]) -> None:
    model = store.schema.models.get(change["model"])
    if model is None:
        return
    if change.get("removed"):
        _remove(store, model, change["pk"])
    elif "deleted" in change:
        _delete(store, model, change["pk"], change["deleted"])
    else:
        _put(store, model, change["pk"], change)


def _put(store: Store, model: ModelSchema, pk: str, change: Mapping[str, Any]) -> None:
    fields, clocks = change["fields"], dict(change["clocks"])
    server = Marks(
        updated=max(change["updated"], *clocks.values()) if clocks else change["updated"], clocks=clocks
    )
    marks = store.marks(model.name, pk)
    if marks is None:
        deletion = store.deletion(model.name, pk)
        if deletion is not None and not deletion.pulled:
            _refresh_deletion(store, model, pk, deletion, server)
            return
        store.drop_deletion(model.name, pk)
    elif marks.pending:
        moved = _move_steps(store, model, pk, marks, server, fields)
        base, local = _still_pending(store, model, pk, marks, fields, moved)
        fields = {name: value for name, value in fields.items() if name not in base} | moved
        server.base, server.local = (server.base or {}) | base, server.local | local
    store.write_row(model, pk, fields)
    store.set_marks(model.name, pk, server)


def _refresh_deletion(store: Store, model: ModelSchema, pk: str, deletion: Deletion, server: Marks) -> None:
    """Where the server's row holds nothing but what was known or written here, the deletion is based on it as it is."""
    known = Marks(clocks=dict(deletion.clocks))
    if all(server.clock(name) == known.clock(name) for name in model.fields):
        store.set_deletion(
            model.name,
            pk,
            replace(deletion, base=server.updated),
        )


def _move_steps(
    store: Store,
    model: ModelSchema,
    pk: str,
    marks: Marks,
    server: Marks,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The values of counters and sets: the server's, with the steps that are not in it. Notes these in ``server``."""
    if not model.stepped:
        return {}
    row = store.row(model, pk) or {}
    moved: dict[str, Any] = {}
    for field in model.stepped:
        name = field.name
        if name not in fields or (marks.base is not None and name not in marks.base):
            continue
        stepped = on_top_of(store, model, pk, field, marks, row.get(name), fields[name])
        if stepped is None:
            continue
        moved[name] = stepped.value
        if stepped.origin is not None:
            server.origin[name] = stepped.origin
        server.base = (server.base or {}) | {name: server.clock(name)}
        server.local[name] = marks.written(name)
    return moved


def _still_pending(
    store: Store,
    model: ModelSchema,
    pk: str,
    marks: Marks,
    fields: Mapping[str, Any],
    moved: Mapping[str, Any],
) -> tuple[dict[str, int], dict[str, int]]:
    """The marks of fields that keep their local value: those changed here to something else than the server has.

    All but those of ``moved``.
    """
    row = store.row(model, pk) or {}
    if marks.base is None:
        base = {
            name: UNKNOWN
            for name, value in row.items()
            if name in fields
            and name not in moved
            and not same(value, fields[name])
            and (value is not None or outbox.may_be_null(model, name))
        }
    else:
        base = {
            name: known
            for name, known in marks.base.items()
            if name not in moved
            and (name not in fields or name not in row or not same(row[name], fields[name]))
        }
    return base, {name: marks.written(name) for name in base}


def _delete(store: Store, model: ModelSchema, pk: str, at: int) -> None:
    marks = store.marks(model.name, pk)
    if marks is None or not marks.pending:
        known = store.deletion(model.name, pk)
        scope = store.scope_of(model, pk) if known is None else known.scope
        store.drop_row(model, pk)
        store.set_deletion(model.name, pk, Deletion(at=at, base=None, pulled=True, scope=scope))


def _remove(store: Store, model: ModelSchema, pk: str) -> None:
    """Drop a row that left the scopes. What was not sent of it cannot be sent any more, and is kept for the user."""
    marks = store.marks(model.name, pk)
    deletion = store.deletion(model.name, pk)
    if marks is not None and marks.pending:
        row = store.row(model, pk) or {}
        steps = pending_steps(store, model, pk, row, marks)
        changed = {name: row.get(name) for name in marks.base or {} if name in model.fields}
        fields = row if marks.base is None else changed | steps
        _keep_removed(store, model, pk, "put", fields)
    elif deletion is not None and not deletion.pulled:
        _keep_removed(store, model, pk, "delete", {})
    store.drop_row(model, pk)
    store.drop_deletion(model.name, pk)


def _keep_removed(store: Store, model: ModelSchema, pk: str, op: str, fields: Mapping[str, Any]) -> None:
    store.add_unresolved(
        seq=None,
        model=model.name,
        pk=pk,
        op=op,
        state="removed",
        fields=fields,
        problem={
            "code": "removed",
            "detail": "the row left this replica's scopes before the change was sent",
        },
    )
