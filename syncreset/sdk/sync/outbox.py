"""Changes on their way to the server: frozen under a sequence number, sent until answered, kept until confirmed.

A frozen change is never altered, so that sending it again is harmless whatever became of the first time (protocol,
"POST /push"). What the user edits meanwhile stays in the row's marks and becomes a change of its own.
"""

from dataclasses import dataclass, replace

from ...protocol.changes import ROW_CLOCK, Change, parse_change
from ...protocol.errors import Malformed
from ...protocol.steps import Step, steps_value
from ...protocol.strict_json import dumps
from ..store.faults import DamagedValue, loaded
from ..store.marks import UNKNOWN, Deletion, Marks
from ..store.schema import ModelSchema
from ..store.steps import note_sent, note_unsent, outgoing, seal_steps
from ..store.store import Store

#: What the server answered to a change: nothing yet; it was merged; it was not, or not as a whole; and of the last a
#: pull has proven that the server keeps it, while the app has yet to acknowledge that it saw it.
NONE, TAKEN, REFUSED, PROVEN = 0, 1, 2, 3


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
    try:
        return parse_change(loaded(body), "the outbox")
    except Malformed as error:
        raise DamagedValue(str(error)) from error


def freeze(store: Store) -> int:
    """Give every pending change a sequence number and its final form. Returns how many there are.

    Nothing may be unsent when this is called: of each row there is one change in flight at most. Puts go parents
    first, then deletes, children first.
    """
    with store.applying():
        seal_steps(store)
        order = {name: place for place, name in enumerate(store.schema.models)}
        puts = [
            (order[model], min(marks.local.values(), default=0), pk, marks, store.schema.models[model])
            for model, pk, marks in store.pending_marks()
            if model in order and not (marks.base is None and _unconfirmed(store, model, pk))
        ]
        puts.sort(key=lambda put: put[:3])
        changes: list[Change] = []
        taken: list[dict[str, tuple[Step, ...]]] = []
        for _, _, pk, marks, model in puts:
            change, steps = _put(store, model, pk, marks)
            changes.append(change)
            taken.append(steps)
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
        for number, (steps, change) in enumerate(zip(taken, changes, strict=False), start=seq):
            note_sent(store, number, steps, change.base)
        store.put(next_seq=seq + len(changes))
    return len(changes)


def _unconfirmed(store: Store, model: str, pk: str) -> bool:
    """Whether a change of the row was answered and not pulled yet.

    Until then its ``updated`` is not known, nor, where that was a replay, whether the server has it at all.
    """
    found = store.connection.execute(
        "SELECT 1 FROM _syncreset_outbox WHERE model = ? AND pk = ? AND acked IN (?, ?) LIMIT 1",
        (model, pk, TAKEN, REFUSED),
    ).fetchone()
    return found is not None


def _put(
    store: Store, model: ModelSchema, pk: str, marks: Marks
) -> tuple[Change, dict[str, tuple[Step, ...]]]:
    """A row's change, and the steps that go with it."""
    row = store.row(model, pk) or {}
    if marks.base is None:
        fields = {name: value for name, value in row.items() if value is not None or may_be_null(model, name)}
        clocks = {name: at for name, at in marks.local.items() if name == ROW_CLOCK or name in fields}
        steps = outgoing(store, model, pk, row, fields)
        fields |= {name: steps_value(made, value=row[name]) for name, made in steps.items()}
        return Change(model=model.name, pk=pk, op="put", fields=fields, clocks=clocks, base=None), steps
    names = [name for name in model.fields if name in marks.base]
    steps = outgoing(store, model, pk, row, names)
    change = Change(
        model=model.name,
        pk=pk,
        op="put",
        fields={name: steps_value(steps[name]) if name in steps else row.get(name) for name in names},
        clocks={name: marks.written(name) for name in names},
        base={name: marks.base[name] for name in names if marks.base[name] != UNKNOWN},
    )
    return change, steps


def may_be_null(model: ModelSchema, name: str) -> bool:
    """Whether a null in a new row says something. Else it is left out, and the server's default holds."""
    field = model.fields[name]
    return field.null and not field.read_only


def _delete(model: str, pk: str, deletion: Deletion) -> Change:
    base = None if deletion.base is None else {ROW_CLOCK: deletion.base}
    return Change(
        model=model,
        pk=pk,
        op="delete",
        clocks={ROW_CLOCK: deletion.at},
        base=base,
        checkpoint=deletion.checkpoint,
    )


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


def refused_changes(store: Store) -> list[Change]:
    """The frozen changes, oldest first, that the server did not write as they came: their values are nowhere else.

    A server restored since may have lost what it kept of them.
    """
    found = store.connection.execute(
        "SELECT body FROM _syncreset_outbox WHERE acked IN (?, ?) ORDER BY seq", (REFUSED, PROVEN)
    )
    return [_thawed(body) for (body,) in found]


def carry_refused(old: Store, new: Store) -> None:
    """Let a new store of the same client know the refused changes of the old one, as what the app has yet to see."""
    new.connection.executemany(
        "INSERT OR IGNORE INTO _syncreset_outbox (seq, model, pk, body, acked) VALUES (?, ?, ?, ?, ?)",
        [
            (change.seq, change.model, change.pk, dumps(change.as_wire()), PROVEN)
            for change in refused_changes(old)
        ],
    )


def take_back_unsent(store: Store, *, refused: bool = False) -> None:
    """Let what was frozen be pending again: it is to be sent anew, under another name or after a pull.

    ``refused``: it was sent for the first time, and the server has not taken it.
    """
    with store.applying():
        for (seq,) in store.connection.execute(
            "SELECT seq FROM _syncreset_outbox WHERE NOT acked"
        ).fetchall():
            note_unsent(store, seq, refused=refused)
        store.connection.execute("DELETE FROM _syncreset_outbox WHERE NOT acked")


def confirmed(store: Store, acked: int) -> None:
    """A pull that began after the answers has come to its end, so its checkpoint proves that they are kept.

    Within the caller's transaction. ``acked`` is the highest number that the server has processed.
    """
    store.connection.execute("UPDATE _syncreset_outbox SET acked = ? WHERE acked = ?", (PROVEN, REFUSED))
    store.connection.execute(
        "DELETE FROM _syncreset_outbox WHERE acked = ? OR (acked = ? AND NOT EXISTS ("
        "SELECT 1 FROM _syncreset_unresolved u WHERE u.seq = _syncreset_outbox.seq))",
        (TAKEN, PROVEN),
    )
    store.put(next_seq=max(int(store.get("next_seq", 1)), acked + 1))


def forget(store: Store, frozen: Frozen) -> None:
    """Drop a change that no server has seen or will: none can confirm its number. Within the caller's transaction."""
    store.connection.execute("DELETE FROM _syncreset_outbox WHERE seq = ?", (frozen.seq,))
