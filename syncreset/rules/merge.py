"""The merge: one pure rule for rows and fields, the same on the server and on every device.

For each field of a put, with ``s`` the server's clock, ``b`` the base and ``t`` the change's clock: equal values are
identical; ``b == s`` means that nobody else touched the field, so the change applies whatever the clocks say; anything
else is a real conflict, decided by the field's policy. Edits beat deletes, both ways, unless the policy says otherwise.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ..protocol.changes import ROW_CLOCK, Change, Row, Tombstone, Value, same
from ..protocol.errors import Problem
from ..protocol.steps import add_delta, change_set, is_delta, is_set_change, united
from .instruction import Instruction

State = Literal["applied", "merged", "identical", "superseded", "parked", "rejected"]
Kept = Literal["client", "server", "review", "function", "both"]


class _Undecided:
    """The type of ``UNDECIDED``, which is no value of any field."""

    def __repr__(self) -> str:
        return "UNDECIDED"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """What a resolver function is given: both values of one field and the clocks (µs) they were written at."""

    model: str
    pk: str
    field: str
    client: Value
    server: Value
    client_clock: int
    server_clock: int
    base_clock: int | None


#: What a resolver gives back to leave the decision to a person.
UNDECIDED: Final = _Undecided()

Resolver = Callable[[Conflict], Value]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a model's conflicts are decided.

    ``conflicts`` maps fields, or ``"*"`` for all others, to ``newest`` (the default: the later clock wins, a tie keeps
    the server's), ``client``, ``server``, ``review`` or a function from a Conflict to the value to keep. ``on_delete``
    says what happens when an edit meets a deletion: ``keep`` the edited row, ``delete`` it, or ``review``. Deltas of
    ``counters`` add up and never conflict. Neither do elements added to ``sets`` and removed from them; two whole sets
    that conflict are united under ``newest``, because neither says what it has removed.
    """

    conflicts: Mapping[str, str | Resolver] = field(default_factory=dict)
    on_delete: Literal["keep", "delete", "review"] = "keep"
    counters: Collection[str] = ()
    sets: Collection[str] = ()


#: Nothing that was changed since is overwritten: a person is asked.
REVIEW = Policy(conflicts={"*": "review"}, on_delete="review")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One field of a change: both values, the base, the server's clock, and whose value stands afterwards."""

    client: Value
    server: Value
    base_clock: int | None
    kept: Kept
    server_clock: int | None = None

    @property
    def is_conflict(self) -> bool:
        """Whether both sides have written, and not the same. Steps never conflict: they add up."""
        if self.server_clock is None or self.base_clock == self.server_clock:
            return False
        return not (is_delta(self.client) or is_set_change(self.client) or same(self.client, self.server))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of a change: its state, the row to write (None: nothing is written) or to delete."""

    state: State
    row: Row | None = None
    deletes: bool = False
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    problem: Problem | None = None

    @classmethod
    def parked(cls, change: Change, problem: Problem | None) -> "Outcome":
        """Keep all that the change holds for a person, and write nothing."""
        return cls(state="parked", problem=problem, decisions=_unmerged(change, "review"))

    @classmethod
    def rejected(cls, problem: Problem) -> "Outcome":
        """Write nothing, and keep nothing waiting."""
        return cls(state="rejected", problem=problem)

    @classmethod
    def superseded(cls, change: Change, problem: Problem) -> "Outcome":
        """Write nothing: the server's side stays."""
        return cls(state="superseded", problem=problem, decisions=_unmerged(change, "server"))

    @property
    def writes(self) -> bool:
        return self.deletes or self.row is not None

    @property
    def overwrites(self) -> bool:
        """Whether the client's side won where somebody else had written since: what lost is nowhere but here."""
        if self.deletes:
            decision = self.decisions.get(ROW_CLOCK)
            return decision is not None and (decision.base_clock or 0) < (decision.server_clock or 0)
        return self.row is not None and any(decision.is_conflict for decision in self.decisions.values())


def _unmerged(change: Change, kept: Kept) -> dict[str, Decision]:
    """The decisions over a change that did not come to a comparison with the server's row."""
    base = change.base or {}
    return {
        name: Decision(client=value, server=None, base_clock=base.get(name), kept=kept)
        for name, value in change.fields.items()
    }


def merge(row: Row | None, tombstone: Tombstone | None, change: Instruction, policy: Policy) -> Outcome:
    """Merge one change into the server's row.

    A change that ``overrides`` wins every conflict; what it overwrites stands in the outcome's decisions.

    ``row`` is None where the server has none; then ``tombstone`` tells whether it was deleted. A change with base
    None must carry the whole row. The caller has corrected the change's clocks and made its values canonical.
    """
    if change.overrides:
        on_delete: Literal["keep", "delete"] = "delete" if change.op == "delete" else "keep"
        policy = replace(policy, conflicts={"*": "client"}, on_delete=on_delete)
    if change.op == "delete":
        return _delete(row, change, policy)
    if row is not None:
        return _put(row, change, policy)
    if tombstone is not None:
        return _put_on_tombstone(tombstone, change, policy)
    return _create(change)


def _delete(row: Row | None, change: Instruction, policy: Policy) -> Outcome:
    if row is None:
        return Outcome(state="identical")
    base = None if change.base is None else change.base.get(ROW_CLOCK)
    if (base is not None and row.updated <= base) or policy.on_delete == "delete":
        return Outcome(state="applied", deletes=True, decisions=_about_row(row, base, "client"))
    kept: Kept = "review" if policy.on_delete == "review" else "server"
    return Outcome(
        state="parked" if kept == "review" else "superseded",
        decisions=_about_row(row, base, kept),
        problem=Problem(
            code="changed_since", detail="the row was changed after this client last saw it, so it is kept"
        ),
    )


def _about_row(row: Row, base: int | None, kept: Kept) -> dict[str, Decision]:
    """The decision over a row as a whole: the server's side of it is when it was last updated."""
    return {
        ROW_CLOCK: Decision(
            client=None, server=row.updated, base_clock=base, kept=kept, server_clock=row.updated
        )
    }


def _create(change: Instruction) -> Outcome:
    if change.base is None:
        source = Row(fields=change.of_new_row(), updated=0, clocks=change.clocks)
    elif change.whole is not None and (change.healing or change.overrides):
        source = change.whole
    else:
        return Outcome(
            state="rejected",
            problem=Problem(
                code="row_missing", detail="the server does not have this row; send it as a whole"
            ),
        )
    created = source.clocks.get(ROW_CLOCK, max(source.clocks.values(), default=0))
    clocks = {ROW_CLOCK: created} | {
        name: timestamp for name, timestamp in source.clocks.items() if timestamp != created
    }
    return Outcome(
        state="applied",
        row=Row(fields=dict(source.fields), updated=max(source.updated, *clocks.values()), clocks=clocks),
        decisions={
            name: Decision(client=value, server=None, base_clock=None, kept="client")
            for name, value in source.fields.items()
        },
    )


#: Whose value is written where one is decided for.
_WRITTEN = ("client", "function", "both")


def _put(row: Row, change: Instruction, policy: Policy) -> Outcome:
    decisions: dict[str, Decision] = {}
    fields, clocks = dict(row.fields), dict(row.clocks)
    for name, value in change.fields.items():
        decision, kept_value = _decide(row, change, name, value, policy)
        decisions[name] = decision
        if decision.kept in _WRITTEN and not same(kept_value, row.fields.get(name)):
            fields[name] = kept_value
            clocks[name] = max(change.clock(name), row.clock(name) + 1)
    written = clocks != row.clocks
    merged = None
    if written:
        touched = max(clocks[name] for name in clocks if clocks[name] != row.clocks.get(name))
        merged = Row(fields=fields, updated=max(touched, row.updated + 1), clocks=clocks)
    return Outcome(state=_state(decisions, written), row=merged, decisions=decisions)


def _decide(row: Row, change: Instruction, name: str, value: Value, policy: Policy) -> tuple[Decision, Value]:
    server_value, server_clock = row.fields.get(name), row.clock(name)
    base = None if change.base is None else change.base.get(name)
    kept: Kept
    result = value
    if name in policy.counters and is_delta(value):
        kept, result = "client", add_delta(server_value, value)
    elif name in policy.sets and is_set_change(value):
        kept, result = "client", change_set(server_value, value)
    elif same(value, server_value) or base == server_clock:
        kept = "client"
    else:
        rule = policy.conflicts.get(name, policy.conflicts.get("*", "newest"))
        if callable(rule):
            result = rule(
                Conflict(
                    model=change.model,
                    pk=change.pk,
                    field=name,
                    client=value,
                    server=server_value,
                    client_clock=change.clock(name),
                    server_clock=server_clock,
                    base_clock=base,
                )
            )
            kept = "review" if result is UNDECIDED else "function"
        elif rule == "newest" and name in policy.sets:
            result = united(server_value, value)
            kept = "client" if same(result, value) else "both"
        elif rule == "newest":
            kept = "client" if change.clock(name) > server_clock else "server"
        elif rule == "client":
            kept = "client"
        elif rule == "server":
            kept = "server"
        else:
            kept = "review"
    return Decision(
        client=value, server=server_value, base_clock=base, kept=kept, server_clock=server_clock
    ), result


def _state(decisions: Mapping[str, Decision], written: bool) -> State:
    if any(decision.kept == "review" for decision in decisions.values()):
        return "parked"
    lost = any(
        decision.kept in ("server", "function", "both") and not same(decision.client, decision.server)
        for decision in decisions.values()
    )
    if written:
        return "merged" if lost else "applied"
    return "superseded" if lost else "identical"


def _put_on_tombstone(tombstone: Tombstone, change: Instruction, policy: Policy) -> Outcome:
    if change.restores and change.base is not None and tombstone.row is not None:
        return _brought_back(tombstone.row, tombstone.deleted, change, policy)
    if change.restores or (change.overrides and (change.base is None or change.whole is not None)):
        created = _create(change)
        if created.row is None:
            return created
        return replace(
            created, row=replace(created.row, updated=max(created.row.updated, tombstone.deleted + 1))
        )
    if tombstone.row is None:
        return _put_on_bare_tombstone(tombstone, change, policy)
    outcome = _put(tombstone.row, change, policy)
    if outcome.state == "parked":
        return replace(outcome, row=None, decisions=_all_kept(outcome, "review"), problem=_DELETED)
    if outcome.row is None and policy.on_delete == "keep" and _made_after(change, tombstone):
        outcome = _create(change)
    if outcome.row is None or policy.on_delete == "delete":
        return Outcome(state="superseded", decisions=_all_kept(outcome, "server"), problem=_DELETED)
    if policy.on_delete == "review":
        return Outcome(state="parked", decisions=_all_kept(outcome, "review"), problem=_DELETED)
    restored = replace(outcome.row, updated=max(outcome.row.updated, tombstone.deleted + 1))
    return replace(outcome, row=restored)


def _brought_back(deleted_row: Row, deleted: int, change: Instruction, policy: Policy) -> Outcome:
    """An edit of a row that is to be there again, also where nothing of the edit is left to write."""
    outcome = _put(deleted_row, change, policy)
    row = deleted_row if outcome.row is None else outcome.row
    restored = replace(row, updated=max(row.updated, deleted + 1))
    return replace(outcome, state=_state(outcome.decisions, written=True), row=restored)


def _made_after(change: Instruction, tombstone: Tombstone) -> bool:
    """Whether the client made the row anew after it was deleted, be it with the very same values."""
    return change.base is None and change.clock(ROW_CLOCK) > tombstone.deleted


def _all_kept(outcome: Outcome, kept: Kept) -> dict[str, Decision]:
    return {name: replace(decision, kept=kept) for name, decision in outcome.decisions.items()}


def _put_on_bare_tombstone(tombstone: Tombstone, change: Instruction, policy: Policy) -> Outcome:
    """The copy has been purged: only a whole row, newer than the deletion, can bring it back."""
    whole = (
        change.whole
        if change.base is not None
        else Row(fields=change.of_new_row(), updated=0, clocks=change.clocks)
    )
    newest = max(change.clocks.values(), default=0)
    if whole is None or newest <= tombstone.knew_until or policy.on_delete != "keep":
        return Outcome(
            state="parked"
            if policy.on_delete != "delete" and newest > tombstone.knew_until
            else "superseded",
            decisions={
                name: Decision(client=value, server=None, base_clock=None, kept="server")
                for name, value in change.fields.items()
            },
            problem=_DELETED,
        )
    clocks = {ROW_CLOCK: newest} | dict(whole.clocks)
    return Outcome(
        state="applied",
        row=Row(fields=dict(whole.fields), updated=max(newest, tombstone.deleted + 1), clocks=clocks),
        decisions={
            name: Decision(client=value, server=None, base_clock=None, kept="client")
            for name, value in whole.fields.items()
        },
    )


_DELETED = Problem(code="deleted", detail="the row was deleted on the server")
