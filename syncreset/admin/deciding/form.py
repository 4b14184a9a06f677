"""Deciding a parked item: the form with a choice for each field, and the decision on behalf of its operator."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms

from ...apply.context import Context
from ...apply.prepare import Prepared, prepare
from ...clients.client import SyncUser
from ...clients.scopes import scopes_of
from ...ledger.item import Item, ItemState
from ...protocol.changes import ROW_CLOCK, Change, Row, parse_clocks, same
from ...protocol.clock import now
from ...protocol.errors import Malformed
from ...protocol.printable import printable
from ...protocol.steps import is_delta, is_set_change
from ...protocol.strict_json import dumps, loads
from ...recovery.job import RecoveryKind
from ...recovery.review import Keep, open_fields, resolve

#: The id of the form's element, which stands apart from its controls: the admin's pages are forms themselves.
FORM = "syncreset-decide"
#: A change of more fields than this is decided as a whole.
FIELDS_OFFERED = 100
#: A value is offered for editing while it is not longer than this many characters of JSON.
EDITABLE = 2000

_SIDES = {"client": "the client's", "server": "the server's"}
_OTHER = {"other": "another value"}


def can_decide(item: Item) -> bool:
    """Whether the item waits for a person. Those of a preview do not: nothing comes of them."""
    previewed = item.recovery is not None and item.recovery.kind == RecoveryKind.PREVIEW
    return item.state == ItemState.PARKED and not previewed


def decide(item: Item, keep: Keep, user: SyncUser, *, seen: Mapping[str, int] | None = None) -> Item:
    """Resolve the item as the operator ``user`` decides, who may write what its client could not.

    Raises NotParked and Malformed, as ``resolve`` does.
    """
    return resolve(item, keep, _operator(item, user), seen=seen)


def offered_fields(item: Item) -> list[str]:
    """The fields to be decided one by one; none where only the whole can be."""
    names = [] if item.op == "delete" else list(open_fields(item))
    return names if len(names) <= FIELDS_OFFERED else []


class DecisionForm(forms.Form):
    """For each open field whose value to keep, or ``keep`` for the item as a whole.

    ``seen`` carries the server's clocks of the row that the page shows. Once valid, ``decision`` and
    ``clocks_seen`` are what ``decide`` takes.
    """

    keep = forms.ChoiceField(
        choices=list(_SIDES.items()),
        required=False,
        error_messages={"invalid_choice": "Keep the client's side or the server's, or decide each field."},
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput(attrs={"form": FORM}))

    def __init__(
        self, item: Item, user: SyncUser, present: Row | None, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial={"seen": dumps(_clocks(item, present))})
        self.item, self.user = item, user
        self.names = offered_fields(item)
        self.decision: Keep = ""
        self.clocks_seen: dict[str, int] | None = None
        wanted = open_fields(item) if self.names else {}
        for number, name in enumerate(self.names):
            self.fields[f"choice__{number}"] = _choice(name, wanted[name], present)
            self.fields[f"value__{number}"] = _value(wanted[name])

    def clean_seen(self) -> str:
        text: str = self.cleaned_data["seen"]
        if text:
            try:
                self.clocks_seen = parse_clocks(loads(text.encode()), "seen")
            except Malformed as error:
                raise forms.ValidationError(f"This page's form was changed: {error.detail}") from error
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("keep"):
            self._drop_errors_of_fields()
            self.decision = cleaned["keep"]
        elif "keep" not in self.errors:
            self.decision = self._decision_by_field(cleaned)
        return cleaned

    def _drop_errors_of_fields(self) -> None:
        """Whoever decides the whole at once need not have chosen for each field."""
        for name in list(self.errors):
            if name.startswith(("choice__", "value__")):
                del self.errors[name]

    def _decision_by_field(self, cleaned: Mapping[str, Any]) -> Keep:
        if not self.names:
            raise forms.ValidationError(
                "This item is decided as a whole: keep the client's side or the server's."
            )
        choices = [cleaned.get(f"choice__{number}") for number in range(len(self.names))]
        wanted = open_fields(self.item)
        kept: dict[str, Any] = {}
        for number, (name, choice) in enumerate(zip(self.names, choices, strict=True)):
            if choice == "other":
                self._take_value(number, name, kept)
            elif choice and cleaned.get(f"value__{number}") and f"value__{number}" in self.changed_data:
                self.add_error(f"value__{number}", "To keep this value, choose it.")
            elif choice == "client":
                kept[name] = wanted[name]
        for side in _SIDES:
            if set(choices) == {side}:
                return side
        return kept

    def _take_value(self, number: int, name: str, kept: dict[str, Any]) -> None:
        text = self.cleaned_data.get(f"value__{number}", "")
        try:
            value = loads(text.encode())
        except Malformed as error:
            self.add_error(f"value__{number}", f'{error.detail}. A text stands in quotes: "like this".')
            return
        fault = _fault(self.item, name, value, _operator(self.item, self.user))
        if fault:
            self.add_error(f"value__{number}", fault)
        else:
            kept[name] = value


def _operator(item: Item, user: SyncUser) -> Context:
    return Context(
        client=item.client,
        user=user,
        scopes=scopes_of(item.client.user),
        seen=None,
        received=now(),
        operator=True,
    )


def _clocks(item: Item, present: Row | None) -> dict[str, int]:
    """The server's clocks as the page shows them, by which ``resolve`` knows what its reader has seen."""
    if present is None:
        return {}
    if item.op == "delete":
        return {ROW_CLOCK: present.updated}
    return {name: present.clock(name) for name in open_fields(item) if name in present.fields}


def _choice(name: str, wanted: Any, present: Row | None) -> forms.ChoiceField:
    """Where there is no row, no field of it can stay as the server has it: only the whole can."""
    agreed = present is None or (name in present.fields and same(wanted, present.fields[name]))
    sides = _SIDES if present is not None else {"client": _SIDES["client"]}
    return forms.ChoiceField(
        choices=list({**sides, **_OTHER}.items()),
        initial="client" if agreed else None,
        widget=forms.RadioSelect(attrs={"form": FORM}),
        error_messages={"required": "Choose whose value to keep."},
    )


def _value(wanted: Any) -> forms.CharField:
    """The client's value, to be edited. What only says how to change the server's is no value to begin with."""
    text = printable(json.dumps(wanted, ensure_ascii=False))
    if is_delta(wanted) or is_set_change(wanted) or len(text) > EDITABLE:
        text = ""
    return forms.CharField(
        required=False,
        initial=text,
        widget=forms.Textarea(
            attrs={"form": FORM, "rows": 1 + len(text) // 30, "cols": 30, "spellcheck": "false"}
        ),
    )


def _fault(item: Item, name: str, value: Any, context: Context) -> str:
    """What is wrong with a value that somebody typed, by the field's codec; "" where nothing is."""
    change = Change(
        model=item.change["model"],
        pk=item.change["pk"],
        op="put",
        fields={name: value},
        clocks={ROW_CLOCK: now()},
        base={},
    )
    prepared = prepare(change, context)
    if isinstance(prepared, Prepared):
        return ""
    return "this value cannot be kept" if prepared.problem is None else prepared.problem.detail
