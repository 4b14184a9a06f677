"""A number that a restored server gave once more: its row is not the one that a device knows by it."""

from typing import Any

import pytest

from syncreset.ledger.item import Item
from syncreset.protocol.changes import Change
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import ChangeLine, Line, TombstoneLine
from syncreset.recovery.job import Recovery, claim
from syncreset.recovery.merge.births import _pointed_at
from syncreset.recovery.orders import recover_again
from syncreset.recovery.run import run
from tests.shelters.models import Reply, Shelter, Ticket
from tests.support.device import Device
from tests.support.factories import DeviceFactory
from tests.support.restoring import copy_database
from tests.support.snapshots import edited, made_here, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

TICKET, REPLY = "shelters.ticket", "shelters.reply"
NEW = "0190a5b4-0000-7000-8000-000000000001"


class Restored:
    """A phone that holds a ticket and a reply to it, and a server which has given the ticket's number once more."""

    def __init__(self, phone: Device, shelter: Shelter) -> None:
        self.phone, self.shelter = phone, shelter
        self.kept = Ticket.objects.create(shelter=shelter, subject="Kept")
        restore = copy_database()
        lost = Ticket.objects.create(shelter=shelter, subject="Lost")
        reply = Reply.objects.create(shelter=shelter, ticket=lost, text="To the lost one")
        phone.pull()
        self.lost, self.reply = phone.rows[TICKET, str(lost.pk)], phone.rows[REPLY, str(reply.pk)]
        restore()
        self.other = Ticket.objects.create(shelter=shelter, subject="Another")
        assert self.other.pk == lost.pk, "the number is given once more"

    @property
    def key(self) -> str:
        return str(self.other.pk)

    def recovered(self, *lines: Line) -> Recovery:
        problem = self.phone.pull(status=409)
        assert problem["reason"] == "history_diverged"
        held = [row_line(row, {}) for (_, pk), row in self.phone.rows.items() if pk == str(self.kept.pk)]
        return recover(self.phone, problem["reset"], [*held, *lines])


@pytest.fixture
def restored(device: DeviceFactory, shelter: Shelter) -> Restored:
    return Restored(device(shelter), shelter)


def items() -> list[tuple[str, str, Any]]:
    """The state, the code and the values of each item."""
    found = Item.objects.order_by("line", "part")
    return [(item.state, item.code, item.change["fields"]) for item in found]


@pytest.mark.parametrize("edits", [{}, {"subject": "Edited offline"}])
def test_a_row_of_the_same_number_is_left_alone_and_the_devices_waits_for_a_person(
    restored: Restored, edits: dict[str, str]
) -> None:
    recovery = restored.recovered(edited(restored.lost, **edits))

    assert set(Ticket.objects.values_list("subject", flat=True)) == {"Kept", "Another"}
    assert items() == [("parked", "another_row", {**restored.lost["fields"], **edits})]
    assert recovery.state == "review"


def test_what_refers_to_the_lost_row_is_not_given_to_the_other_one(restored: Restored) -> None:
    fields = {**restored.reply["fields"], "text": "Made offline"}
    restored.recovered(
        row_line(restored.lost, {}), row_line(restored.reply, {}), made_here(REPLY, NEW, fields)
    )

    assert not Reply.objects.exists()
    assert [(state, code, values.get("text")) for state, code, values in items()] == [
        ("parked", "another_row", None),
        ("parked", "another_row", "To the lost one"),
        ("parked", "another_row", "Made offline"),
    ]
    assert Item.objects.get(pk_text=NEW).problem["field"] == "ticket"


def test_what_refers_to_a_row_that_is_still_the_same_comes_home(restored: Restored) -> None:
    fields = {**restored.reply["fields"], "ticket": str(restored.kept.pk)}
    restored.recovered(row_line(restored.lost, {}), made_here(REPLY, NEW, fields))

    assert Reply.objects.get().ticket == restored.kept


@pytest.mark.parametrize("pulled", [False, True])
def test_a_deletion_of_the_lost_row_does_not_delete_the_other_one(restored: Restored, pulled: bool) -> None:
    base = None if pulled else restored.lost["updated"]
    at = restored.lost["updated"] + 1
    restored.recovered(TombstoneLine(model=TICKET, pk=restored.key, at=at, base=base, pulled=pulled))

    assert Ticket.objects.filter(pk=restored.other.pk).exists()
    assert items() == ([] if pulled else [("superseded", "another_row", {})])


@pytest.mark.parametrize("op", ["put", "delete"])
def test_a_change_that_the_server_has_lost_is_not_made_in_the_other_row(restored: Restored, op: Any) -> None:
    put = op == "put"
    change = Change(
        model=TICKET,
        pk=restored.key,
        op=op,
        fields={"subject": "Refused before"} if put else {},
        clocks={"*": now()},
        base={"subject" if put else "*": restored.lost["updated"]},
        seq=1,
    )
    restored.recovered(ChangeLine(change=change))

    assert Ticket.objects.get(pk=restored.other.pk).subject == "Another"
    assert [item[:2] for item in items()] == [("parked" if put else "superseded", "another_row")]


def test_a_worker_that_goes_on_knows_what_the_one_before_has_found_out(restored: Restored) -> None:
    recovery = restored.recovered(row_line(restored.lost, {}), row_line(restored.reply, {}))
    Item.objects.filter(recovery=recovery, model=REPLY).delete()
    Recovery.objects.filter(pk=recovery.pk).update(
        state="queued", lease_until=0, position=recovery.position - 1, changes=recovery.changes - 1
    )
    run(recovery.pk)

    assert claim(recovery.pk) is None
    assert not Reply.objects.exists()
    assert [item[:2] for item in items()] == [("parked", "another_row")] * 2


def test_recovered_again_it_is_still_another_row(restored: Restored) -> None:
    recovery = restored.recovered(edited(restored.lost, subject="Edited offline"))
    again = recover_again(recovery, strategy="overwrite")
    run(again.pk)

    assert Ticket.objects.get(pk=restored.other.pk).subject == "Another"
    assert Item.objects.get(recovery=again, pk_text=restored.key).code == "another_row"


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (None, []),
        ("7", ["7"]),
        (["7", "8"], ["7", "8"]),
        ({"steps": [{"id": "a", "add": ["7"], "remove": ["8"]}]}, ["7"]),
        ({"steps": [{"id": "a", "delta": 1}]}, []),
        ({"steps": [["7"]]}, []),
        ({"steps": "7"}, []),
        ([["7"], {"a": "8"}], []),
    ],
)
def test_keys_are_found_in_whatever_a_line_says(value: Any, keys: list[str]) -> None:
    assert list(_pointed_at(value)) == keys
