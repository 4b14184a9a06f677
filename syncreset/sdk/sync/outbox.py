"""Changes on their way to the server: frozen under a sequence number, sent until answered, kept until confirmed.

A frozen change is never altered, so that sending it again is harmless whatever became of the first time (protocol,
"POST /push"). What the user edits meanwhile stays in the row's marks and becomes a change of its own.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from ...protocol.changes import ROW_CLOCK, Change, parse_change
from ...protocol.steps import take_step_back
from ...protocol.strict_json import dumps
from ..store.marks import UNKNOWN, Deletion, Marks
from ..store.schema import ModelSchema
from ..store.steps import is_step, outgoing, rest_of
from ..store.store import Store

#: What the server answered to a change: nothing yet; it was merged; it was not, or not as a whole.
NONE, TAKEN, REFUSED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A change with its number; ``body`` is its JSON text as sent."""

    seq: int
    body: str

    @property
    def change(self) -> Change:
        """What it says."""
        return _thawed(self.body)


def _thawed(body: str) -> Change:
    return parse_change(json.loads(body), "the outbox")


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
                (number, change.model, change.pk, dumps(replace(change, seq=number).as_wire()))
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


def _put(store: Store, model: ModelSchema, pk: str, marks: Marks) -> Change:
    row = store.row(model, pk) or {}
    if marks.base is None:
        fields = {name: value for name, value in row.items() if value is not None or may_be_null(model, name)}
        clocks = {name: at for name, at in marks.local.items() if name == ROW_CLOCK or name in fields}
        return Change(model=model.name, pk=pk, op="put", fields=fields, clocks=clocks, base=None)
    fields = outgoing(model, row, marks, [name for name in model.fields if name in marks.base])
    return Change(
        model=model.name,
        pk=pk,
        op="put",
        fields=fields,
        clocks={name: marks.written(name) for name in fields},
        base={name: marks.base[name] for name in fields if marks.base[name] != UNKNOWN},
    )


def may_be_null(model: ModelSchema, name: str) -> bool:
    """Whether a null in a new row says something. Else it is left out, and the server's default holds."""
    field = model.fields[name]
    return field.null and not field.read_only


def _delete(model: str, pk: str, deletion: Deletion) -> Change:
    base = None if deletion.base is None else {ROW_CLOCK: deletion.base}
    return Change(model=model, pk=pk, op="delete", clocks={ROW_CLOCK: deletion.at}, base=base)


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


def sent_changes(store: Store, model: str, pk: str) -> list[tuple[int, int, Change]]:
    """The frozen changes of a row that no pull has confirmed, newest first: number, answer, change.

    The answer is one of NONE, TAKEN and REFUSED.
    """
    found = store.connection.execute(
        "SELECT seq, acked, body FROM _syncreset_outbox WHERE model = ? AND pk = ? ORDER BY seq DESC",
        (model, pk),
    )
    return [(seq, acked, _thawed(body)) for seq, acked, body in found]


def forget_unsent(store: Store, *, after: int) -> None:
    """Take back what was frozen, for its numbers are used up on the server; new numbers begin beyond ``after``.

    Then this store is an older copy, and another one may have sent the same steps of counters already. Nobody can
    tell: they are taken back, and left to the user.
    """
    with store.applying():
        for seq, body in store.connection.execute(
            "SELECT seq, body FROM _syncreset_outbox WHERE NOT acked ORDER BY seq"
        ).fetchall():
            _take_steps_back(store, seq, _thawed(body))
        store.connection.execute("DELETE FROM _syncreset_outbox WHERE NOT acked")
        store.put(next_seq=max(int(store.get("next_seq", 1)), after + 1))


def _take_steps_back(store: Store, seq: int, change: Change) -> None:
    model = store.schema.models.get(change.model)
    marks = store.marks(change.model, change.pk)
    if model is None or marks is None or marks.base is None:
        return
    row = store.row(model, change.pk) or {}
    back: dict[str, Any] = {}
    for field in model.stepped:
        sent = change.fields.get(field.name)
        rest = rest_of(field, marks, row.get(field.name), change) if is_step(field, sent) else None
        if rest is None:
            continue
        back[field.name] = sent
        server = marks.origin[field.name][0]
        row[field.name], marks.origin[field.name] = rest.moved_to(server)[0], [rest.moved_to(server)[1]]
        if rest.settled:
            del marks.base[field.name], marks.origin[field.name]
    if back:
        store.write_row(model, change.pk, {name: row[name] for name in back})
        store.set_marks(model.name, change.pk, marks)
        store.add_unresolved(
            seq=seq,
            model=model.name,
            pk=change.pk,
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
        _put_steps_under_way(store, _thawed(body))
    store.connection.execute("UPDATE _syncreset_outbox SET acked = 0 WHERE acked AND seq > ?", (acked,))
    return len(again)


def _put_steps_under_way(store: Store, change: Change) -> None:
    model = store.schema.models.get(change.model)
    marks = store.marks(change.model, change.pk)
    if model is None or marks is None or marks.base is None or change.op == "delete":
        return
    row = store.row(model, change.pk) or {}
    for field in model.stepped:
        name, sent = field.name, change.fields.get(field.name)
        if not is_step(field, sent) or (name in marks.base and name not in marks.origin):
            continue
        if name not in marks.base:
            marks.base[name] = (change.base or {}).get(name, UNKNOWN)
            marks.local[name] = change.clock(name)
            marks.origin[name] = [row.get(name)]
        marks.origin[name] = [take_step_back(marks.origin[name][0], sent)]
    store.set_marks(model.name, change.pk, marks)
