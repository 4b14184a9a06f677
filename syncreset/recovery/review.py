"""Parked items, decided by a person: applied like any change, and checked again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction

from ..apply.changes import apply_changes
from ..apply.context import Context
from ..apply.counted import histories
from ..apply.slots import Applied
from ..clients.client import note_told
from ..feed.entries import tombstones
from ..ledger.item import Item, ItemState
from ..ledger.record import change_from_json, renew_item, save_renewed
from ..locks import lock_row
from ..protocol.changes import ROW_CLOCK, Row, same
from ..protocol.clock import now
from ..protocol.errors import Malformed, ProtocolError
from ..protocol.steps import is_steps
from ..rules.instruction import Instruction
from ..rules.merge import REVIEW
from ..wire.model import model_labelled
from ..wire.rows import lock_instances, row_of, tombstone_of
from .job import RecoveryKind, settle

#: ``client``, ``server``, or a value for each field named.
Keep = str | Mapping[str, Any]


class NotParked(ProtocolError):
    """The item has been decided already, or never had to be."""

    status = 409
    code = "not_parked"


def resolve(item: Item, keep: Keep, context: Context, *, seen: Mapping[str, int] | None = None) -> Item:
    """Decide a parked item: keep the ``client``'s side, the ``server``'s, or a value for each field named.

    What is kept of the client's side is merged once more, based on what the person has ``seen`` of the server's row:
    its clocks by field (for a delete ``"*"`` with its last update), none where there was no row. Without it, that is
    what the server had when the item was parked. If somebody has changed it since, or it still cannot be written, the
    item stays parked and says so. Fields that are not named keep the server's value. Raises NotParked, and Malformed
    for what is no decision.
    """
    with transaction.atomic():
        if not lock_row(Item.objects.filter(pk=item.pk, state=ItemState.PARKED)):
            raise NotParked("this item is not parked: it has been decided already")
        item.refresh_from_db()
        if item.recovery is not None and item.recovery.kind == RecoveryKind.PREVIEW:
            raise NotParked("this item is of a preview: nothing waits for a decision")
        present = _present(item, context)
        deleted_row = _deleted_row(item, context) if present is None else None
        change = _decided(item, keep, present, deleted_row, seen)
        if change is None:
            _keep_servers(item)
        else:
            (result,) = apply_changes(
                [change], replace(context, offset=0, policy=REVIEW, recovery=item.recovery_id)
            )
            _renew(item, result)
        if item.state != ItemState.PARKED:
            item.resolution = keep
            item.resolved = now()
        item.resolved_by_id = context.user.pk
        save_renewed([item])
        item.save(update_fields=["resolution", "resolved", "resolved_by"])
        note_told(item.client_id)
        if item.recovery is not None and item.recovery.finished is not None:
            settle(item.recovery)
    return item


def _decided(
    item: Item, keep: Keep, present: Row | None, deleted_row: Row | None, seen: Mapping[str, int] | None
) -> Instruction | None:
    """The change that the decision asks for, or None where the server's side stays as it is."""
    change = change_from_json(item.change)
    if keep == "server" or keep == {}:
        return None
    if keep != "client" and not isinstance(keep, Mapping):
        raise Malformed('keep is neither "client", "server" nor an object of field values')
    if change.op == "delete":
        if keep != "client":
            raise Malformed("a delete is decided as a whole: keep the client's or the server's side")
        base = _bases(item, [ROW_CLOCK], present, seen)
        return replace(change, clocks={ROW_CLOCK: now()}, base=base, checkpoint=None)
    fields = dict(keep) if isinstance(keep, Mapping) else open_fields(item)
    if present is None and deleted_row is not None:
        return replace(
            change,
            fields=fields,
            clocks=dict.fromkeys(fields, now()),
            base={name: deleted_row.clock(name) for name in fields if name in deleted_row.fields},
            whole=None,
            # Who has seen a row that is gone now is asked again.
            restores=not seen,
        )
    if present is None:
        whole = dict(change.fields) if change.whole is None else dict(change.whole.fields)
        fields = {name: _of_whole_row(value, whole.get(name)) for name, value in fields.items()}
        return replace(
            change,
            fields={**whole, **fields},
            clocks=_birth(change),
            base=None,
            whole=None,
            # Who has seen a row that is gone now is asked again.
            restores=not seen,
        )
    clock = now()
    if change.healing and keep == "client":
        fields = _with_later_steps(item, change, fields, present)
    return replace(
        change,
        fields=fields,
        # A value of a lost history keeps its clock: it holds what was counted until then, and nothing later.
        clocks=change.clocks if change.healing else dict.fromkeys(fields, clock),
        base=_bases(item, list(fields), present, seen),
        whole=None,
    )


def _birth(change: Instruction) -> dict[str, int]:
    """The clocks of a row that is made by a decision.

    One that the server numbers is known by its birth: the lost row is made again, and not another one of its number.
    """
    model = model_labelled(change.model)
    if change.healing and model is not None and model.server_numbered:
        return dict(change.clocks)
    return {ROW_CLOCK: now()}


def _with_later_steps(
    item: Item, change: Instruction, fields: dict[str, Any], present: Row
) -> dict[str, Any]:
    """Values of a lost history, those of counters and sets with the steps that were counted since."""
    model = model_labelled(change.model)
    if model is None or item.recovery is None:
        return fields
    of_fields = histories(model, {change.pk: present}).get(change.row_key, {})
    pulled = item.recovery.pulled
    return {
        name: of_fields[name].on_top_of(value, change.clock(name), pulled=pulled)
        if name in of_fields and not is_steps(value)
        else value
        for name, value in fields.items()
    }


def open_fields(item: Item) -> dict[str, Any]:
    """The fields of a parked put that wait for the decision, with the client's values.

    All of them where the change as a whole could not be written.
    """
    given = item.change["fields"]
    waiting = {
        name: given[name] if is_steps(given.get(name)) else decision["client"]
        for name, decision in item.fields.items()
        if decision["kept"] == "review"
    }
    return waiting or dict(given)


def _of_whole_row(value: Any, whole: Any) -> Any:
    """The value of a field in a row that is made again: of steps, what they had led to."""
    if not is_steps(value) or whole is None or is_steps(whole):
        return value
    return {"value": whole, **value}


def _present(item: Item, context: Context) -> Row | None:
    """The row as the server has it now, or None where it has none that the user may see."""
    model = model_labelled(item.change["model"])
    if model is None:
        return None
    for instance in lock_instances(model, model.canonical_keys([item.change["pk"]])).values():
        stored = row_of(instance)
        return stored.row if context.operator or stored.scope in context.scopes else None
    return None


def _deleted_row(item: Item, context: Context) -> Row | None:
    """The row that the user may see a tombstone of, as far as that keeps it."""
    model = model_labelled(item.change["model"])
    pk = item.change["pk"]
    entry = None if model is None else tombstones(item.change["model"], [pk], context.scopes).get(pk)
    return None if model is None or entry is None else tombstone_of(model, entry).row


def _bases(
    item: Item, names: list[str], present: Row | None, seen: Mapping[str, int] | None
) -> dict[str, int]:
    """The server's clocks as the person has seen them: unless told otherwise, as they were when the item was parked.

    Where the change could not be written at all there was no other side to see: then those of the row now.
    """
    if seen is not None:
        return {name: seen[name] for name in names if name in seen}
    bases: dict[str, int] = {}
    for name in names:
        known = item.fields.get(name, {}).get("server_clock")
        if known is None and present is not None:
            known = present.updated if name == ROW_CLOCK else present.clock(name)
        if known is not None:
            bases[name] = known
    return bases


def _renew(item: Item, result: Applied) -> None:
    """What became of the decision, beside what the first merge of the item's change has told and written already."""
    known = item.fields
    first = (item.before, item.after) if item.wrote else None
    renew_item(item, result)
    if item.state == ItemState.REJECTED or item.code in ("unseen_rows", "forbidden"):
        item.state, item.fields = ItemState.PARKED, known
    elif item.state == ItemState.PARKED:
        item.fields = known | {
            name: _asked_again(known.get(name), decision) for name, decision in item.fields.items()
        }
    else:
        left = _left_as_they_were(known, item)
        if item.state == ItemState.APPLIED and any(
            not same(decision["client"], decision["server"]) for decision in left.values()
        ):
            item.state = ItemState.MERGED
        item.fields = known | item.fields | left
    if first is not None:
        if item.wrote:
            item.before, item.after = _around_both(*first, item.before, item.after)
        else:
            item.before, item.after = first
        item.wrote = True


def _left_as_they_were(known: dict[str, Any], item: Item) -> dict[str, Any]:
    """The fields that waited and that the decision does not name: they keep what the server has."""
    row = None if item.before is None else Row(**item.before)
    left = {}
    for name, decision in known.items():
        if decision["kept"] == "review" and name not in item.fields:
            left[name] = {**decision, "kept": "server"}
            if row is not None and name in row.fields:
                left[name] |= {"server": row.fields[name], "server_clock": row.clock(name)}
    return left


def _asked_again(known: dict[str, Any] | None, decision: dict[str, Any]) -> dict[str, Any]:
    """What the client wanted stays to be chosen, also where another value was tried."""
    if known is None:
        return decision
    if decision["server_clock"] is None:
        return known
    return {**decision, "client": known["client"]}


def _around_both(
    before: dict[str, Any], after: dict[str, Any], found: dict[str, Any] | None, left: dict[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The row around two writes, without what others changed between them: only that is for undoing to give back."""
    if found is None:
        return found, left
    first, second = _changed(before, after), _changed(found, left)
    mine = {
        name for name in first if name not in second or same(found["fields"][name], after["fields"][name])
    }
    return _with_fields_of(before, mine, found), _with_fields_of(after, first - second, left)


def _changed(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    return {name for name, value in old["fields"].items() if not same(value, new["fields"].get(name))}


def _with_fields_of(source: dict[str, Any], names: set[str], row: dict[str, Any]) -> dict[str, Any]:
    clocks = source["clocks"]
    return {
        **row,
        "fields": row["fields"] | {name: source["fields"][name] for name in names},
        "clocks": row["clocks"] | {name: clocks.get(name, clocks.get(ROW_CLOCK, 0)) for name in names},
    }


def _keep_servers(item: Item) -> None:
    item.state = ItemState.SUPERSEDED
    waiting = open_fields(item)
    item.fields = {
        name: {**decision, "kept": "server"} if name in waiting or name == ROW_CLOCK else decision
        for name, decision in item.fields.items()
    }
