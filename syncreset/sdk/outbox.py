"""Changes on their way to the server: frozen under a sequence number, sent until answered, kept until confirmed.

A frozen change is never altered, so that sending it again is harmless whatever became of the first time (protocol,
"POST /push"). What the user edits meanwhile stays in the row's marks and becomes a change of its own.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from syncreset.protocol import ROW_CLOCK, dumps, same, take_step_back

from .schema import ModelSchema
from .steps import is_step, outgoing, rest_of
from .store import UNKNOWN, Deletion, Marks, Store

__all__ = [
    "NONE",
    "REFUSED",
    "TAKEN",
    "Frozen",
    "acknowledged",
    "forget",
    "forget_unsent",
    "freeze",
    "go_back_to",
    "may_be_null",
    "sent_changes",
    "take_results",
    "unsent",
]

#: What the server answered to a change: nothing yet; it was merged; it was not, or not as a whole.
NONE, TAKEN, REFUSED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A change with its number; ``body`` is its JSON text as sent."""

    seq: int
    body: str


def freeze(store: Store) -> int:
    """Give every pending change a sequence number and its final form. Returns how many there are.

    Nothing may be unsent when this is called: of each row there is one change in flight at most. Puts go parents
    first, then deletes, children first.
    """
    with store.applying():
        order = {name: place for place, name in enumerate(store.schema.models)}
        puts = [
            (order[model], min(marks.local.values(), default=0), pk, marks, store.schema.models[model])
            for model, pk, marks in store.pending_marks()
            if model in order and not (marks.base is None and _unconfirmed(store, model, pk))
        ]
        puts.sort(key=lambda put: put[:3])
        changes = [_put(store, model, pk, marks) for _, _, pk, marks, model in puts]
        deletions = [
            (-order.get(model, 0), deletion.at, model, pk, deletion)
            for model, pk, deletion in store.deletions(pulled=False)
            if not _unconfirmed(store, model, pk)
        ]
        deletions.sort(key=lambda deletion: deletion[:4])
        changes += [_delete(model, pk, deletion) for _, _, model, pk, deletion in deletions]
        seq = int(store.get("next_seq", 1))
        store.connection.executemany(
            "INSERT INTO _syncreset_outbox (seq, model, pk, body, acked) VALUES (?, ?, ?, ?, 0)",
            [
                (number, change["model"], change["pk"], dumps({"seq": number} | change))
                for number, change in enumerate(changes, start=seq)
            ],
        )
        store.put(next_seq=seq + len(changes))
    return len(changes)


def _unconfirmed(store: Store, model: str, pk: str) -> bool:
    """Whether a change of the row was answered and not pulled yet.

    Until then its ``updated`` is not known, nor, where that was a replay, whether the server has it at all.
    """
    found = store.connection.execute(
        "SELECT 1 FROM _syncreset_outbox WHERE model = ? AND pk = ? AND acked LIMIT 1", (model, pk)
    ).fetchone()
    return found is not None


def _put(store: Store, model: ModelSchema, pk: str, marks: Marks) -> dict[str, Any]:
    row = store.row(model, pk) or {}
    if marks.base is None:
        fields = {name: value for name, value in row.items() if value is not None or may_be_null(model, name)}
        return {
            "model": model.name,
            "pk": pk,
            "op": "put",
            "fields": fields,
            "clocks": {name: at for name, at in marks.local.items() if name == ROW_CLOCK or name in fields},
            "base": None,
        }
    fields = outgoing(model, row, marks, [name for name in model.fields if name in marks.base])
    return {
        "model": model.name,
        "pk": pk,
        "op": "put",
        "fields": fields,
        "clocks": {name: marks.written(name) for name in fields},
        "base": {name: marks.base[name] for name in fields if marks.base[name] != UNKNOWN},
    }


def may_be_null(model: ModelSchema, name: str) -> bool:
    """Whether a null in a new row says something. Else it is left out, and the server's default holds."""
    field = model.fields[name]
    return field.null and not field.read_only


def _delete(model: str, pk: str, deletion: Deletion) -> dict[str, Any]:
    base = None if deletion.base is None else {ROW_CLOCK: deletion.base}
    return {"model": model, "pk": pk, "op": "delete", "clocks": {ROW_CLOCK: deletion.at}, "base": base}


def unsent(store: Store, *, count: int, size: int) -> list[Frozen]:
    """The next changes to send: at most ``count``, and of at most ``size`` bytes unless the first alone is larger."""
    batch: list[Frozen] = []
    total = 0
    for seq, body in store.connection.execute(
        "SELECT seq, body FROM _syncreset_outbox WHERE NOT acked ORDER BY seq LIMIT ?", (count,)
    ):
        total += len(body) + 1
        if batch and total > size:
            break
        batch.append(Frozen(seq=seq, body=body))
    return batch


def sent_changes(store: Store, model: str, pk: str) -> list[tuple[int, int, dict[str, Any]]]:
    """The frozen changes of a row that no pull has confirmed, newest first: number, answer, body.

    The answer is one of NONE, TAKEN and REFUSED.
    """
    found = store.connection.execute(
        "SELECT seq, acked, body FROM _syncreset_outbox WHERE model = ? AND pk = ? ORDER BY seq DESC",
        (model, pk),
    )
    return [(seq, acked, json.loads(body)) for seq, acked, body in found]


def forget_unsent(store: Store, *, after: int) -> None:
    """Take back what was frozen, for its numbers are used up on the server; new numbers begin beyond ``after``.

    Then this store is an older copy, and another one may have sent the same steps of counters already. Nobody can
    tell: they are taken back, and left to the user.
    """
    with store.applying():
        for seq, body in store.connection.execute(
            "SELECT seq, body FROM _syncreset_outbox WHERE NOT acked ORDER BY seq"
        ).fetchall():
            _take_steps_back(store, seq, json.loads(body))
        store.connection.execute("DELETE FROM _syncreset_outbox WHERE NOT acked")
        store.put(next_seq=max(int(store.get("next_seq", 1)), after + 1))


def _take_steps_back(store: Store, seq: int, change: Mapping[str, Any]) -> None:
    model = store.schema.models.get(change["model"])
    marks = store.marks(change["model"], change["pk"])
    if model is None or marks is None or marks.base is None:
        return
    row = store.row(model, change["pk"]) or {}
    back: dict[str, Any] = {}
    for field in model.stepped:
        sent = change.get("fields", {}).get(field.name)
        rest = rest_of(field, marks, row.get(field.name), change) if is_step(field, sent) else None
        if rest is None:
            continue
        back[field.name] = sent
        server = marks.origin[field.name][0]
        row[field.name], marks.origin[field.name] = rest.moved_to(server)[0], [rest.moved_to(server)[1]]
        if rest.settled:
            del marks.base[field.name], marks.origin[field.name]
    if back:
        store.write_row(model, change["pk"], {name: row[name] for name in back})
        store.set_marks(model.name, change["pk"], marks)
        store.add_unresolved(
            seq=seq,
            model=model.name,
            pk=change["pk"],
            op="put",
            state="withdrawn",
            fields=back,
            problem={
                "code": "seq_reused",
                "detail": "the store is an older copy of itself, which may have sent these steps already",
            },
        )


def acknowledged(store: Store, acked: int) -> None:
    """A completed pull says that the server holds everything up to ``acked``. Within the caller's transaction."""
    store.connection.execute("DELETE FROM _syncreset_outbox WHERE acked AND seq <= ?", (acked,))
    store.put(next_seq=max(int(store.get("next_seq", 1)), acked + 1))


def forget(store: Store, frozen: Frozen) -> None:
    """Drop a change that no server has seen or will: none can confirm its number. Within the caller's transaction."""
    store.connection.execute("DELETE FROM _syncreset_outbox WHERE seq = ?", (frozen.seq,))


def go_back_to(store: Store, acked: int) -> int:
    """The server knows less than it had acknowledged: what lies beyond ``acked`` is sent again, as it was.

    Within the caller's transaction, before anything pulled is applied: their steps are under way again. Returns how
    many changes that are.
    """
    again = store.connection.execute(
        "SELECT body FROM _syncreset_outbox WHERE acked AND seq > ? ORDER BY seq DESC", (acked,)
    ).fetchall()
    for (body,) in again:
        _put_steps_under_way(store, json.loads(body))
    store.connection.execute("UPDATE _syncreset_outbox SET acked = 0 WHERE acked AND seq > ?", (acked,))
    return len(again)


def _put_steps_under_way(store: Store, change: Mapping[str, Any]) -> None:
    model = store.schema.models.get(change["model"])
    marks = store.marks(change["model"], change["pk"])
    if model is None or marks is None or marks.base is None or change["op"] == "delete":
        return
    row = store.row(model, change["pk"]) or {}
    for field in model.stepped:
        name, sent = field.name, change["fields"].get(field.name)
        if not is_step(field, sent) or (name in marks.base and name not in marks.origin):
            continue
        if name not in marks.base:
            marks.base[name] = (change["base"] or {}).get(name, UNKNOWN)
            marks.local[name] = change["clocks"].get(name, change["clocks"].get(ROW_CLOCK, 0))
            marks.origin[name] = [row.get(name)]
        marks.origin[name] = [take_step_back(marks.origin[name][0], sent)]
    store.set_marks(model.name, change["pk"], marks)


def take_results(store: Store, sent: Iterable[Frozen], results: Mapping[int, Mapping[str, Any]]) -> None:
    """Take over what the server says of each change, within the caller's transaction.

    ``results`` are the protocol's, by sequence number. A change without one counts as a replay of which nothing is
    known: its row's marks stay, so that it is sent once more under a new number. Steps are not: they have been counted.
    """
    for frozen in sent:
        change = json.loads(frozen.body)
        result = results.get(frozen.seq, {"state": "duplicate"})
        if result["state"] == "duplicate" and "outcome" in result:
            result = {**result, "state": result["outcome"]}
        model = store.schema.models.get(change["model"])
        if model is not None:
            take = _take_delete if change["op"] == "delete" else _take_put
            take(store, model, change, result)
        answer = REFUSED if result["state"] in ("parked", "rejected") else TAKEN
        store.connection.execute("UPDATE _syncreset_outbox SET acked = ? WHERE seq = ?", (answer, frozen.seq))


def _take_put(store: Store, model: ModelSchema, change: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    state, row, clocks = result["state"], result.get("row"), result.get("clocks")
    marks = store.marks(model.name, change["pk"])
    if (
        state == "rejected"
        and _code(result) == "row_missing"
        and marks is not None
        and change["base"] is not None
    ):
        _send_whole(store, model, change["pk"], marks)
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


def _edited_since(change: Mapping[str, Any], marks: Marks, name: str) -> bool:
    """Whether a field was written again after the change was frozen."""
    if marks.base is not None and name not in marks.base:
        return False
    told = name in change["fields"] or change["base"] is None
    sent = change["clocks"].get(name, change["clocks"].get(ROW_CLOCK, 0)) if told else 0
    return marks.written(name) > sent


def _acknowledge(
    store: Store,
    model: ModelSchema,
    change: Mapping[str, Any],
    marks: Marks | None,
    clocks: Mapping[str, int],
    updated: int,
) -> None:
    """Take the server's clocks. ``updated`` counts for a row made here alone: others may hide edits not yet pulled."""
    pk, newest = change["pk"], max([updated, *clocks.values()])
    store.observe(newest)
    if marks is None:
        deletion = store.deletion(model.name, pk)
        if deletion is not None and not deletion.pulled:
            base = newest if deletion.base is None else deletion.base
            known = {**deletion.clocks, **clocks}
            store.set_deletion(
                model.name, pk, Deletion(at=deletion.at, base=base, clocks=known, pulled=False)
            )
        return
    whole = change["base"] is None
    if marks.base is None and not whole:
        return  # deleted and made anew since: that is a change of its own
    known = dict(clocks) if whole and marks.base is None else dict(marks.clocks)
    for name in change["fields"]:
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
        acknowledged_now = name in change["fields"] or marks.base is None
        if rest is not None:
            if not (rest.settled and acknowledged_now):
                bases[name] = server.clock(name) if acknowledged_now else (marks.base or {})[name]
                local[name], origins[name] = marks.written(name), [rest.origin]
        elif _edited_since(change, marks, name):
            bases[name] = server.clock(name) if acknowledged_now else (marks.base or {}).get(name, UNKNOWN)
            local[name] = marks.written(name)
        elif name not in change["fields"] and marks.base is not None:
            bases[name], local[name] = marks.base[name], marks.written(name)
    seen = newest if whole and marks.base is None else marks.updated
    store.set_marks(
        model.name, pk, Marks(updated=seen, clocks=known, base=bases, local=local, origin=origins)
    )


def _acknowledge_steps(store: Store, model: ModelSchema, change: Mapping[str, Any], marks: Marks) -> None:
    """The server has decided of the change, who knows how. Values can be sent again without harm, steps cannot."""
    row = store.row(model, change["pk"]) or {}
    base = marks.base or {}
    for field in model.stepped:
        rest = rest_of(field, marks, row.get(field.name), change) if field.name in change["fields"] else None
        if rest is None or field.name not in base:
            continue
        marks.origin[field.name] = [rest.origin]
        if rest.settled:
            del base[field.name], marks.origin[field.name]
    store.set_marks(model.name, change["pk"], marks)


def _replace(
    store: Store, model: ModelSchema, change: Mapping[str, Any], marks: Marks | None, row: Mapping[str, Any]
) -> None:
    """The server's row takes the place of the local one, except for fields edited again since."""
    pk = change["pk"]
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
        in_flight = name in change["fields"]
        rest = rest_of(model.fields[name], marks, held.get(name), change) if name in fields else None
        if rest is not None:
            if not (rest.settled and (in_flight or marks.base is None)):
                bases[name] = server.clock(name)
                fields[name], origin = rest.moved_to(fields[name])
                server.origin[name] = [origin]
        elif _edited_since(change, marks, name) or (marks.base is not None and not in_flight):
            won = in_flight and name in row["fields"] and same(row["fields"][name], change["fields"][name])
            before = UNKNOWN if marks.base is None else marks.base[name]
            bases[name] = server.clock(name) if won else before
    server.base, server.local = bases, {name: marks.written(name) for name in bases}
    kept = {name for name in bases if name not in server.origin}
    store.write_row(model, pk, {name: value for name, value in fields.items() if name not in kept})
    store.set_marks(model.name, pk, server)


def _withdraw(store: Store, model: ModelSchema, change: Mapping[str, Any], marks: Marks | None) -> None:
    """The server has no row to show for it. The local one goes, unless it was edited again since."""
    pk = change["pk"]
    if marks is None:
        deletion = store.deletion(model.name, pk)
        if deletion is not None and not deletion.pulled and deletion.base is None:
            store.drop_deletion(model.name, pk)
        return
    names = [name for name in (model.fields if marks.base is None else marks.base) if name in model.fields]
    row = store.row(model, pk) or {}
    rests = {name: rest_of(model.fields[name], marks, row.get(name), change) for name in names}
    told = names if change["base"] is None else change["fields"]
    if all(
        not _edited_since(change, marks, name) if rest is None else rest.settled and name in told
        for name, rest in rests.items()
    ):
        store.drop_row(model, pk)
    elif marks.base is not None:
        marks.origin |= {name: [rest.origin] for name, rest in rests.items() if rest is not None}
        store.set_marks(model.name, pk, marks)


def _keep_what_lost(
    store: Store, model: ModelSchema, change: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    row = result.get("row")
    fields = change.get("fields", {})
    if row is not None and result["state"] in ("applied", "identical", "merged", "superseded", "duplicate"):
        fields = {
            name: value
            for name, value in fields.items()
            if not same(value, row["fields"].get(name))
            and not (name in model.fields and is_step(model.fields[name], value))
        }
        if not fields and change["op"] == "put":
            return
    store.add_unresolved(
        seq=change["seq"],
        model=model.name,
        pk=change["pk"],
        op=change["op"],
        state=result["state"],
        fields=fields,
        server=None if row is None else row["fields"],
        problem=result.get("problem"),
        item=result.get("item"),
    )


def _take_delete(
    store: Store, model: ModelSchema, change: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    state, row, pk = result["state"], result.get("row"), change["pk"]
    deletion = store.deletion(model.name, pk)
    ours = deletion is not None and not deletion.pulled
    if row is not None:
        _keep_what_lost(store, model, change, result)
        if ours or store.marks(model.name, pk) is not None:
            _restore(store, model, pk, row)
    elif state in ("applied", "identical"):
        if ours:
            at = max((result.get("clocks") or {}).values(), default=change["clocks"][ROW_CLOCK])
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
