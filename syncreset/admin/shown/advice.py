"""The ledger in plain words: what became of a change, why, and what an operator can do about it."""

from collections.abc import Mapping
from typing import Any

from ...ledger.item import Item, ItemState
from ...recovery.job import RecoveryKind
from ..deciding.form import can_decide

_STATES = {
    ItemState.APPLIED: "The client's change was written.",
    ItemState.MERGED: "Part of the client's change was written; elsewhere the server's value was kept.",
    ItemState.IDENTICAL: "The server had these values already; nothing was written.",
    ItemState.SUPERSEDED: "The server's side stands; the client's is kept here.",
    ItemState.PARKED: "The change waits for a person; nothing of what is in doubt was written.",
    ItemState.REJECTED: "The change could not be written; the client's values are kept here.",
}

_PREFACES = {
    RecoveryKind.PREVIEW: "This is a preview, so nothing was written. A recovery would say:",
    RecoveryKind.UNDO: "This undoes what a recovery wrote; the client's side is the row as it was before.",
}
_MEND_VALUE = (
    "Enter the value in a form that the field can hold in the row itself, or mend the app that wrote it."
)
_SEE_OTHER_ROW = "Find the row that stands in the way, change or remove it, then recover again."
_PERMISSION = (
    "If it was right, grant the permission and recover again, or make the change in the row yourself."
)

_ADVICE = {
    "another_row": "Make a new row of the values below, which gets a number of its own, or refer to the right one.",
    "changed_since": "If the row should go all the same, delete it.",
    "check": _MEND_VALUE,
    "deleted": "If the row should come back, make it anew from the values below.",
    "duplicate_row": "The first line of this key was taken. Compare the two; the app wrote its snapshot wrongly.",
    "exclusion": _SEE_OTHER_ROW,
    "forbidden": _PERMISSION,
    "forbidden_field": "If the client's value is right, enter it in the row yourself: clients may not set this field.",
    "group": "Look at the other items of its group: once what is wrong with them is mended, recover again.",
    "invalid": _MEND_VALUE,
    "invalid_choice": "Choose one of the field's choices in the row itself, or mend the app that wrote it.",
    "invalid_pk": "The app gave the row a key that its model cannot have: mend the app.",
    "invalid_reference": "Bring back the row that is referred to, or choose another one; then recover again.",
    "invalid_text": "The text holds characters that no database takes: enter it without them in the row itself.",
    "malformed_line": "The line is no valid line of a snapshot: mend the app that wrote it.",
    "null": "Give the field a value: enter the row with it.",
    "out_of_range": _MEND_VALUE,
    "policy_failed": "Decide below. The model's policy is a function that failed: its error is in the server's log.",
    "protected": "Remove the rows that refer to this one first, if it should go.",
    "purged": "It may have been deleted long ago. If the row should live, make it anew from the values below.",
    "reference_deleted": "If the reference should stay, bring back the row that was deleted and enter it.",
    "replaced": "Nothing is to be done, unless the later value is wrong: this one is kept here alone.",
    "row_missing": "If the row should live, make it anew from the values below.",
    "schema_changed": "The schema changed. Enter the value where it belongs now, or declare how to carry it over.",
    "server_assigned_pk": "Make the row yourself: only the server can number rows of this model.",
    "step_unclear": "Compare the row's count with what there really is: keep the client's side only if it is missing.",
    "too_long": _MEND_VALUE,
    "unexplained": "Wait for the other devices: it closes itself once the steps behind it come back.",
    "unique": _SEE_OTHER_ROW,
    "unknown_field": "The model has no such field. Enter the value where it belongs now, or mend the app.",
    "unknown_model": "The server does not track such a model: an older or newer app wrote it.",
    "unseen_rows": "Look at the rows that would go with it, then delete it yourself if it should go.",
}

_OTHER_VALUE = "Decide below: give another value where the problem is, or keep the server's side."
_MAKE_ROW = "Decide below: keep the client's side to have the row, or the server's to leave it out."
_CLOSE = "Once that is done, keep the server's side below, so that the item is closed."
_OR_WAY = (
    "Decide below: give another value, keep the server's side, or clear the row that stands in the way first."
)

#: For parked items that can be decided on their page.
_DECIDE = {
    "": "Decide below whose value to keep, field by field, or keep one side of the whole item.",
    "another_row": f"The server's row is another one. Make a new row of the client's values. {_CLOSE}",
    "changed_since": "Decide below: delete the row all the same, or keep it.",
    "check": _OTHER_VALUE,
    "deleted": "Decide below: make the row again from the client's values, or leave it deleted.",
    "exclusion": _OR_WAY,
    "forbidden": "Decide below. You may write what this client may not: keep its side if it was right.",
    "forbidden_field": "Decide below. You may set a field that clients may not: keep their value if it was right.",
    "group": "Look at the other items of its group, then decide below: each one is decided by itself.",
    "invalid": _OTHER_VALUE,
    "invalid_choice": "Decide below: give one of the field's choices, or keep the server's side.",
    "invalid_reference": "Decide below: refer to another row or to none, or bring the missing one back first.",
    "invalid_text": "Decide below: give the text without the characters that no database takes.",
    "null": "Decide below: give the field a value, or keep the server's side.",
    "out_of_range": _OTHER_VALUE,
    "protected": "Remove the rows that refer to this one, then keep the client's side below; or keep the server's.",
    "purged": f"It may have been deleted long ago. {_MAKE_ROW}",
    "row_missing": _MAKE_ROW,
    "server_assigned_pk": f"Only the server numbers these rows, but you may take the client's number. {_MAKE_ROW}",
    "step_unclear": "Decide below: keep the client's side to add its step, unless the server's count holds it already.",
    "too_long": _OTHER_VALUE,
    "unexplained": "Wait for the other devices: it closes itself. If one never comes, decide below which is right.",
    "unique": _OR_WAY,
}


#: By the code of a recovery's own problem.
_OF_RECOVERIES = {
    "crashed": "The worker's log has the whole of it. Mend the cause, then recover again.",
    "ledger_mismatch": "Compare the ledger with the snapshot, then recover again: what is merged turns out identical.",
    "snapshot_missing": "Let HTTP server and worker use the same storage, or bring the file back, then recover again. "
    "The device sends its backup once more when it asks, if it still has it.",
}


def what_to_do_about(problem: Mapping[str, Any]) -> str:
    """What an operator can do about the problem of a recovery as a whole."""
    return _OF_RECOVERIES.get(str(problem.get("code")), "Mend the cause, then recover again.")


def explain(item: Item) -> str:
    """What the item's state means, in a sentence."""
    sentence = _STATES[ItemState(item.state)]
    kind = None if item.recovery is None else RecoveryKind(item.recovery.kind)
    return f"{_PREFACES[kind]} {sentence}" if kind in _PREFACES else sentence


def what_to_do(item: Item) -> str:
    """What an operator can do, in a sentence or two."""
    if can_decide(item):
        if item.code in _DECIDE:
            return _DECIDE[item.code]
        return f"{_ADVICE.get(item.code, _MEND_VALUE)} {_CLOSE}"
    if item.code in _ADVICE:
        return _ADVICE[item.code]
    if item.state in (ItemState.APPLIED, ItemState.IDENTICAL):
        return "Nothing has to be done."
    if item.state == ItemState.PARKED:
        return "Nothing waits here: recover the snapshot, and decide the item of that ledger."
    if item.state == ItemState.REJECTED:
        return "Compare the values below with the row, and enter what is right."
    return "Nothing has to be done, unless the client's value was the right one: then enter it in the row."
