"""What a replica has added to its counters and sets: steps, each with an id under which the server counts it once.

A step begins with the first write of a field, and every further write before it is sealed belongs to it. It is sealed
when it is sent and when the store is opened or set aside: so of two copies of a store neither enlarges a step that the
other one has. A field's value is what was pulled last, with the steps that it does not hold yet, in their order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...protocol.steps import Step, add_step, moves, sum_of, take_step_back
from ...protocol.strict_json import dumps
from .faults import loaded
from .marks import Marks
from .schema import FieldSchema, ModelSchema
from .store import Store
from .values import step_between


@dataclass(frozen=True, kw_only=True)
class LocalStep:
    """A sealed step. ``base`` is the field's base when it was sent; see ``tables`` for the other members."""

    field: str
    step: Step
    seq: int | None
    base: int | None
    pulled: bool


def steps_of(store: Store, model: str, pk: str) -> list[LocalStep]:
    """The sealed steps of a row, in their order."""
    found = store.connection.execute(
        "SELECT field, id, amount, seq, base, at, pulled, sent FROM _syncreset_step "
        "WHERE model = ? AND pk = ? ORDER BY place",
        (model, pk),
    )
    return [
        LocalStep(
            field=field,
            step=Step(id=identity, amount=loaded(amount), sent=bool(sent), at=at),
            seq=seq,
            base=base,
            pulled=bool(pulled),
        )
        for field, identity, amount, seq, base, at, pulled, sent in found
    ]


def open_step(field: FieldSchema, marks: Marks, value: Any) -> Step | None:
    """The step of a field that is not sealed yet; None where there is none, or where the value itself is meant."""
    if field.stepping is None or field.name not in marks.origin or _made_again(marks):
        return None
    origin, identity = marks.origin[field.name]
    amount = step_between(field.stepping, origin, value)
    return None if amount is None or not moves(amount) else Step(id=identity, amount=amount)


def _made_again(marks: Marks) -> bool:
    """Whether the row was deleted here and made anew: its values are meant, not what led to them."""
    return marks.base is None and marks.known is not None


def seal_steps(store: Store) -> None:
    """Seal every step that has begun, within a transaction."""
    with store.transaction():
        for name, pk, marks in list(store.pending_marks()):
            model = store.schema.models.get(name)
            if model is not None and marks.origin:
                seal_row(store, model, pk, marks)


def doubt_if_copied(store: Store) -> None:
    """Of a store that is another file than it was, a copy may live on elsewhere, and may have sent what this one has.

    Called when it is opened, once all steps are sealed.
    """
    file = list(store.file or ())
    if store.get("file") not in (None, file):
        store.connection.execute("UPDATE _syncreset_step SET sent = 2 WHERE at IS NULL")
    if store.get("file") != file:
        store.put(file=file)


def seal_row(store: Store, model: ModelSchema, pk: str, marks: Marks) -> None:
    """Seal the steps of one row. What was taken back to where it began is not pending any more.

    Where the value itself is meant, as null is, it takes the place of the steps before it.
    """
    row = store.row(model, pk) or {}
    for field in model.stepped:
        name = field.name
        if name not in marks.origin:
            continue
        step = open_step(field, marks, row.get(name))
        is_step = step_between(field.stepping, marks.origin[name][0], row.get(name)) is not None
        del marks.origin[name]
        if step is not None:
            store.connection.execute(
                "INSERT INTO _syncreset_step (id, model, pk, field, amount) VALUES (?, ?, ?, ?, ?)",
                (step.id, model.name, pk, name, dumps(step.amount)),
            )
        elif not is_step:
            store.connection.execute(
                "DELETE FROM _syncreset_step WHERE model = ? AND pk = ? AND field = ? AND seq IS NULL",
                (model.name, pk, name),
            )
        elif marks.base is not None and not unanswered_steps(store, model.name, pk, name):
            marks.base.pop(name, None)
            marks.local.pop(name, None)
    store.set_marks(model.name, pk, marks)


def unanswered_steps(store: Store, model: str, pk: str, field: str) -> list[Step]:
    """The sealed steps of a field of which no answer tells that they are counted."""
    return [
        each.step
        for each in steps_of(store, model, pk)
        if each.field == field and each.step.at is None and not each.pulled
    ]


def pending_steps(
    store: Store, model: ModelSchema, pk: str, row: Mapping[str, Any], marks: Marks
) -> dict[str, Any]:
    """What was done to a row's counters and sets that the server has not answered, by field."""
    found: dict[str, Any] = {}
    for field in model.stepped if marks.base is not None else ():
        begun = open_step(field, marks, row.get(field.name))
        total = sum_of(
            [*unanswered_steps(store, model.name, pk, field.name), *([] if begun is None else [begun])]
        )
        if total is not None:
            found[field.name] = total
    return found


def still_pending(
    store: Store, model: ModelSchema, pk: str, field: FieldSchema, marks: Marks, value: Any
) -> bool:
    """Whether something was done to a counter or a set that no answer tells of."""
    return open_step(field, marks, value) is not None or bool(
        unanswered_steps(store, model.name, pk, field.name)
    )


def outgoing(
    store: Store, model: ModelSchema, pk: str, row: Mapping[str, Any], names: Iterable[str]
) -> dict[str, tuple[Step, ...]]:
    """The steps of changed fields that are to be sent. A field without any is sent as its value."""
    unsent: dict[str, list[Step]] = {}
    wanted = set(names)
    for each in steps_of(store, model.name, pk) if model.stepped else ():
        if each.seq is None and not each.pulled and each.field in wanted:
            unsent.setdefault(each.field, []).append(each.step)
    return {name: tuple(steps) for name, steps in unsent.items() if row.get(name) is not None}


def note_sent(
    store: Store, seq: int, steps: Mapping[str, Iterable[Step]], base: Mapping[str, int] | None
) -> None:
    """Some steps go with a change."""
    store.connection.executemany(
        "UPDATE _syncreset_step SET seq = ?, base = ?, sent = max(sent, 1) WHERE id = ?",
        [(seq, (base or {}).get(name), step.id) for name, sent in steps.items() for step in sent],
    )


def note_answered(store: Store, seq: int, clocks: Mapping[str, int], otherwise: int) -> None:
    """A change was written: its steps are counted, at the server's clock of their fields."""
    found = store.connection.execute("SELECT id, field FROM _syncreset_step WHERE seq = ?", (seq,)).fetchall()
    store.connection.executemany(
        "UPDATE _syncreset_step SET at = ? WHERE id = ?",
        [(clocks.get(field, otherwise), identity) for identity, field in found],
    )


def note_unsent(store: Store, seq: int, *, refused: bool) -> None:
    """The steps of a change go with another one. ``refused``: the server said that it has not taken it."""
    sent = "CASE sent WHEN 1 THEN 0 ELSE sent END" if refused else "2"
    store.connection.execute(
        f"UPDATE _syncreset_step SET seq = NULL, base = NULL, sent = {sent} WHERE seq = ? AND at IS NULL",
        (seq,),
    )


def drop_steps(store: Store, seq: int) -> None:
    """The steps of a change are the server's to keep now: it waits for a person there."""
    store.connection.execute("DELETE FROM _syncreset_step WHERE seq = ?", (seq,))


def note_pulled(store: Store, before: int) -> None:
    """A pull has come to its end: what was answered is in its values. Forgets steps older than ``before`` (µs)."""
    store.connection.execute("UPDATE _syncreset_step SET pulled = 1 WHERE at IS NOT NULL AND NOT pulled")
    store.connection.execute("DELETE FROM _syncreset_step WHERE pulled AND at < ?", (before,))


@dataclass(frozen=True, kw_only=True)
class Restepped:
    """A counter or a set on top of a new value from the server. ``origin`` is set where a step has begun."""

    value: Any
    origin: list[Any] | None


def on_top_of(
    store: Store, model: ModelSchema, pk: str, field: FieldSchema, marks: Marks, local: Any, server: Any
) -> Restepped | None:
    """The server's value with what was done here and is not in it. None where the local value itself is meant."""
    begun = open_step(field, marks, local)
    unanswered = unanswered_steps(store, model.name, pk, field.name)
    if begun is None and not unanswered:
        return None
    sealed = sum_of(unanswered)
    value = server if sealed is None else add_step(server, sealed)
    if begun is None:
        return Restepped(value=value, origin=None)
    value = add_step(value, begun.amount)
    return Restepped(value=value, origin=[take_step_back(value, begun.amount), begun.id])
